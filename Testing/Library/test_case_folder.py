"""The case folder: annotated volumes kept exactly, whole or not at all, and under no name of a patient."""

from __future__ import annotations

import errno
import gzip
import itertools
import json
import os
import shutil
import signal

import numpy as np
import pytest

from CFSegmenterLib.case_folder import CaseFolder
from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.prepared import load_case
from CFSegmenterLib.volume import Volume
from Testing.Library.conftest import write_small_source
from Testing.Library.stored import HAS_FORK, contents, ended, hidden, in_a_process, killed_at

needs_fork = pytest.mark.skipif(not HAS_FORK, reason="the system cannot fork")

VALUES = {1: "liver", 2: "spleen"}


def rotation(degrees, axis):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turned = np.eye(3)
    first, second = [n for n in range(3) if n != axis]
    turned[[first, first, second, second], [first, second, first, second]] = c, -s, s, c
    return turned


def an_affine(spacing=(1.0, 1.0, 1.0), directions=None, origin=(0.0, 0.0, 0.0)):
    affine = np.eye(4)
    affine[:3, :3] = (np.eye(3) if directions is None else directions) * np.asarray(spacing)
    affine[:3, 3] = origin
    return affine


OBLIQUE = rotation(23, 0) @ rotation(-41, 1) @ rotation(7.3, 2)
GEOMETRIES = {
    "straight": an_affine(),
    "anisotropic": an_affine((0.4297, 0.4297, 5.5), origin=(-123.456, 78.9, 1012.345)),
    "oblique": an_affine((0.7, 0.9, 3.3), OBLIQUE, (-101.7, 55.5, -912.3)),
    "left-handed": an_affine((1.1, 1.2, 1.3), OBLIQUE @ np.diag([1, 1, -1]), (10, 20, 30)),
    "LPS": an_affine((2, 2, 4), np.diag([-1, -1, 1]), (90, 126, -72)),
    "permuted": an_affine((1.5, 0.75, 2.25), np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]]), (1, 2, 3)),
}


def a_volume(dtype=np.int16, affine=None, modality="ct", shape=(7, 6, 5), seed=0):
    random = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        array = random.normal(0, 1000, shape).astype(dtype)
    else:
        low, high = (0, 2) if dtype is bool else (max(np.iinfo(dtype).min, -(2**40)), min(np.iinfo(dtype).max, 2**40))
        array = random.integers(low, high, shape).astype(dtype)
    return Volume.checked(array, an_affine() if affine is None else affine, modality)


def some_labels(shape=(7, 6, 5), seed=0):
    labels = np.random.default_rng(seed).integers(0, 3, shape)
    labels[0, 0, :3] = [0, 1, 2]
    return labels


@pytest.fixture
def a_folder(tmp_path):
    """A case folder that is not there yet."""
    return CaseFolder.open(tmp_path / "cases")


another = itertools.count(1)


def add(folder, **said):
    volume = said.pop("volume", None) or a_volume(seed=next(another))
    given = {"labels": some_labels(), "values": VALUES, "annotated": ["liver"], **said}
    return folder.add(volume, **given)


# --- exactness ---


@pytest.mark.parametrize("name", GEOMETRIES)
def test_image_and_labels_come_back_voxel_for_voxel_where_they_lay(a_folder, name):
    volume = a_volume(affine=GEOMETRIES[name])
    labels = some_labels()
    add(a_folder, volume=volume, labels=labels)
    (case,) = read_case_lists([a_folder.list_file])[0].cases
    again, drawn = load_case(case)
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_array_equal(drawn, labels)
    assert again.on_same_grid_as(volume, tolerance_mm=1e-3)
    np.testing.assert_allclose(again.affine, volume.affine, rtol=1e-7, atol=1e-6)  # NIfTI keeps 32 bits
    assert again.modality == "ct"


