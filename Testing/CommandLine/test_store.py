"""`cfsegmenter models` on a store: which versions there are, and decisions about them."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from CFSegmenterLib.cli import app
from CFSegmenterLib.store import ModelStore
from Testing.CommandLine.conftest import table_of
from Testing.Library.stored import FELL, a_report, contents, propose, save_plain_model, score


@pytest.fixture(scope="module")
def a_model_of_two(tmp_path_factory):
    """A model folder of liver and spleen."""
    return save_plain_model(tmp_path_factory.mktemp("models") / "two")


@pytest.fixture(scope="module")
def a_model_of_three(tmp_path_factory):
    """A model folder of liver, spleen and gallbladder."""
    update = {"added": ["gallbladder"]}
    return save_plain_model(tmp_path_factory.mktemp("models") / "three", "gallbladder", update=update)


@pytest.fixture
def a_store(a_model_of_two, a_model_of_three, tmp_path):
    """A store with a second version that waits for a decision."""
    store = ModelStore.create(tmp_path / "store", a_model_of_two)
    propose(store, a_model_of_three)
    return store


@pytest.fixture
def a_person(monkeypatch):
    """Answers on a terminal: `a_person("n", "models", "accept", ...)`."""
    monkeypatch.setattr("CFSegmenterLib.cli.store._on_a_terminal", lambda: True)

    def answer(said, *arguments):
        return CliRunner().invoke(app, [str(each) for each in arguments], input=f"{said}\n")

    return answer


def test_the_versions_of_a_store_are_listed_with_what_was_decided(cfsegmenter, a_store):
    result = cfsegmenter("models", "versions", a_store.folder)
    assert result.exit_code == 0, result.output
    first, second = table_of(result.stdout)
    assert (first["version"], first["status"], first["used"], first["report"]) == ("1", "accepted", "yes", "")
    assert (second["version"], second["status"], second["used"], second["made from"]) == ("2", "proposed", "", "1")
    assert (second["structures"], second["added"]) == ("3", "gallbladder")
    assert second["report"] == str(a_store.version("2").page)


def test_a_damaged_version_does_not_hide_the_others(cfsegmenter, a_store):
    (a_store.version("2").folder / "manifest.json").write_text("{")
    result = cfsegmenter("models", "versions", a_store.folder)
    assert result.exit_code == 0 and "not valid JSON" in result.stderr
    assert [row["version"] for row in table_of(result.stdout)] == ["1", "2"]


def test_versions_are_accepted_rejected_and_rolled_back(cfsegmenter, refused, a_store, a_model_of_three):
    (row,) = table_of(cfsegmenter("models", "accept", a_store.folder, 2).stdout)
    assert (row["version"], row["status"], row["used"]) == ("2", "accepted", "yes")
    assert ModelStore.open(a_store.folder).active.name == "2"
    assert "roll back first" in refused("models", "reject", a_store.folder, 2)
    (row,) = table_of(cfsegmenter("models", "rollback", a_store.folder).stdout)
    assert (row["version"], row["used"]) == ("1", "yes")
    assert "nothing to roll back to" in refused("models", "rollback", a_store.folder)
    (row,) = table_of(cfsegmenter("models", "reject", a_store.folder, 2).stdout)
    assert (row["version"], row["status"]) == ("2", "rejected")


def test_a_version_whose_old_structures_fell_needs_a_second_word(cfsegmenter, refused, a_store, a_model_of_three):
    propose(a_store, a_model_of_three, report=FELL)
    said = refused("models", "accept", a_store.folder, 3)
    assert "left kidney lost 4.0 points on 3 cases" in said and "--confirmed" in said
    assert a_store.active.name == "1"
    assert cfsegmenter("models", "accept", a_store.folder, 3, "--confirmed").exit_code == 0
    assert a_store.active.name == "3"


def test_on_a_terminal_the_second_word_is_asked_for(a_person, a_store, a_model_of_three):
    propose(a_store, a_model_of_three, report="{")
    for answer in ("n", ""):
        result = a_person(answer, "models", "accept", a_store.folder, 3)
        assert result.exit_code == 2
        assert "report of version 3 is damaged" in result.stderr
        assert "Accept version 3 all the same? [y/N]" in result.stderr
        assert "Version 3 was not accepted; version 1 is used on." in result.stderr
    assert a_store.active.name == "1"
    result = a_person("y", "models", "accept", a_store.folder, 3)
    assert result.exit_code == 0
    assert a_store.active.name == "3"


def test_two_versions_are_compared(cfsegmenter, a_store):
    result = cfsegmenter("models", "compare", a_store.folder, 1, 2)
    assert result.exit_code == 0
    rows = {row["structure"]: row for row in table_of(result.stdout)}
    columns = ("Dice 1", "Dice 2", "change (points)")
    assert [rows["liver"][name] for name in columns] == ["0.9", "0.88", "-2.0"]
    assert [rows["gallbladder"][name] for name in columns] == ["", "0.8", ""]
    assert result.stderr == "Only version 2 knows gallbladder, and version 1 does not.\n"


def test_a_comparison_says_what_it_cannot_say(cfsegmenter, a_store, a_model_of_three):
    propose(a_store, a_model_of_three, report=a_report(scores=[score("liver", 0.9, 0.7)]))
    result = cfsegmenter("models", "compare", a_store.folder, 2, 3)
    assert "perhaps on different cases" in result.stderr and "Neither version was made from the other" in result.stderr
    propose(a_store, a_model_of_three, report=None)
    result = cfsegmenter("models", "compare", a_store.folder, 1, 4)
    assert result.exit_code == 0 and "Of neither version a score is known" in result.stderr


@pytest.mark.parametrize(
    "verb", [["versions"], ["accept", 2], ["reject", 2], ["rollback"], ["compare", 1, 2]], ids=lambda verb: verb[0]
)
def test_what_is_no_store_or_is_a_damaged_one_is_answered_with_one_sentence(refused, a_store, tmp_path, verb):
    name, *more = verb
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "gone", tmp_path / "empty"):
        assert "not a store of models" in refused("models", name, folder, *more)
    path = a_store.folder / "store.json"
    said = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**said, "format": 9}), encoding="utf-8")
    assert "newer version of CFSegmenter" in refused("models", name, a_store.folder, *more)
    path.write_text("{", encoding="utf-8")
    assert "is damaged" in refused("models", name, a_store.folder, *more)


def test_a_version_that_is_not_there_is_answered_with_those_that_are(refused, a_store):
    for verb in (["accept", "7"], ["reject", "../1"], ["compare", 1, 7], ["compare", "x", 1]):
        assert "it has 1, 2" in refused("models", verb[0], a_store.folder, *verb[1:])


def test_stores_are_listed_beside_models_with_the_version_that_is_used(cfsegmenter, a_store, a_model_of_two, tmp_path):
    shutil.copytree(a_model_of_two, tmp_path / "plain")
    shutil.copytree(a_store.folder, tmp_path / "broken")
    (tmp_path / "broken" / "store.json").write_text("{")
    result = cfsegmenter("models", "list", tmp_path)
    assert result.exit_code == 0
    rows = {row["model"]: row for row in table_of(result.stdout)}
    assert rows[str(tmp_path / "plain")]["store"] == ""
    assert (rows[str(a_store.folder)]["version"], rows[str(a_store.folder)]["store"]) == (
        "1",
        "2 versions, 1 to decide on",
    )
    assert not any("versions" in name or "broken" in name for name in rows)
    assert "index of the store" in result.stderr and "broken" in result.stderr
    a_store.accept("2")
    rows = {row["model"]: row for row in table_of(cfsegmenter("models", "list", a_store.folder).stdout)}
    assert (rows[str(a_store.folder)]["version"], rows[str(a_store.folder)]["structures"]) == ("2", "3")


def test_a_store_stands_for_its_active_version_in_every_verb(cfsegmenter, a_store):
    a_store.accept("2")
    said = json.loads(cfsegmenter("models", "show", a_store.folder, "--json").stdout)
    assert said["version"] == "2"
    assert "gallbladder" in cfsegmenter("structures", "--model", a_store.folder).stdout


def test_scores_are_not_written_into_a_version(refused, a_store, a_small_source, tmp_path):
    before = contents(a_store.folder)
    out = tmp_path / "report.json"
    assert "versions never change" in refused(
        "evaluate", "--model", a_store.folder, "--cases", a_small_source, "--out", out, "--record"
    )
    assert contents(a_store.folder) == before and not out.exists()
