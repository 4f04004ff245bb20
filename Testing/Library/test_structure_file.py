"""Structures files: any valid one is read, what is wrong with another is said, and the packaged one is found."""

from __future__ import annotations

import copy
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import CFSegmenterLib
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.resources import resource_path
from CFSegmenterLib.structures import Vocabulary

ENTRY = {
    "name": "left kidney",
    "category": ["123037004", "SCT", "Anatomical Structure"],
    "type": ["64033007", "SCT", "Kidney"],
    "color": [185, 102, 83],
    "region": "abdomen",
    "symmetric": True,
}


def write(folder: Path, *changes: dict) -> Path:
    path = folder / "mine.json"
    entries = [{key: value for key, value in {**copy.deepcopy(ENTRY), **change}.items()} for change in changes]
    path.write_text(json.dumps({"contexts": {"own": "Mine"}, "structures": entries}), encoding="utf-8")
    return path


def divided(folder: Path, filling: object) -> Path:
    """A file of kidney and lung with their sides, and the tip of a kidney."""
    names = {"kidney": None, "left kidney": "kidney", "lung": None, "left lung": "lung"}
    changes = [{"name": n, "part_of": whole, "division": whole and "side"} for n, whole in names.items()]
    path = write(folder, *changes, {"name": "tip", "part_of": "left kidney", "division": "tip"})
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, "filling": filling}), encoding="utf-8")
    return path


def test_a_vocabulary_can_be_read_from_any_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"synonyms": ["ren sinister"]},
        {"name": "left kidney tip", "part_of": "left kidney", "division": "tip"},
    )
    vocabulary = Vocabulary.load(str(path))
    assert vocabulary.names() == ("left kidney", "left kidney tip")
    assert vocabulary.find("Sinister, REN").name == "left kidney"
    assert vocabulary.find("left kidney").context == "Mine"
    assert vocabulary.contains("left kidney", "left kidney tip")


def test_the_packaged_vocabulary_is_read_once() -> None:
    assert Vocabulary.load() is Vocabulary.load()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"color": [0, 0, 256]}, "color"),
        ({"color": [0, 0]}, "color"),
        ({"color": [0, 0, True]}, "color"),
        ({"color": [0, 0, 1.5]}, "color"),
        ({"color": None}, "color"),
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({"region": None}, "region"),
        ({"type": ["64033007", "SCT"]}, "type"),
        ({"type": ["64033007", "SCT", "Kid~ney"]}, "type"),
        ({"modifier": [7771000, "SCT", "Left"]}, "modifier"),
        ({"synonyms": "ren"}, "synonyms"),
        ({"synonyms": [""]}, "synonyms"),
        ({"symmetric": "yes"}, "symmetric"),
        ({"part_of": "left kidney"}, "together"),
        ({"division": "side"}, "together"),
        ({"context": "unheard of"}, "context"),
        ({"colour": [1, 2, 3]}, "unknown field colour"),
    ],
)
def test_an_entry_that_is_not_valid_is_named_with_what_is_wrong(tmp_path: Path, change: dict, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        Vocabulary.load(write(tmp_path, {"name": "right kidney"}, change))
    assert "Structure 2" in str(caught.value)
    assert "mine.json" in str(caught.value)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    entry = {key: value for key, value in ENTRY.items() if key not in ("color", "type")}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"contexts": {"own": "Mine"}, "structures": [entry]}), encoding="utf-8")
    with pytest.raises(UserError, match="lacks color, type"):
        Vocabulary.load(path)