@pytest.mark.parametrize(
    "dtype",
    [bool, np.uint8, np.int8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.float16, np.float32,
     np.float64],
)  # fmt: skip
def test_no_voxel_changes_its_value_whatever_its_type(a_folder, dtype):
    volume = a_volume(dtype)
    add(a_folder, volume=volume)
    (case,) = read_case_lists([a_folder.list_file])[0].cases
    np.testing.assert_array_equal(load_case(case)[0].array, volume.array)


def test_whole_numbers_take_no_more_room_than_they_need(a_folder):
    import nibabel

    array = a_volume().array.astype(np.int64) // 100
    add(a_folder, volume=Volume.checked(array, an_affine(), "ct"))
    assert nibabel.load(a_folder.folder / "images" / "0001.nii.gz").get_data_dtype() == np.int16


@pytest.mark.parametrize("order", ["C", "F"])
def test_label_values_beyond_255_are_kept_in_any_order_of_memory(a_folder, order):
    labels = np.asarray(some_labels() * 200, order=order).astype(np.int32)
    add(a_folder, labels=labels, values={200: "liver", 400: "spleen"})
    (case,) = read_case_lists([a_folder.list_file])[0].cases
    np.testing.assert_array_equal(load_case(case)[1], labels)
    assert case.values == {200: "liver", 400: "spleen"}


def test_a_painted_mask_is_a_label_map_of_one_structure(a_folder):
    mask = some_labels() == 1
    add(a_folder, labels=mask, values={1: "liver"})
    (case,) = read_case_lists([a_folder.list_file])[0].cases
    np.testing.assert_array_equal(load_case(case)[1], mask)


# --- what is said of a case ---


def test_names_are_the_vocabularys_and_only_what_is_complete_is_declared(a_folder):
    add(a_folder, values={1: "Kidney, left", 2: "My New Thing"}, annotated=["my new  thing"])
    (case,) = a_folder.cases
    assert case.structures == ("left kidney", "my new thing")
    assert case.annotated == ("my new thing",)
    (read,) = read_case_lists([a_folder.list_file])[0].cases
    assert read.values == {1: "left kidney", 2: "my new thing"}
    assert (read.annotated, read.partly) == (("my new thing",), ("left kidney",))


def test_cases_of_several_modalities_and_label_sets_live_in_one_folder(a_folder):
    add(a_folder)
    add(a_folder, volume=a_volume(modality="MRI T1"), values={1: "hippocampus", 2: "thalamus"}, annotated=["thalamus"])
    add(a_folder, source="my  study")
    lists = {each.source: each for each in read_case_lists([a_folder.list_file])}
    assert {name: each.modality for name, each in lists.items()} == {
        "ct cases": "ct",
        "mr-t1 cases": "mr-t1",
        "my study": "ct",
    }
    assert lists["mr-t1 cases"].structures == ("hippocampus", "thalamus")
    with pytest.raises(UserError, match="source 'my study' are ct images, and this one is mr"):
        add(a_folder, volume=a_volume(modality="mr"), source="my study")
    assert [case.number for case in a_folder.cases] == [1, 2, 3]


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"volume": a_volume(modality=None)}, "what made the image"),
        ({"labels": some_labels((7, 6, 4))}, "7 x 6 x 4 voxels and the image has 7 x 6 x 5"),
        ({"labels": some_labels() * 0.5}, "no whole numbers"),
        ({"labels": np.zeros((7, 6, 5), np.uint8)}, "Nothing is drawn"),
        ({"labels": -some_labels()}, "the value -2"),
        ({"values": {1: "liver"}}, "the value 2, which no structure"),
        ({"values": {}}, "what the label values stand for"),
        ({"values": {0: "liver", 1: "spleen"}}, "label value 0"),
        ({"values": {70000: "liver"}}, "label value 70000"),
        ({"values": {"one": "liver"}}, "label value one"),
        ({"values": {1: "liver", 2: " "}}, "label value 2 has no structure"),
        ({"values": {1: "liver", 2: "Background"}}, "label value 2 has no structure"),
        ({"annotated": []}, "drawn completely, and parts alone"),
        ({"annotated": ["pancreas"]}, "'pancreas' is said to be drawn completely"),
        ({"split": "test"}, "not for 'test'"),
    ],
)
def test_what_does_not_fit_together_is_refused_and_nothing_is_added(a_folder, said, why):
    with pytest.raises(UserError, match=why):
        add(a_folder, **said)
    assert not a_folder.folder.exists()


