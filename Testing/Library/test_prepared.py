from __future__ import annotations

import json
import os
import pickle
import resource
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813 - the name by which everyone knows it

from CFSegmenterLib.cases import Case
from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.grid import ModelGrid
from CFSegmenterLib.intensity import WindowRule
from CFSegmenterLib.prepared import (
    BYTES_A_PROCESS,
    BYTES_A_VOXEL,
    LEFT_SECONDS,
    VOXELS_REMEMBERED,
    CaseCache,
    load_case,
)
from CFSegmenterLib.protocols import Protocol

NAMES = ("background", "spleen", "liver", "left kidney")
PATIENT = "Jane_Doe_1970"
RULE = WindowRule(low=-200, high=200)


def a_protocol(spacing=(2.0, 2.0, 2.0), intensity=RULE) -> Protocol:
    return Protocol(
        name="test",
        modality="ct",
        spacing=spacing,
        patch=(16, 16, 16),
        intensity=intensity,
        typical_spacing=(2, 2, 2),
        typical_extent=(40, 40, 40),
    )


def written(path: Path, array: np.ndarray, spacing=(2.0, 2.0, 2.0), origin=(0.0, 0.0, 0.0)) -> Path:
    """Write (I, J, K) voxels whose axes run to R, A and S."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose()))
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # ITK counts to L, P and S
    sitk.WriteImage(image, str(path))
    return path


def a_case(folder: Path, shape=(20, 18, 16), spacing=(2.0, 2.0, 2.0), values=None, **said) -> Case:
    """A case with a liver of 1s, a spleen of 2s and a kidney of 7s, and a ramp as its image."""
    random = np.random.default_rng(0)
    image = (random.integers(-150, 150, shape)).astype(np.int16)
    labels = np.zeros(shape, dtype=np.uint8)
    labels[2:10, 3:12, 2:14] = 1
    labels[12:18, 3:9, 2:10] = 2
    labels[12:14, 12:14, 12:14] = 7
    case = Case(
        written(folder / f"{PATIENT}.nii.gz", image, spacing),
        written(folder / f"{PATIENT}_labels.nii.gz", labels, spacing),
        "abdomen",
        "ct",
        PATIENT,
        "training",
        values or {1: "liver", 2: "spleen", 7: "left kidney"},
        ("liver", "spleen", "left kidney"),
    )
    return replace(case, **said)


def prepared(folder: Path, case: Case, protocol: Protocol | None = None):
    return CaseCache(folder / "cache", NAMES).prepare([case], [protocol or a_protocol()])[0]


def test_arrays_are_the_image_in_the_networks_numbers_and_labels_as_indices_of_prototypes(tmp_path):
    case = a_case(tmp_path)
    found = prepared(tmp_path, case)
    volume, labels = load_case(case)
    grid = ModelGrid.fit(volume.shape, volume.affine, (2, 2, 2))
    assert found.image.dtype == np.float16 and found.labels.dtype == np.uint16
    assert isinstance(found.image, np.memmap) and isinstance(found.labels, np.memmap)
    np.testing.assert_array_equal(found.image, grid.to_model(RULE.apply(volume.array)).astype(np.float16))
    wanted = np.select([labels == 1, labels == 2, labels == 7], [2, 1, 3], 0)
    np.testing.assert_array_equal(found.labels, grid.reorder(wanted))
    assert found.image.min() >= -2 and found.image.max() <= 2


def test_centers_are_voxels_of_their_structure_and_not_too_many(tmp_path):
    found = prepared(tmp_path, a_case(tmp_path, shape=(40, 36, 32)))
    assert found.rows.keys() == {"spleen", "liver", "left kidney"}
    for name in found.rows:
        voxels = found.centers(name)
        assert voxels.shape[1] == 3
        assert (found.labels[tuple(voxels.T)] == NAMES.index(name)).all()
        drawn = (found.labels == NAMES.index(name)).sum()
        assert len(voxels) == len(np.unique(voxels, axis=0)) == min(VOXELS_REMEMBERED, drawn)


def test_centers_of_a_large_structure_lie_all_over_it(tmp_path):
    labels = np.zeros((40, 36, 32), dtype=np.uint8)
    labels[2:38, 2:34, 2:30] = 1
    case = a_case(tmp_path, shape=(40, 36, 32))
    written(case.labels, labels)
    voxels = prepared(tmp_path, case).centers("liver")
    assert len(voxels) == VOXELS_REMEMBERED
    assert np.ptp(voxels, axis=0).tolist() == [35, 31, 27]
    np.testing.assert_allclose(voxels.mean(axis=0), [19.5, 17.5, 15.5], atol=1)


def test_images_are_resampled_to_the_protocol_and_labels_with_them(tmp_path):
    case = a_case(tmp_path)
    found = prepared(tmp_path, case, a_protocol(spacing=(4.0, 4.0, 2.0)))
    assert found.image.shape == found.labels.shape == (10, 9, 16)
    assert set(np.unique(found.labels)) == {0, 1, 2, 3}
    # Voxels 2..10 of 2 mm are voxels 1..5 of 4 mm.
    assert (found.labels[1:5, 2:6, 2:14] == 2).all()
    assert (found.labels == 2).sum() == pytest.approx((load_case(case)[1] == 1).sum() / 4, rel=0.3)
    finer = prepared(tmp_path, case, a_protocol(spacing=(1.0, 1.0, 1.0)))
    assert finer.labels.shape == (40, 36, 32)
    assert (finer.labels == 2).sum() == pytest.approx(8 * (load_case(case)[1] == 1).sum(), rel=0.02)


def test_only_what_is_annotated_is_taken_from_the_labels(tmp_path):
    found = prepared(tmp_path, a_case(tmp_path, annotated=("liver",)))
    assert set(np.unique(found.labels)) == {0, 2}
    assert found.rows.keys() == {"liver"}


def test_what_is_drawn_in_part_is_taken_from_the_labels_where_it_is_said(tmp_path):
    found = prepared(tmp_path, a_case(tmp_path, annotated=("liver",), partly=("left kidney",)))
    assert set(np.unique(found.labels)) == {0, 2, NAMES.index("left kidney")}
    assert found.rows.keys() == {"liver", "left kidney"}


def test_a_complete_organ_has_no_hole_where_a_part_of_it_was_drawn_that_does_not_count(tmp_path):
    values = {1: "liver", 2: "liver tumor", 7: "left kidney"}
    case = a_case(tmp_path, values=values, annotated=("liver", "left kidney"))
    whole = prepared(tmp_path, case)
    assert (whole.labels == 2).sum() == np.isin(load_case(case)[1], (1, 2)).sum()
    open_around = prepared(tmp_path, replace(case, annotated=("left kidney",)))
    assert set(np.unique(open_around.labels)) == {0, NAMES.index("left kidney")}


def test_several_values_of_one_structure_become_one(tmp_path):
    case = a_case(tmp_path, values={1: "liver", 2: "liver", 7: "left kidney"}, annotated=("liver", "left kidney"))
    found = prepared(tmp_path, case)
    assert (found.labels == 2).sum() == np.isin(load_case(case)[1], (1, 2)).sum()


def files(tmp_path: Path) -> dict[str, int]:
    return {p.name: p.stat().st_mtime_ns for p in sorted((tmp_path / "cache").iterdir())}


def test_what_was_prepared_is_used_again(tmp_path):
    case = a_case(tmp_path)
    first = prepared(tmp_path, case)
    before = files(tmp_path)
    second = prepared(tmp_path, case)
    assert files(tmp_path) == before and len(before) == 4
    np.testing.assert_array_equal(first.labels, second.labels)
    assert first.rows == second.rows
    for name in first.rows:
        np.testing.assert_array_equal(first.centers(name), second.centers(name))


@pytest.mark.parametrize(
    "change", ["image", "labels", "date", "values", "annotated", "spacing", "intensity", "prototypes"]
)
def test_what_was_prepared_is_prepared_anew_where_anything_changed(tmp_path, change):
    case, protocol, names = a_case(tmp_path), a_protocol(), NAMES
    prepared(tmp_path, case)
    before = files(tmp_path)
    if change in ("image", "labels"):
        path = getattr(case, change)
        array = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).transpose().copy()
        array[0, 0, 0] = 1
        written(path, array)
    elif change == "date":
        os.utime(case.image, ns=(0, 0))
    elif change == "values":
        case = replace(case, values={2: "liver", 1: "spleen", 7: "left kidney"})
    elif change == "annotated":
        case = replace(case, annotated=("liver",))
    elif change == "prototypes":
        names = ("background", "liver", "spleen", "left kidney")
    else:
        others = {"spacing": (2.0, 2.0, 4.0), "intensity": WindowRule(low=0, high=9)}
        protocol = a_protocol(**{change: others[change]})
    found = CaseCache(tmp_path / "cache", names).prepare([case], [protocol])[0]
    assert len(files(tmp_path)) == 2 * len(before)
    if change == "annotated":
        assert set(np.unique(found.labels)) == {0, 2}
    if change == "labels":
        assert found.labels[0, 0, 0] == 2


def test_no_file_name_of_a_patient_gets_into_the_cache(tmp_path):
    prepared(tmp_path, a_case(tmp_path))
    for path in (tmp_path / "cache").iterdir():
        assert "Jane" not in path.name
        assert b"Jane" not in path.read_bytes()


def test_a_preparation_that_was_cut_off_is_done_again(tmp_path):
    case = a_case(tmp_path)
    whole = np.array(prepared(tmp_path, case).labels)
    index = next((tmp_path / "cache").glob("*.json"))
    index.unlink()
    next((tmp_path / "cache").glob("*-labels.npy")).write_bytes(b"cut off")
    np.testing.assert_array_equal(prepared(tmp_path, case).labels, whole)
    assert not list((tmp_path / "cache").glob("*.part*"))


def test_another_process_gets_the_files_and_not_a_copy(tmp_path):
    found = prepared(tmp_path, a_case(tmp_path, shape=(64, 64, 64)))
    sent = pickle.dumps(found)
    assert len(sent) < 1000  # ten thousand of them are ten megabytes
    arrived = pickle.loads(sent)
    assert isinstance(arrived.image, np.memmap)
    np.testing.assert_array_equal(arrived.image, found.image)
    np.testing.assert_array_equal(arrived.labels, found.labels)
    np.testing.assert_array_equal(arrived.centers("liver"), found.centers("liver"))


def test_prepared_arrays_cannot_be_written_into(tmp_path):
    found = prepared(tmp_path, a_case(tmp_path))
    with pytest.raises(ValueError, match="read-only"):
        found.image[0, 0, 0] = 1


def test_a_case_without_any_structure_has_no_centers(tmp_path):
    case = a_case(tmp_path)
    written(case.labels, np.zeros((20, 18, 16), dtype=np.uint8))
    found = prepared(tmp_path, case)
    assert found.rows == {} and found.centers("liver").shape == found.centers(None).shape == (0, 3)


def test_an_image_in_any_orientation_is_prepared_alike(tmp_path):
    case = a_case(tmp_path)
    straight = prepared(tmp_path, case)
    for path in (case.image, case.labels):
        sitk.WriteImage(sitk.DICOMOrient(sitk.ReadImage(str(path)), "PIR"), str(path))
    turned = prepared(tmp_path, case)
    np.testing.assert_array_equal(turned.image, straight.image)
    np.testing.assert_array_equal(turned.labels, straight.labels)


def test_preparing_reports_and_can_be_stopped(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    cases = [a_case(tmp_path / "a"), a_case(tmp_path / "b")]
    seen = []

    def until_the_second(done: int, total: int, message: str) -> bool:
        seen.append((done, total, message))
        return done < 1

    cache = CaseCache(tmp_path / "cache", NAMES)
    with pytest.raises(Cancelled):
        cache.prepare(cases, [a_protocol()] * 2, until_the_second)
    assert seen == [(0, 2, "preparing case 1 of 2"), (1, 2, "preparing case 2 of 2")]
    assert len(list((tmp_path / "cache").glob("*.json"))) == 1
    assert len(cache.prepare(cases, [a_protocol()] * 2)) == 2


def test_labels_on_another_grid_are_refused(tmp_path):
    case = a_case(tmp_path)
    written(case.labels, np.zeros((20, 18, 16), dtype=np.uint8), origin=(5.0, 0.0, 0.0))
    with pytest.raises(UserError, match="does not lie on the grid of its image"):
        prepared(tmp_path, case)
    written(case.labels, np.zeros((20, 18, 15), dtype=np.uint8))
    with pytest.raises(UserError, match="does not lie on the grid of its image"):
        prepared(tmp_path, case)
    assert not (tmp_path / "cache").exists()


def test_a_label_value_without_a_name_is_refused(tmp_path):
    case = a_case(tmp_path, values={1: "liver", 2: "spleen"}, annotated=("liver",))
    with pytest.raises(UserError, match="holds the value 7, which its case list gives no name"):
        prepared(tmp_path, case)


def test_an_image_that_is_none_is_refused(tmp_path):
    case = a_case(tmp_path)
    case.image.write_bytes(b"no image at all")
    with pytest.raises(UserError):
        prepared(tmp_path, case)
    assert not (tmp_path / "cache").exists()


def test_the_index_is_plain_json(tmp_path):
    prepared(tmp_path, a_case(tmp_path))
    index = json.loads(next((tmp_path / "cache").glob("*.json")).read_text(encoding="utf-8"))
    assert index["rows"].keys() == {"spleen", "liver", "left kidney"}


def test_ten_thousand_cases_hold_no_file_open(tmp_path):
    found = prepared(tmp_path, a_case(tmp_path))
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux lists what a process has mapped")
    image, labels = found.image, found.labels
    assert found.stem.name in maps.read_text()
    del image, labels
    assert found.centers("liver").sum() > 0
    assert found.stem.name not in maps.read_text()


def several(tmp_path: Path, count: int) -> list[Case]:
    cases = []
    for number in range(count):
        (tmp_path / str(number)).mkdir()
        cases.append(a_case(tmp_path / str(number), shape=(20 + number, 18, 16)))
    return cases


def test_other_processes_may_help_to_prepare(tmp_path):
    cases = several(tmp_path, 8)
    seen = []
    alone = CaseCache(tmp_path / "alone", NAMES).prepare(cases, [a_protocol()] * 8)
    helped = CaseCache(tmp_path / "helped", NAMES).prepare(
        cases, [a_protocol()] * 8, lambda done, total, message: not seen.append((done, total)), processes=2
    )
    assert seen == [(n, 8) for n in range(8)]
    for one, other in zip(alone, helped, strict=True):
        assert one.stem.name == other.stem.name and one.rows == other.rows and one.darkest == other.darkest
        np.testing.assert_array_equal(one.image, other.image)
        np.testing.assert_array_equal(one.labels, other.labels)


def test_a_bad_case_is_told_in_the_same_sentence_by_a_helper(tmp_path):
    cases = several(tmp_path, 8)
    cases[3].image.write_bytes(b"no image at all")
    said = []
    for name, processes in (("alone", 0), ("helped", 2)):
        with pytest.raises(UserError) as told:
            CaseCache(tmp_path / name, NAMES).prepare(cases, [a_protocol()] * 8, processes=processes)
        said.append(str(told.value))
    assert said[0] == said[1]


def test_a_case_that_two_sources_list_is_prepared_once(tmp_path):
    case = a_case(tmp_path)
    one, other = CaseCache(tmp_path / "cache", NAMES).prepare([case, case], [a_protocol()] * 2)
    assert one == other and len(files(tmp_path)) == 4


@pytest.mark.parametrize("room", [20, 5000, 8000])
def test_a_full_disk_is_a_sentence_and_leaves_no_part_of_a_file(tmp_path, room):
    case = a_case(tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))  # like a full disk: what is written after that fails
    try:
        with pytest.raises(UserError, match=r"prepared case cannot be written to .*cache \(.*\): free some space"):
            prepared(tmp_path, case)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not [p.name for p in (tmp_path / "cache").iterdir() if "part" in p.name]
    assert prepared(tmp_path, case).rows


def test_too_little_memory_for_a_case_is_a_sentence(tmp_path, monkeypatch):
    def fails(*_):
        raise MemoryError

    monkeypatch.setattr(ModelGrid, "to_model", fails)
    with pytest.raises(UserError, match=r"too little memory to prepare .*: close other programs"):
        prepared(tmp_path, a_case(tmp_path))


def test_parts_that_a_killed_process_left_are_removed_and_those_of_one_at_work_are_not(tmp_path):
    (tmp_path / "cache").mkdir()
    left, fresh = (tmp_path / "cache" / f"{name}-image.part01234567.npy" for name in ("left", "fresh"))
    for path in (left, fresh):
        path.write_bytes(b"half")
    long_ago = left.stat().st_mtime - 2 * LEFT_SECONDS
    os.utime(left, (long_ago, long_ago))
    prepared(tmp_path, a_case(tmp_path))
    assert not left.exists() and fresh.exists()


@pytest.mark.parametrize(("fit", "helping"), [(0.5, 0), (1.5, 0), (2.5, 2), (100, 3)])
@pytest.mark.parametrize("spacing", [2.0, 1.0])
def test_no_more_processes_help_than_find_memory_for_the_largest_case(tmp_path, monkeypatch, fit, helping, spacing):
    cases = several(tmp_path, 16)
    cases[7].image.write_bytes(b"no image at all")  # told when its turn comes
    largest = BYTES_A_PROCESS + BYTES_A_VOXEL * 35 * 18 * 16 * (2.0 / spacing) ** 3
    asked = []
    monkeypatch.setattr(
        "CFSegmenterLib.prepared.DataLoader",
        lambda *_, num_workers, **__: asked.append(num_workers) or iter([None] * 16),
    )
    monkeypatch.setattr("CFSegmenterLib.prepared.PreparedCase.read", lambda stem: stem)
    cache, protocols = CaseCache(tmp_path / "cache", NAMES), [a_protocol(spacing=(spacing,) * 3)] * 16
    cache.prepare(cases, protocols, processes=3, memory=fit * largest)
    assert asked == [helping]


@pytest.mark.parametrize("which", ["image", "labels"])
def test_a_file_that_cannot_be_used_is_named(tmp_path, which):
    case = a_case(tmp_path)
    path = getattr(case, which)
    flat = sitk.GetImageFromArray(np.zeros((4, 4), np.uint8))
    path.unlink()
    sitk.WriteImage(flat, str(path))
    with pytest.raises(UserError) as told:
        load_case(case)
    assert str(told.value).count(str(path)) == 1