def test_optional_fields_may_be_null(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("synonyms", "modifier", "part_of", "division", "anatomic_region"))
    structure = Vocabulary.load(write(tmp_path, nothing)).find("left kidney")
    assert (structure.synonyms, structure.modifier, structure.part_of) == ((), None, None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[]", "structures"),
        ("{}", "structures"),
        ('{"structures": []}', "structures"),
        ('{"structures": {}}', "structures"),
        ('{"structures": [1]}', "contexts"),
        ('{"structures": [1], "contexts": {"own": 1}}', "contexts"),
        ('{"structures": [1], "contexts": {"own": "a~b"}}', "contexts"),
        ('{"structures": [1], "contexts": {}}', "must be an object"),
        ("\x00", "not valid JSON"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused_with_the_reason(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=complaint):
        Vocabulary.load(path)


def test_a_file_that_is_missing_or_no_text_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        Vocabulary.load(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot be read"):
        Vocabulary.load(tmp_path)
    (tmp_path / "mine.json").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UserError, match="not valid JSON"):
        Vocabulary.load(tmp_path / "mine.json")


@pytest.mark.parametrize("synonym", ["Kidney (left)", "LEFT kidneys", "l_kidney"])
def test_a_name_that_may_mean_two_structures_is_refused(tmp_path: Path, synonym: str) -> None:
    with pytest.raises(UserError, match='may mean "left kidney" or "spleen"'):
        Vocabulary.load(write(tmp_path, {}, {"name": "spleen", "synonyms": [synonym]}))


def test_a_structure_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="twice"):
        Vocabulary.load(write(tmp_path, {}, {}))


def test_a_name_without_a_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no word"):
        Vocabulary.load(write(tmp_path, {"synonyms": ["()"]}))


def test_a_part_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='part of "kidney", which is not in the vocabulary'):
        Vocabulary.load(write(tmp_path, {"part_of": "kidney", "division": "side"}))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_of_parts_is_refused(tmp_path: Path, length: int) -> None:
    names = ["heart", "liver", "lung"][:length]
    entries = [
        {"name": name, "part_of": names[(index + 1) % length], "division": "part"} for index, name in enumerate(names)
    ]
    with pytest.raises(UserError, match="part of itself"):
        Vocabulary.load(write(tmp_path, *entries))


@pytest.mark.parametrize(
    ("filling", "kidneys", "sides"),
    [
        (None, False, False),
        ({}, False, False),
        ({"everywhere": ["side"]}, True, True),
        ({"within": {"kidney": ["side"]}}, True, False),
        ({"everywhere": ["tip"], "within": {"lung": ["side"]}}, False, True),
    ],
)
def test_a_division_fills_every_whole_or_the_one_it_is_named_with(tmp_path, filling, kidneys, sides) -> None:
    vocabulary = Vocabulary.load(divided(tmp_path, filling))
    assert vocabulary.fills("side", "Kidneys") is kidneys
    assert vocabulary.fills("side", "lung") is sides


@pytest.mark.parametrize(
    ("filling", "complaint"),
    [
        (["side"], '"filling" .*mine.json is not valid'),
        ("side", "is not valid"),
        ({"everywhere": "side"}, "is not valid"),
        ({"everywhere": [""]}, "is not valid"),
        ({"within": ["kidney"]}, "is not valid"),
        ({"within": {"kidney": "side"}}, "is not valid"),
        ({"in": {"kidney": ["side"]}}, "is not valid"),
        ({"everywhere": ["half"]}, 'the division "half", by which nothing is divided'),
        ({"within": {"kidney": ["tip"]}}, 'the division "tip" of "kidney"'),
        ({"within": {"renal": ["side"]}}, 'the division "side" of "renal"'),
        ({"within": {"Kidney": ["side"]}}, "preferred name"),
    ],
)
def test_a_filling_that_is_not_valid_is_refused_with_the_reason(tmp_path: Path, filling, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Vocabulary.load(divided(tmp_path, filling))


def test_packaged_files_are_found_and_a_missing_one_is_named() -> None:
    assert resource_path("structures.json").is_file()
    assert resource_path().is_dir()
    with pytest.raises(UserError, match="no/such/file is missing"):
        resource_path("no", "such", "file")


def test_an_installed_package_reads_its_own_resources_and_imports_nothing_heavy(tmp_path: Path) -> None:
    package = tmp_path / "CFSegmenterLib"
    (package / "resources").mkdir(parents=True)
    for name in ("__init__", "errors", "resources", "spelling", "structure_file", "structures"):
        shutil.copy(Path(CFSegmenterLib.__file__).with_name(f"{name}.py"), package)
    shutil.copy(resource_path("structures.json"), package / "resources")
    # A folder of another package beside it must not be taken for ours.
    (tmp_path / "Resources").mkdir()
    (tmp_path / "Resources" / "structures.json").write_text("not ours", encoding="utf-8")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from CFSegmenterLib.structures import Vocabulary, __file__ as path\n"
        "assert path.startswith(sys.path[0]), path\n"
        "assert Vocabulary.load().find('LKidney').name == 'left kidney'\n"
        "heavy = {'numpy', 'torch', 'monai', 'nibabel', 'SimpleITK', 'matplotlib', 'open_clip'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-I", "-c", program], check=True, timeout=60)