def test_a_volume_that_cannot_be_used_is_refused(a_folder):
    with pytest.raises(UserError, match="not a number"):
        add(a_folder, volume=Volume(np.full((7, 6, 5), np.nan), an_affine(), "ct"))
    assert not a_folder.folder.exists()


# --- splits ---


def test_every_fourth_case_of_a_source_is_kept_aside_and_never_drawn_anew(a_folder):
    for number in range(1, 10):
        assert add(a_folder).split == ("validation" if number % 4 == 0 else "training")
        assert add(a_folder, source="other").split == ("validation" if number % 4 == 0 else "training")
    by_source = {name: [c.split for c in a_folder.cases if c.source == name] for name in ("ct cases", "other")}
    assert by_source["ct cases"] == by_source["other"] == [*3 * ["training"], "validation"] * 2 + ["training"]


def test_a_caller_may_say_the_split_and_it_counts(a_folder):
    assert add(a_folder, split="validation").split == "validation"
    assert [add(a_folder).split for _ in range(7)] == ["training"] * 6 + ["validation"]


def test_a_subject_stays_in_its_split_in_every_source(a_folder):
    assert add(a_folder, subject="Jane Doe").split == "training"
    for _ in range(2):
        add(a_folder)
    assert add(a_folder, subject=" jane  DOE").split == "training"  # though it is the fourth
    assert add(a_folder).split == "validation"  # which the fifth is then
    assert add(a_folder, subject="Jane Doe", source="other", split="training").split == "training"
    with pytest.raises(UserError, match="another of its subject, is for training"):
        add(a_folder, subject="Jane Doe", split="validation")
    by_number = {case.number: case.subject for case in a_folder.cases}
    assert by_number == {1: "subject 1", 2: "subject 2", 3: "subject 3", 4: "subject 1", 5: "subject 5", 6: "subject 1"}
    assert len(read_case_lists([a_folder.list_file])) == 2  # which refuses subjects in two splits


def test_a_scan_added_again_with_more_drawn_on_it_stays_in_its_split(a_folder):
    scan = a_volume()
    assert add(a_folder, volume=scan, split="validation").split == "validation"
    again = add(a_folder, volume=scan, labels=some_labels(seed=1), annotated=["liver", "spleen"], subject="Jane Doe")
    assert again.split == "validation"  # nobody but the scan said whose it is
    with pytest.raises(UserError, match="This scan, or another of its subject, is for validation"):
        add(a_folder, volume=scan, split="training")
    a_folder.withdraw(1)
    assert add(a_folder, volume=scan, source="elsewhere").split == "validation"
    assert {case.subject for case in a_folder.cases} == {"subject 1"}


def test_a_case_that_is_withdrawn_and_added_corrected_stays_in_its_split(a_folder):
    for _ in range(4):
        add(a_folder)
    for number, split in ((4, "validation"), (2, "training")):
        a_folder.withdraw(number)
        assert add(a_folder).split == split
    a_folder.withdraw(1)
    known = add(a_folder, subject="somebody")
    a_folder.withdraw(known.number)
    assert known.split == add(a_folder, subject="somebody").split == "training"
    with pytest.raises(UserError, match="for training"):
        add(a_folder, subject="somebody", split="validation")


# --- names ---


def test_no_name_of_a_patient_enters(a_folder):
    volume = a_volume()
    for _ in range(2):
        add(a_folder, volume=volume, subject="Doe^Jane 1970-01-01")
    for path in a_folder.folder.rglob("*"):
        data = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
        if path.suffix == ".gz":
            data += gzip.decompress(path.read_bytes())
        assert not any(word in data.lower() for word in (b"doe", b"jane", b"1970"))
    names = sorted(str(path.relative_to(a_folder.folder)) for path in a_folder.folder.rglob("*.*") if path.is_file())
    assert [name for name in names if not name.endswith(".lock")] == [
        "dataset.json",
        "images/0001.nii.gz",
        "images/0002.nii.gz",
        "labels/0001.nii.gz",
        "labels/0002.nii.gz",
    ]


def test_two_folders_know_a_subject_by_different_keys(tmp_path):
    keys = []
    for name in "ab":
        folder = CaseFolder.open(tmp_path / name)
        add(folder, subject="Jane Doe")
        keys.append(json.loads(folder.list_file.read_text(encoding="utf-8"))["training"][0]["key"])
    assert keys[0] != keys[1]


# --- withdrawing ---


def test_a_withdrawn_case_is_moved_and_not_deleted_and_its_number_is_not_given_again(a_folder):
    for _ in range(2):
        add(a_folder)
    before = {kind: (a_folder.folder / f"{kind}s" / "0002.nii.gz").read_bytes() for kind in ("image", "label")}
    a_folder.withdraw(2)
    assert [case.number for case in a_folder.cases] == [1]
    assert len(read_case_lists([a_folder.list_file])[0].cases) == 1
    aside = a_folder.folder / "withdrawn"
    assert (aside / "0002-image.nii.gz").read_bytes() == before["image"]
    assert (aside / "0002-labels.nii.gz").read_bytes() == before["label"]
    assert not (a_folder.folder / "images" / "0002.nii.gz").exists()
    assert add(a_folder).number == 3
    with pytest.raises(UserError, match="no case 2 any more, it was withdrawn; there are 1, 3"):
        a_folder.withdraw(2)
    with pytest.raises(UserError, match="no case 7; there are 1, 3"):
        a_folder.withdraw(7)


def test_nothing_is_withdrawn_from_a_folder_without_cases(a_folder):
    with pytest.raises(UserError, match="holds no cases"):
        a_folder.withdraw(1)
    assert not a_folder.folder.exists()


# --- harm ---


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text.txt").write_text("mine")
    source = write_small_source(tmp_path / "source", training=1, validation=0).parent
    before = contents(tmp_path)
    for folder, why in ((tmp_path / "thesis", "not empty"), (source, "of somebody else")):
        with pytest.raises(UserError, match=why):
            CaseFolder.open(folder)
        with pytest.raises(UserError, match=why):
            add(CaseFolder(folder))
    with pytest.raises(UserError, match="cannot be"):
        CaseFolder.open(tmp_path / "thesis" / "text.txt")
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"{", "not valid JSON"),
        (b"\xff", "not valid JSON"),
        (b"[]", "of somebody else"),
        (b'{"case_folder": 2}', "newer version"),
        (b'{"case_folder": 1}', "at 'salt'"),
        (b'{"case_folder": 1, "salt": "00", "training": [{"number": 0}]}', "at 'training.0.number'"),
    ],
)
def test_an_index_that_cannot_be_used_is_explained_in_one_sentence_and_left_as_it_is(a_folder, text, said):
    add(a_folder)
    a_folder.list_file.write_bytes(text)
    before = contents(a_folder.folder)
    for use in (lambda: CaseFolder.open(a_folder.folder), lambda: a_folder.cases, lambda: add(a_folder)):
        with pytest.raises(UserError, match=said) as raised:
            use()
        assert "\n" not in str(raised.value)
    assert contents(a_folder.folder) == before


def test_what_the_user_writes_into_the_list_stays(a_folder):
    add(a_folder)
    said = json.loads(a_folder.list_file.read_text(encoding="utf-8"))
    a_folder.list_file.write_text(json.dumps({**said, "licence": "CC0", "remark": "mine"}), encoding="utf-8")
    add(a_folder)
    a_folder.withdraw(1)
    kept = json.loads(a_folder.list_file.read_text(encoding="utf-8"))
    assert (kept["licence"], kept["remark"]) == ("CC0", "mine")
    assert read_case_lists([a_folder.list_file])[0].licence == "CC0"


def test_a_full_disk_at_any_flush_leaves_the_folder_as_it_was(a_folder, monkeypatch):
    add(a_folder)
    flush, before = os.fsync, contents(a_folder.folder)
    for turn in range(1, 20):
        flushed = []

        def full(descriptor, turn=turn, flushed=flushed):
            flushed.append(descriptor)
            if len(flushed) == turn:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            flush(descriptor)

        monkeypatch.setattr(os, "fsync", full)
        try:
            add(a_folder)
        except UserError as error:
            assert "no space left" in str(error)
            assert contents(a_folder.folder) == before and hidden(a_folder.folder) == []
        else:
            break
    assert turn > 3
    assert add(a_folder).number == 3


@needs_fork
def test_a_process_killed_at_any_moment_of_adding_leaves_whole_cases_only(a_folder, tmp_path):
    add(a_folder)
    a_folder.withdraw(add(a_folder).number)
    old = {name: data for name, data in contents(a_folder.folder).items() if name.endswith(".gz")}
    added = 0
    for step in range(1, 100):
        folder = CaseFolder(shutil.copytree(a_folder.folder, tmp_path / f"copy{step}"))

        def die(folder=folder, step=step):
            killed_at(step, folder.folder)
            add(folder)

        status = ended(in_a_process(die))
        assert status in (0, -signal.SIGKILL)
        cases = read_case_lists([folder.list_file])[0].cases
        added += len(cases) > 1
        for case in cases:
            np.testing.assert_array_equal(load_case(case)[1], some_labels())
        assert add(folder).number == len(cases) + 2
        after = {name: data for name, data in contents(folder.folder).items() if name.endswith(".gz")}
        assert {name: after[name] for name in old} == old
        assert len(after) == len(old) + 2 * len(cases)
        assert hidden(folder.folder) == []
        if status == 0:
            break
    assert status == 0 and step > 12 and added > 1


@needs_fork
def test_a_process_killed_at_any_moment_of_withdrawing_loses_no_file(a_folder, tmp_path):
    for _ in range(2):
        add(a_folder)
    for step in range(1, 50):
        folder = CaseFolder(shutil.copytree(a_folder.folder, tmp_path / f"copy{step}"))

        def die(folder=folder, step=step):
            killed_at(step, folder.folder)
            folder.withdraw(1)

        status = ended(in_a_process(die))
        left = {case.number for case in folder.cases}
        assert left in ({1, 2}, {2})
        assert len(read_case_lists([folder.list_file])[0].cases) == len(left)
        add(folder)
        names = {name for name in contents(folder.folder) if name.endswith(".gz")}
        where = ("images/0001", "labels/0001") if 1 in left else ("withdrawn/0001-image", "withdrawn/0001-labels")
        assert {f"{name}.nii.gz" for name in where} < names and len(names) == 6
        if status == 0:
            break
    assert status == 0 and step > 4


@needs_fork
def test_two_processes_that_add_at_the_same_time_lose_nothing(a_folder):
    ready, go = os.pipe()

    def several():
        os.close(go)
        os.read(ready, 1)
        for _ in range(4):
            add(a_folder)

    children = [in_a_process(several) for _ in range(2)]
    os.close(go)
    assert [ended(child) for child in children] == [0, 0]
    assert [case.number for case in a_folder.cases] == list(range(1, 9))
    assert [case.split for case in a_folder.cases].count("validation") == 2
    assert len(read_case_lists([a_folder.list_file])[0].cases) == 8


# --- structures that the vocabulary does not know ---

CYST = {
    "name": "adrenal cyst",
    "category": ["49755003", "SCT", "Morphologically Altered Structure"],
    "type": ["367643001", "SCT", "Cyst"],
    "color": [214, 120, 60],
}
MASS = {**CYST, "type": ["4147007", "SCT", "Mass"]}
WITH_CYST = {"values": {1: "liver", 2: "Adrenal  Cyst"}, "annotated": ["adrenal cyst"]}


def own_structures(folder):
    return [case.own_structures for case in read_case_lists([folder.list_file])[0].cases]


def test_code_and_color_of_a_new_structure_are_kept_with_its_case(a_folder):
    assert add(a_folder, **WITH_CYST, own_structures=[CYST, {**CYST, "name": "liver"}]).passed_over == ()
    add(a_folder)
    (cyst,), none = own_structures(CaseFolder.open(a_folder.folder))
    assert (cyst.name, cyst.type.meaning, cyst.color) == ("adrenal cyst", "Cyst", (214, 120, 60))
    assert none == ()
    first, second = json.loads(a_folder.list_file.read_text(encoding="utf-8"))["training"]
    assert first["own_structures"] == [CYST]
    assert "own_structures" not in second


def test_another_code_for_a_name_is_passed_over_and_told_until_the_first_is_withdrawn(a_folder):
    add(a_folder, **WITH_CYST, own_structures=[CYST])
    (said,) = add(a_folder, **WITH_CYST, own_structures=[MASS]).passed_over
    assert said.startswith("Adrenal cyst keeps the code") and said.endswith(".") and "Mass" in said
    assert own_structures(a_folder)[0] == own_structures(a_folder)[1]
    for number in (1, 2):
        a_folder.withdraw(number)
    assert add(a_folder, **WITH_CYST, own_structures=[MASS]).passed_over == ()
    assert own_structures(a_folder)[0][0].type.meaning == "Mass"


def test_what_is_not_valid_of_a_new_structure_is_refused_and_no_case_is_added(a_folder):
    with pytest.raises(UserError, match="color must be"):
        add(a_folder, **WITH_CYST, own_structures=[{**CYST, "color": "red"}])
    assert a_folder.cases == ()


# --- several folders ---


def test_cases_of_two_folders_that_call_their_source_alike_are_one_source(tmp_path):
    first, second = (CaseFolder.open(tmp_path / name) for name in ("mine", "yours"))
    for seed in range(4):
        add(first, volume=a_volume(seed=seed))
    add(second, values={1: "liver", 2: "pancreas"}, annotated=["pancreas"], split="validation")
    (found,) = read_case_lists([first.list_file, second.list_file, first.list_file])
    assert (found.source, found.modality) == ("ct cases", "ct")
    assert found.structures == ("liver", "spleen", "pancreas")
    assert [case.image.parts[-3] for case in found.of("training")] == ["mine"] * 3
    assert [case.image.parts[-3] for case in found.of("validation")] == ["mine", "yours"]
    assert found.licence == "not stated"


def test_two_folders_that_call_different_kinds_of_scan_alike_are_told_apart_in_a_sentence(tmp_path):
    first, second = (CaseFolder.open(tmp_path / name) for name in ("mine", "yours"))
    add(first, source="scans")
    add(second, source="scans", volume=a_volume(modality="mr-t1"))
    with pytest.raises(UserError, match=r"mine.* and .*yours.*'scans' has images of ct, mr-t1; make it a source for"):
        read_case_lists([first.list_file, second.list_file])


def test_a_folder_is_not_taken_for_another_one_than_its_copy(a_folder, tmp_path):
    add(a_folder)
    copy = shutil.copytree(a_folder.folder, tmp_path / "copy")
    with pytest.raises(UserError, match=r"copy.* is a copy of .*cases.*; name one of the two"):
        read_case_lists([a_folder.list_file, copy / "dataset.json"])
