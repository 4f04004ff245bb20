from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK
import slicerio
from slicerio.segmentation import terminology_entry_to_string

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.files import (
    SegmentLayer,
    affine_from_lps,
    image_stem,
    lps_from_affine,
    read_labels,
    read_volume,
    write_atomically,
    write_json,
    write_labels_nifti,
    write_map_nifti,
    write_seg_nrrd,
    write_text,
)

SHAPE = (7, 9, 5)
LIVER = (
    "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^"
)


def an_affine(axes: np.ndarray, spacing: Sequence[float] = (0.7, 1.3, 4.9)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(spacing)
    affine[:3, 3] = (-123.456789, 77.7777, -999.123)
    return affine


def some_rotation() -> np.ndarray:
    axes, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    return axes * np.sign(np.linalg.det(axes))


AFFINES = {
    "RAS": an_affine(np.eye(3)),
    "LPS": an_affine(np.diag([-1, -1, 1])),
    "left-handed": an_affine(np.diag([-1, 1, 1])),
    "sagittal": an_affine(np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])),
    "oblique": an_affine(some_rotation()),
    "oblique left-handed": an_affine(some_rotation() * [1, 1, -1]),
}
every_affine = pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())


@pytest.fixture
def voxels() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, size=SHAPE).astype(np.int16)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, size=SHAPE).astype(np.uint8)


def an_itk_image(voxels: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    """Built without the library's own conversion: ITK's axes are R and A turned round."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.T))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((affine[:3, 3] * [-1, -1, 1]).tolist())
    image.SetDirection((affine[:3, :3] / spacing * [[-1], [-1], [1]]).ravel().tolist())
    return image


def points_of_itk(image: SimpleITK.Image, indices: np.ndarray) -> np.ndarray:
    """Where ITK itself says that voxels lie, in RAS."""
    lps = [image.TransformIndexToPhysicalPoint([int(n) for n in index]) for index in indices]
    return np.asarray(lps) * [-1, -1, 1]


def assert_voxels_lie_where_itk_puts_them(affine: np.ndarray, image: SimpleITK.Image, atol: float = 1e-6) -> None:
    indices = np.array([(0, 0, 0), (6, 0, 0), (0, 8, 0), (0, 0, 4), (6, 8, 4), (2, 3, 1)])
    here = np.c_[indices, np.ones(len(indices))] @ affine.T
    np.testing.assert_allclose(here[:, :3], points_of_itk(image, indices), rtol=0, atol=atol)


def write_series(
    folder: Path,
    voxels: np.ndarray,
    affine: np.ndarray,
    modality: str = "CT",
    uid: str = "1.2.826.0.1.3680043.2.1125.1",
    places: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    more_tags: dict[int, dict[str, str]] | None = None,
    step: np.ndarray | None = None,
) -> None:
    """A DICOM series as SimpleITK writes it; `places` are slice positions in slices, `step` a vector in "
    "LPS."""
    folder.mkdir(exist_ok=True)
    lps = affine[:3] * [[-1], [-1], [1]]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    axes = lps[:, :3] / spacing
    step = lps[:, 2] if step is None else step
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(voxels.shape[2]):
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels[:, :, k : k + 1].T))
        if more_tags and k in more_tags and "0028|1053" in more_tags[k]:
            image = SimpleITK.Cast(image, SimpleITK.sitkFloat64)  # ITK scales only what is floating point
        image.SetSpacing(spacing.tolist())
        position = lps[:, 3] + step * (k if places is None else places[k])
        tags = {
            "0008|0060": modality,
            "0008|0018": f"{uid}.{k + 1}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125",
            "0020|000e": uid,
            "0020|0013": str(k + 1),
            "0020|0032": "\\".join(f"{x:.10g}" for x in position),
            "0020|0037": "\\".join(f"{x:.10f}" for x in axes[:, :2].T.ravel()),
        } | (more_tags or {}).get(k, {})
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / (names[k] if names else f"{k:04d}.dcm")))
        writer.Execute(image)


# --- geometry and names -----------------------------------------------------------------------------------


@every_affine
def test_itk_and_this_library_agree_where_a_voxel_lies(affine, voxels):
    image = an_itk_image(voxels, affine)
    back = affine_from_lps(image.GetOrigin(), image.GetSpacing(), image.GetDirection())
    assert_voxels_lie_where_itk_puts_them(back, image)
    np.testing.assert_allclose(back, affine, rtol=1e-12, atol=1e-12)


@every_affine
def test_an_affine_comes_back_from_lps(affine):
    origin, spacing, direction = lps_from_affine(affine)
    assert min(spacing) > 0
    np.testing.assert_allclose(affine_from_lps(origin, spacing, direction), affine, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("ct.nii.gz", "ct"),
        ("ct.nii", "ct"),
        ("a.b/ct.v1.2.nii.gz", "ct.v1.2"),
        ("CT.NII.GZ", "CT"),
        ("mr.nrrd", "mr"),
        ("mr.nhdr", "mr"),
        ("mr.mha", "mr"),
        ("mr.mhd", "mr"),
        ("liver.seg.nrrd", "liver.seg"),
        ("no-ending", "no-ending"),
        ("archive.tar.gz", "archive.tar.gz"),
        (".nii.gz", "image"),
    ],
)
def test_the_stem_of_an_image_loses_only_its_ending(path, stem):
    assert image_stem(path) == stem
    assert image_stem(Path(path)) == stem


def test_the_stem_of_a_folder_is_its_whole_name(tmp_path, monkeypatch):
    folder = tmp_path / "series.1.nii"
    folder.mkdir()
    assert image_stem(folder) == image_stem(f"{folder}/") == "series.1.nii"
    monkeypatch.chdir(folder)
    assert image_stem(".") == "series.1.nii"


# --- reading images ---------------------------------------------------------------------------------------


@every_affine
@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "nhdr", "mha", "mhd"])
def test_an_image_that_itk_wrote_is_read_voxel_by_voxel_at_its_place(tmp_path, voxels, affine, ending):
    path = tmp_path / f"scan.v2.{ending}"
    SimpleITK.WriteImage(an_itk_image(voxels, affine), str(path))
    volume = read_volume(path, "MR")
    assert volume.array.dtype == np.int16 and volume.modality == "mr"
    np.testing.assert_array_equal(volume.array, voxels)
    # NIfTI keeps its matrix in float32: 1e-4 mm at a meter from the origin.
    precision = 2e-4 if "nii" in ending else 1e-6
    assert_voxels_lie_where_itk_puts_them(volume.affine, SimpleITK.ReadImage(str(path)), precision)
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-6, atol=1e-6)


@every_affine
def test_nibabel_and_this_library_read_the_same_nifti(tmp_path, voxels, affine):
    nibabel.save(nibabel.Nifti1Image(voxels, affine), tmp_path / "a.nii.gz")
    volume = read_volume(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(volume.affine, nibabel.load(tmp_path / "a.nii.gz").affine)
    np.testing.assert_array_equal(volume.array, voxels)


def test_a_nifti_with_only_a_qform_is_read(tmp_path, voxels):
    image = nibabel.Nifti1Image(voxels, None)
    image.header.set_qform(AFFINES["oblique left-handed"], code="scanner")
    nibabel.save(nibabel.Nifti1Image(voxels, None, image.header), tmp_path / "q.nii")
    affine = read_volume(tmp_path / "q.nii").affine
    np.testing.assert_allclose(affine, AFFINES["oblique left-handed"], rtol=1e-5, atol=1e-5)
    assert_voxels_lie_where_itk_puts_them(affine, SimpleITK.ReadImage(str(tmp_path / "q.nii")), 1e-3)


def test_an_sform_of_zeros_gives_way_to_the_qform(tmp_path, voxels):
    image = nibabel.Nifti1Image(voxels, None)
    image.header.set_qform(AFFINES["oblique"], code="scanner")
    image.header.set_sform(np.diag([0, 0, 0, 1]), code="scanner")
    nibabel.save(nibabel.Nifti1Image(voxels, None, image.header), tmp_path / "q.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "q.nii").affine, AFFINES["oblique"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("unit", "size"), [("meter", 0.001), ("micron", 1000.0), ("mm", 1.0), ("unknown", 1.0)])
def test_a_nifti_in_another_unit_is_read_in_millimeters(tmp_path, voxels, unit, size):
    affine = AFFINES["oblique"].copy()
    affine[:3] *= size
    image = nibabel.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units(unit)
    nibabel.save(image, tmp_path / "u.nii")
    np.testing.assert_allclose(read_volume(tmp_path / "u.nii").affine, AFFINES["oblique"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("slope", "inter"), [(0.5, -1024), (1, -1024), (2, 0)])
def test_a_scaled_nifti_becomes_float32_with_its_real_values(tmp_path, voxels, slope, inter):
    image = nibabel.Nifti1Image(voxels, np.eye(4))
    image.header.set_slope_inter(slope, inter)
    nibabel.save(image, tmp_path / "s.nii.gz")
    array = read_volume(tmp_path / "s.nii.gz").array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, voxels.astype(np.float64) * slope + inter)


def test_a_big_endian_nifti_is_read_in_the_order_of_this_machine(tmp_path, voxels):
    header = nibabel.Nifti1Header(endianness=">")
    header.set_data_dtype(np.int16)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4), header), tmp_path / "b.nii")
    assert (tmp_path / "b.nii").read_bytes()[:4] == b"\x00\x00\x01\x5c"
    array = read_volume(tmp_path / "b.nii").array
    assert array.dtype == np.dtype("=i2") and array.dtype.isnative
    np.testing.assert_array_equal(array, voxels)


@pytest.mark.parametrize("ending", ["nii", "nrrd", "mha"])
def test_endings_in_capitals_are_read(tmp_path, voxels, ending):
    SimpleITK.WriteImage(an_itk_image(voxels, np.eye(4)), str(tmp_path / f"a.{ending}"))
    (tmp_path / f"a.{ending}").rename(tmp_path / f"B.{ending.upper()}")
    np.testing.assert_array_equal(read_volume(tmp_path / f"B.{ending.upper()}").array, voxels)


@pytest.mark.parametrize("ending", ["nii.gz", "nrrd", "mha"])
def test_a_fourth_axis_of_one_frame_is_dropped(tmp_path, voxels, ending):
    image = SimpleITK.JoinSeries([an_itk_image(voxels, AFFINES["oblique"])])
    assert image.GetDimension() == 4
    SimpleITK.WriteImage(image, str(tmp_path / f"a.{ending}"))
    volume = read_volume(tmp_path / f"a.{ending}")
    np.testing.assert_array_equal(volume.array, voxels)
    np.testing.assert_allclose(volume.affine, AFFINES["oblique"], rtol=1e-5, atol=1e-5)


def test_a_nrrd_in_ras_lies_where_it_says(tmp_path, voxels):
    affine = AFFINES["oblique left-handed"]
    header = {
        "space": "right-anterior-superior",
        "space directions": affine[:3, :3].T,
        "space origin": affine[:3, 3],
    }
    nrrd.write(str(tmp_path / "a.nrrd"), voxels, header)
    volume = read_volume(tmp_path / "a.nrrd")
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(volume.array, voxels)


def test_reading_leaves_the_file_alone_and_frees_it(tmp_path, voxels):
    path = tmp_path / "a.nii"
    write_map_nifti(path, voxels, np.eye(4), "")
    before = path.read_bytes()
    volume = read_volume(path)
    with path.open("rb+") as file:  # a memory-mapped array would change with it, or end the process
        file.write(bytes(len(before)))
    assert volume.array.sum() == voxels.sum()
    volume.array[0, 0, 0] += 1
    assert path.read_bytes() == bytes(len(before))


# --- reading DICOM ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("order", ["ascending", "descending", "shuffled"])
@pytest.mark.parametrize("name", ["LPS", "oblique", "sagittal"])
def test_a_dicom_series_is_read_at_its_place_whatever_its_file_names(tmp_path, voxels, name, order, modality):
    affine = AFFINES[name]
    voxels = voxels if modality == "CT" else np.abs(voxels).astype(np.uint16)
    names = {"ascending": "01234", "descending": "43210", "shuffled": "20413"}[order]
    write_series(tmp_path / "s", voxels, affine, modality, names=[f"{n}.dcm" for n in names])
    volume = read_volume(tmp_path / "s")
    assert volume.modality == modality.lower()
    assert volume.array.dtype.kind in "iu"
    np.testing.assert_array_equal(volume.array, voxels)
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-7, atol=1e-6)

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / "s")))
    image = reader.Execute()
    assert_voxels_lie_where_itk_puts_them(volume.affine, image, 1e-4)
    np.testing.assert_array_equal(volume.array, SimpleITK.GetArrayFromImage(image).T)


def test_slices_that_were_taken_downwards_are_put_in_the_order_of_their_normal(tmp_path, voxels):
    """A left-handed stack has no DICOM name: it is turned round, and every voxel stays where it was."""
    affine = AFFINES["oblique left-handed"]
    write_series(tmp_path / "s", voxels, affine)
    volume = read_volume(tmp_path / "s")
    np.testing.assert_array_equal(volume.array, voxels[:, :, ::-1])
    np.testing.assert_allclose(volume.affine @ [2, 3, 0, 1], affine @ [2, 3, 4, 1], atol=1e-6)
    np.testing.assert_allclose(volume.affine @ [2, 3, 4, 1], affine @ [2, 3, 0, 1], atol=1e-6)


def test_the_caller_knows_the_modality_better_than_the_file(tmp_path, voxels):
    write_series(tmp_path / "s", np.abs(voxels), AFFINES["LPS"], "MR")
    assert read_volume(tmp_path / "s", "mr-t2").modality == "mr-t2"


def test_other_files_beside_a_series_are_ignored(tmp_path, voxels):
    write_series(tmp_path / "s", voxels, AFFINES["LPS"])
    (tmp_path / "s" / "README.txt").write_text("nothing to see")
    (tmp_path / "s" / ".DS_Store").write_bytes(bytes(300))
    (tmp_path / "s" / "empty.dcm").touch()
    (tmp_path / "s" / "inner").mkdir()
    np.testing.assert_array_equal(read_volume(tmp_path / "s").array, voxels)


def test_slices_that_are_scaled_differently_keep_their_values(tmp_path, voxels):
    scaling = {
        "0028|1052": "0",
        "0028|1053": "0.5",
        "0028|0100": "16",
        "0028|0101": "16",
        "0028|0102": "15",
        "0028|0103": "1",
    }
    values = voxels.astype(np.float32)
    values[:, :, 2] = voxels[:, :, 2] + 0.5
    write_series(tmp_path / "s", voxels, AFFINES["LPS"])
    write_series(tmp_path / "t", values, AFFINES["LPS"], more_tags={k: scaling for k in range(5)})
    shutil.copy(tmp_path / "t" / "0002.dcm", tmp_path / "s" / "0002.dcm")
    array = read_volume(tmp_path / "s").array
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, values)


def test_positions_that_a_scanner_rounded_are_even_enough(tmp_path, voxels):
    write_series(tmp_path / "s", voxels, AFFINES["LPS"], places=[0, 1.02, 1.99, 3.01, 4])
    np.testing.assert_allclose(read_volume(tmp_path / "s").spacing, [0.7, 1.3, 4.9], rtol=1e-6)


def test_slices_whose_directions_a_scanner_rounded_are_one_stack(tmp_path, voxels):
    rounded = {"0020|0037": "1\\0\\0\\0\\0.9999999\\0.0004"}
    names = [f"{n}.dcm" for n in "20413"]
    write_series(tmp_path / "s", voxels, AFFINES["LPS"], names=names, more_tags={1: rounded})
    np.testing.assert_array_equal(read_volume(tmp_path / "s").array, voxels)


def test_several_series_in_a_folder_are_counted_and_named(tmp_path, voxels):
    write_series(tmp_path / "s", voxels, AFFINES["LPS"], more_tags={0: {"0008|103e": "Abdomen portal"}})
    names = [f"mr{k}.dcm" for k in range(5)]
    write_series(tmp_path / "s", np.abs(voxels), AFFINES["LPS"], "MR", uid="1.2.3.4", names=names)
    with pytest.raises(UserError, match=r"holds 2 DICOM series \(.*CT.*5 files.*their own") as refused:
        read_volume(tmp_path / "s")
    assert "MR, 5 files" in str(refused.value)


@pytest.mark.parametrize(
    ("gone", "sentence"), [([2], "1 slice is missing"), ([2, 3], "2 slices are missing"), ([1, 3], "unevenly|missing")]
)
def test_missing_slices_are_noticed(tmp_path, gone, sentence):
    voxels = np.random.default_rng(0).integers(0, 99, size=(6, 6, 12)).astype(np.int16)
    write_series(tmp_path / "s", voxels, AFFINES["oblique"])
    for k in gone:
        (tmp_path / "s" / f"{k:04d}.dcm").unlink()
    with pytest.raises(UserError, match=sentence):
        read_volume(tmp_path / "s")


def test_one_missing_slice_among_many_is_noticed_wherever_it_was(tmp_path):
    voxels = np.random.default_rng(0).integers(0, 99, size=(3, 3, 60)).astype(np.int16)
    write_series(tmp_path / "s", voxels, an_affine(np.diag([-1, -1, 1]), (1, 1, 1.25)))
    for k in (1, 30, 58):
        moved = (tmp_path / "s" / f"{k:04d}.dcm").rename(tmp_path / "kept.dcm")
        with pytest.raises(UserError, match="1 slice is missing"):
            read_volume(tmp_path / "s")
        moved.rename(tmp_path / "s" / f"{k:04d}.dcm")
    assert read_volume(tmp_path / "s").shape == (3, 3, 60)


def test_uneven_slices_are_refused_with_their_distances(tmp_path, voxels):
    write_series(tmp_path / "s", voxels, an_affine(np.diag([-1, -1, 1]), (1, 1, 2)), places=[0, 1, 2.4, 3, 4])
    with pytest.raises(UserError, match=r"unevenly spaced \(1.2 to 2.8 mm"):
        read_volume(tmp_path / "s")


def test_several_images_at_one_place_are_refused(tmp_path, voxels):
    write_series(tmp_path / "s", voxels, AFFINES["LPS"], places=[0, 1, 2, 0, 1])
    with pytest.raises(UserError, match="5 images at 3 slice positions"):
        read_volume(tmp_path / "s")


def test_a_scout_view_within_the_series_is_refused(tmp_path, voxels):
    write_series(tmp_path / "s", voxels, AFFINES["LPS"])
    write_series(tmp_path / "s", voxels[:, :, :1], AFFINES["sagittal"], names=["scout.dcm"])
    with pytest.raises(UserError, match="differ in size, pixel spacing or direction"):
        read_volume(tmp_path / "s")


def test_a_tilted_gantry_is_not_read_as_if_it_were_upright(tmp_path, voxels):
    step = np.array([0, 5 * np.sin(np.radians(10)), 5 * np.cos(np.radians(10))])
    write_series(tmp_path / "s", voxels, AFFINES["LPS"], step=step)
    with pytest.raises(UserError, match="off by 10 degrees"):
        read_volume(tmp_path / "s")


@pytest.mark.parametrize("k", [0, 2, 4])
def test_a_slice_that_was_cut_short_is_noticed_even_at_the_end(tmp_path, voxels, k):
    write_series(tmp_path / "s", voxels, AFFINES["LPS"])
    whole = (tmp_path / "s" / f"{k:04d}.dcm").read_bytes()
    (tmp_path / "s" / f"{k:04d}.dcm").write_bytes(whole[:-40])
    with pytest.raises(UserError, match="1 DICOM file in 's' cannot be read"):
        read_volume(tmp_path / "s")


def test_a_single_dicom_slice_is_two_dimensional(tmp_path, voxels):
    write_series(tmp_path / "s", voxels[:, :, :1], AFFINES["LPS"])
    with pytest.raises(UserError, match="two-dimensional"):
        read_volume(tmp_path / "s")


def test_colored_dicom_is_refused(tmp_path):
    writer = SimpleITK.ImageFileWriter()
    for k in range(3):
        image = SimpleITK.GetImageFromArray(np.full((1, 4, 5, 3), k, np.uint8), isVector=True)
        image.SetMetaData("0020|000e", "1.2.3")
        image.SetMetaData("0020|0032", f"0\\0\\{k}")
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(tmp_path / f"{k}.dcm"))
        writer.Execute(image)
    with pytest.raises(UserError, match="3 values per voxel"):
        read_volume(tmp_path)


# --- images that cannot be read ---------------------------------------------------------------------------


def nifti_bytes(voxels: np.ndarray, affine: np.ndarray | None = None, gz: bool = False) -> bytes:
    raw = nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine).to_bytes()
    return gzip.compress(raw) if gz else raw


def itk_bytes(tmp_path: Path, ending: str, image: SimpleITK.Image | None = None, gz: bool = False) -> bytes:
    image = image or an_itk_image(noise(), np.eye(4))
    SimpleITK.WriteImage(image, str(tmp_path / f"whole.{ending}"), gz)
    return (tmp_path / f"whole.{ending}").read_bytes()


def noise(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(-99, 99, size=shape).astype(np.int16)


def with_nan() -> np.ndarray:
    voxels = noise().astype(np.float32)
    voxels[0, 0, :3] = np.nan
    voxels[1, 1, 1] = np.inf
    return voxels


def rgb() -> np.ndarray:
    return np.zeros(SHAPE, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])


def flipped_byte(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes([data[middle] ^ 0xFF]) + data[middle + 1 :]


def sheared() -> np.ndarray:
    affine = np.eye(4)
    affine[0, 1] = 0.3
    return affine


def sheared_nrrd() -> bytes:
    file = io.BytesIO()
    directions = sheared()[:3, :3].T
    header = {"space": "left-posterior-superior", "space directions": directions, "space origin": np.zeros(3)}
    nrrd.write(file, noise(), header)
    return file.getvalue()


def singular_nifti() -> bytes:
    image = nibabel.Nifti1Image(noise(), None)
    image.header.set_sform(np.diag([1, 1, 0, 1]), code="scanner")
    return nibabel.Nifti1Image(noise(), None, image.header).to_bytes()


def four_frames() -> SimpleITK.Image:
    return SimpleITK.JoinSeries([an_itk_image(noise(), np.eye(4))] * 4)


def colors() -> SimpleITK.Image:
    return SimpleITK.GetImageFromArray(np.zeros((4, 5, 6, 3), np.uint8), isVector=True)


def flat() -> SimpleITK.Image:
    return SimpleITK.GetImageFromArray(np.arange(30, dtype=np.int16).reshape(5, 6))


DAMAGED = "damaged, incomplete or not what its ending says"
BAD_FILES = {
    "half a gz": ("a.nii.gz", lambda t: (d := nifti_bytes(noise(), gz=True))[: len(d) // 2], DAMAGED),
    "half a nii": ("a.nii", lambda t: nifti_bytes(noise())[:500], DAMAGED),
    "half a header": ("a.nii", lambda t: nifti_bytes(noise())[:100], DAMAGED),
    "a flipped byte": ("a.nii.gz", lambda t: flipped_byte(nifti_bytes(noise(), gz=True)), DAMAGED),
    "text as gz": ("a.nii.gz", lambda t: b"hello", DAMAGED),
    "text as nii": ("a.nii", lambda t: b"hello" * 200, DAMAGED),
    "text as nrrd": ("a.nrrd", lambda t: b"hello" * 200, DAMAGED),
    "text as mha": ("a.mha", lambda t: b"hello" * 200, DAMAGED),
    "nii as gz": ("a.nii.gz", lambda t: nifti_bytes(noise()), DAMAGED),
    "half a nrrd": ("a.nrrd", lambda t: (d := itk_bytes(t, "nrrd"))[: len(d) // 2], DAMAGED),
    "half a gz nrrd": ("a.nrrd", lambda t: (d := itk_bytes(t, "nrrd", None, True))[: len(d) - 99], DAMAGED),
    "half a mha": ("a.mha", lambda t: (d := itk_bytes(t, "mha"))[: len(d) // 2], DAMAGED),
    "half a gz mha": ("a.mha", lambda t: (d := itk_bytes(t, "mha", None, True))[: len(d) - 99], DAMAGED),
    "a header alone": ("b.mhd", lambda t: itk_bytes(t, "mhd").replace(b"whole", b"x"), "data file beside it"),
    "nhdr alone": ("b.nhdr", lambda t: itk_bytes(t, "nhdr").replace(b"whole", b"x"), "data file beside it"),
    "no bytes": ("a.nii.gz", lambda t: b"", r"is empty \(0 bytes\)"),
    "a picture": ("a.png", lambda t: b"png", r"does not end like an image.*\.nii\.gz"),
    "no ending": ("a", lambda t: b"x", "does not end like an image"),
    "one DICOM file": ("a.dcm", lambda t: b"x", "give the folder that holds the series"),
    "4D nii": ("a.nii.gz", lambda t: nifti_bytes(noise((4, 5, 6, 7)), gz=True), "4 dimensions.*one frame"),
    "4D nrrd": ("a.nrrd", lambda t: itk_bytes(t, "nrrd", four_frames()), "4 dimensions.*one frame"),
    "4D mha": ("a.mha", lambda t: itk_bytes(t, "mha", four_frames()), "4 dimensions.*one frame"),
    "5D nii": ("a.nii", lambda t: nifti_bytes(noise((4, 5, 6, 1, 3))), "5 dimensions"),
    "2D nii": ("a.nii", lambda t: nifti_bytes(noise((4, 5))), "two-dimensional"),
    "2D nrrd": ("a.nrrd", lambda t: itk_bytes(t, "nrrd", flat()), "two-dimensional"),
    "one slice": ("a.nii", lambda t: nifti_bytes(noise((4, 5, 1))), "two-dimensional"),
    "one voxel": ("a.nii", lambda t: nifti_bytes(noise((1, 1, 1))), "single voxel"),
    "colors nii": ("a.nii", lambda t: nifti_bytes(rgb()), "3 values per voxel.*one component"),
    "colors nrrd": ("a.nrrd", lambda t: itk_bytes(t, "nrrd", colors()), "3 values per voxel"),
    "colors mha": ("a.mha", lambda t: itk_bytes(t, "mha", colors()), "3 values per voxel"),
    "complex": ("a.nii", lambda t: nifti_bytes(noise().astype(np.complex64)), "complex"),
    "NaN": ("a.nii", lambda t: nifti_bytes(with_nan()), "3 NaN and 1 infinite of 315 voxels"),
    "constant": ("a.nii", lambda t: nifti_bytes(np.full(SHAPE, 7, np.int16)), r"same value \(7\)"),
    "sheared nii": ("a.nii", lambda t: nifti_bytes(noise(), sheared()), "not at right angles"),
    "sheared nrrd": ("a.nrrd", lambda t: sheared_nrrd(), "not at right angles"),
    "singular": ("a.nii", lambda t: singular_nifti(), "singular"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_refused_in_a_sentence(tmp_path, name):
    file, content, sentence = BAD_FILES[name]
    data = content(tmp_path)
    (tmp_path / file).write_bytes(data)
    with pytest.raises(UserError, match=sentence) as refused:
        read_volume(tmp_path / file)
    assert "\n" not in str(refused.value)
    assert str(refused.value).count(". ") == 0, "one sentence"


def test_what_is_not_there_is_named(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"x")
    for missing in (tmp_path / "b.nii.gz", tmp_path / "a.nii" / "c.nii", tmp_path / "folder"):
        with pytest.raises(UserError, match="There is no file or folder '.*" + missing.name):
            read_volume(missing)


def test_folders_without_a_series_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="folder 'empty' is empty"):
        read_volume(tmp_path / "empty")
    (tmp_path / "nothing" / "inner").mkdir(parents=True)
    (tmp_path / "nothing" / "notes.txt").write_text("x")
    with pytest.raises(UserError, match="'nothing' holds no DICOM images"):
        read_volume(tmp_path / "nothing")


def test_a_defect_of_the_program_is_not_blamed_on_the_file(tmp_path, monkeypatch):
    write_map_nifti(tmp_path / "a.nii", noise(), np.eye(4), "")
    monkeypatch.setattr("CFSegmenterLib.files.check_shape", None)
    with pytest.raises(TypeError):
        read_volume(tmp_path / "a.nii")


@pytest.mark.parametrize("talkative", [True, False])
def test_itk_is_left_as_talkative_as_it_was(tmp_path, talkative):
    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(talkative)
    (tmp_path / "a.mha").write_bytes(b"x")
    with pytest.raises(UserError):
        read_volume(tmp_path / "a.mha")
    assert SimpleITK.ProcessObject.GetGlobalWarningDisplay() == talkative
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)


# --- reading labels ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "uint16", "int32", "int64", "float32", "float64"])
def test_labels_of_any_type_come_as_the_smallest_unsigned_one(tmp_path, labels, dtype):
    nibabel.save(nibabel.Nifti1Image(labels.astype(dtype), AFFINES["oblique"], dtype=dtype), tmp_path / "l.nii.gz")
    volume = read_labels(tmp_path / "l.nii.gz")
    assert volume.array.dtype == np.uint8
    np.testing.assert_array_equal(volume.array, labels)
    np.testing.assert_allclose(volume.affine, AFFINES["oblique"], rtol=1e-6)


def test_labels_above_255_need_two_bytes(tmp_path, labels):
    SimpleITK.WriteImage(an_itk_image(labels.astype(np.int32) * 100, np.eye(4)), str(tmp_path / "l.nrrd"))
    volume = read_labels(tmp_path / "l.nrrd")
    assert volume.array.dtype == np.uint16
    np.testing.assert_array_equal(volume.array, labels.astype(int) * 100)


def test_an_empty_label_map_is_a_label_map(tmp_path):
    write_labels_nifti(tmp_path / "l.nii.gz", np.zeros(SHAPE, np.uint8), np.eye(4))
    assert read_labels(tmp_path / "l.nii.gz").array.max() == 0


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        (noise() / 2, "not whole numbers"),
        (noise(), "negative values"),
        (np.abs(noise().astype(np.int32)) * 10_000, "labels go up to 65535"),
        (with_nan(), "3 NaN"),
    ],
)
def test_what_is_no_label_map_is_refused(tmp_path, values, sentence):
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "l.nii.gz")
    with pytest.raises(UserError, match=sentence):
        read_labels(tmp_path / "l.nii.gz")


# --- writing NIfTI ----------------------------------------------------------------------------------------


@every_affine
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("ending", ["nii", "nii.gz"])
def test_labels_come_back_exactly_from_nifti(tmp_path, labels, affine, dtype, ending):
    labels = labels.astype(dtype) * (1 if dtype == np.uint8 else 300)
    path = tmp_path / f"l.{ending}"
    write_labels_nifti(path, labels, affine)
    volume = read_labels(path)
    assert volume.array.dtype == dtype
    np.testing.assert_array_equal(volume.array, labels)
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-6, atol=1e-6)

    image = SimpleITK.ReadImage(str(path))
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image).T, labels)
    assert_voxels_lie_where_itk_puts_them(affine, image, 5e-4)
    header = nibabel.load(path).header
    assert header["sform_code"] == header["qform_code"] == 1
    assert header.get_xyzt_units()[0] == "mm"


def test_an_affine_read_from_nifti_is_written_back_to_the_last_bit(tmp_path, labels):
    write_labels_nifti(tmp_path / "a.nii", labels, AFFINES["oblique left-handed"])
    once = read_labels(tmp_path / "a.nii").affine
    write_labels_nifti(tmp_path / "b.nii", labels, once)
    np.testing.assert_array_equal(read_labels(tmp_path / "b.nii").affine, once)


@every_affine
def test_a_map_comes_back_exactly_from_nifti(tmp_path, affine):
    array = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    write_map_nifti(tmp_path / "m.nii.gz", array, affine, "cosine similarity: Leber " + "é" * 80)
    volume = read_volume(tmp_path / "m.nii.gz")
    assert volume.array.dtype == np.float32
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-6, atol=1e-6)
    description = nibabel.load(tmp_path / "m.nii.gz").header["descrip"].item().decode("utf-8")
    assert description.startswith("cosine similarity: Leber éé")


def test_the_same_map_gives_the_same_bytes(tmp_path, labels):
    for name in ("a", "b"):
        write_labels_nifti(tmp_path / f"{name}.nii.gz", labels, np.eye(4))
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize("array", [np.zeros((4, 5), np.uint8), np.zeros(SHAPE, np.int64), np.zeros(SHAPE, bool)])
def test_labels_of_another_kind_are_a_defect_of_the_caller(tmp_path, array):
    with pytest.raises(ValueError, match=r"dimensions|uint8"):
        write_labels_nifti(tmp_path / "l.nii", array, np.eye(4))
    assert list(tmp_path.iterdir()) == []


# --- writing .seg.nrrd ------------------------------------------------------------------------------------


@pytest.fixture
def overlapping(labels) -> list[SegmentLayer]:
    """Two segments that share a layer, a third that overlaps both; label 2 is nobody's."""
    other = np.random.default_rng(2).random(SHAPE) > 0.5
    return [
        SegmentLayer("liver", "liver", (221, 130, 101), LIVER, 1, labels),
        SegmentLayer("left_kidney", "left kidney (cyst | tumor): 50%", (0, 0, 255), "", 3, labels),
        SegmentLayer("trunk", "trunk", (255, 255, 255), "", 1, other),
    ]


def mask_of(segment: SegmentLayer) -> np.ndarray:
    return segment.layer == segment.label_value


@every_affine
def test_overlapping_segments_come_back_from_slicerio(tmp_path, overlapping, affine):
    write_seg_nrrd(tmp_path / "a.seg.nrrd", overlapping, affine)
    back = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))
    np.testing.assert_array_equal(np.diag([-1, -1, 1, 1]) @ back["ijkToLPS"], affine)
    assert back["voxels"].shape == (2, *SHAPE) and back["voxels"].dtype == np.uint8
    for segment, read in zip(overlapping, back["segments"], strict=True):
        assert read["id"] == segment.id
        assert read["name"] == segment.name
        np.testing.assert_allclose(np.asarray(read["color"]) * 255, segment.color, atol=1e-3)
        assert not read["nameAutoGenerated"] and not read["colorAutoGenerated"]
        assert read["extent"] == [0, 6, 0, 8, 0, 4]
        np.testing.assert_array_equal(slicerio.segment_mask(back, read), mask_of(segment))
    assert [s["layer"] for s in back["segments"]] == [0, 0, 1]
    assert terminology_entry_to_string(back["segments"][0]["terminology"]) == LIVER
    assert "terminology" not in back["segments"][1]
    assert back["masterRepresentation"] == "Binary labelmap"
    assert back["containedRepresentationNames"] == ["Binary labelmap"]
    assert back["referenceImageExtentOffset"] == [0, 0, 0]


@every_affine
def test_overlapping_segments_lie_where_itk_puts_them(tmp_path, overlapping, affine):
    write_seg_nrrd(tmp_path / "a.seg.nrrd", overlapping, affine)
    image = SimpleITK.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert image.GetNumberOfComponentsPerPixel() == 2
    layers = SimpleITK.GetArrayFromImage(image).transpose(2, 1, 0, 3)
    for segment, layer in zip(overlapping, (0, 0, 1), strict=True):
        np.testing.assert_array_equal(layers[..., layer] == segment.label_value, mask_of(segment))
    assert_voxels_lie_where_itk_puts_them(affine, image)


@every_affine
def test_segments_that_share_one_map_give_a_three_dimensional_file(tmp_path, overlapping, affine):
    write_seg_nrrd(tmp_path / "a.seg.nrrd", overlapping[:2], affine)
    _, header = nrrd.read(str(tmp_path / "a.seg.nrrd"))
    assert header["dimension"] == 3 and header["space"] == "left-posterior-superior"
    image = SimpleITK.ReadImage(str(tmp_path / "a.seg.nrrd"))
    assert_voxels_lie_where_itk_puts_them(affine, image)
    volume = read_labels(tmp_path / "a.seg.nrrd")
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-12, atol=1e-12)
    labels = overlapping[0].layer
    np.testing.assert_array_equal(volume.array, np.where(labels == 2, 0, labels), "label 2 has no name")


def test_the_header_has_the_fields_that_slicer_asks_for(tmp_path, overlapping):
    write_seg_nrrd(tmp_path / "a.seg.nrrd", overlapping, AFFINES["oblique"])
    header = (tmp_path / "a.seg.nrrd").read_bytes().split(b"\n\n")[0].decode("utf-8").splitlines()
    fields = dict(line.split(":=", 1) for line in header if ":=" in line)
    for number, segment in enumerate(overlapping):
        assert fields[f"Segment{number}_ID"] == segment.id
        assert fields[f"Segment{number}_Name"] == segment.name
        for field in ("Color", "ColorAutoGenerated", "NameAutoGenerated", "Extent", "LabelValue", "Layer"):
            assert f"Segment{number}_{field}" in fields
    assert f"TerminologyEntry:{LIVER}|" in fields["Segment0_Tags"]
    assert fields["Segmentation_ReferenceImageExtentOffset"] == "0 0 0"
    assert "kinds: list domain domain domain" in header
    geometry = fields["Segmentation_ConversionParameters"].split("|")[1].strip(";").split(";")
    np.testing.assert_array_equal(np.reshape([float(v) for v in geometry[:16]], (4, 4)), AFFINES["oblique"])
    assert [int(v) for v in geometry[16:]] == [0, 6, 0, 8, 0, 4]


def test_names_in_any_script_and_with_any_sign_stay_one_line(tmp_path, labels):
    names = ["Leber (Läsion)", "肝脏", "50% = 1/2", "two\nlines\tand a \\ slash", "%41"]
    segments = [SegmentLayer(f"s{k}", n, (1, 2, 3), "", k + 1, labels) for k, n in enumerate(names)]
    write_seg_nrrd(tmp_path / "a.seg.nrrd", segments, np.eye(4))
    image = SimpleITK.ReadImage(str(tmp_path / "a.seg.nrrd"))
    read = [image.GetMetaData(f"Segment{k}_Name") for k in range(5)]
    assert read == ["Leber (Läsion)", "肝脏", "50% = 1/2", "two lines and a slash", "%41"]
    np.testing.assert_array_equal(SimpleITK.GetArrayFromImage(image).T, labels)


def test_a_bar_in_a_terminology_cannot_break_the_tags(tmp_path, labels):
    segments = [SegmentLayer("a", "a", (1, 2, 3), LIVER.replace("Liver", "Li|ver"), 1, labels)]
    write_seg_nrrd(tmp_path / "a.seg.nrrd", segments, np.eye(4))
    back = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))["segments"][0]
    assert back["terminology"]["type"] == ["SCT", "10200004", "Li/ver"] and "tags" not in back


def test_300_segments_fit_into_one_layer_of_two_bytes(tmp_path):
    labels = np.arange(7 * 9 * 5).reshape(SHAPE)
    segments = [SegmentLayer(f"s{k}", f"s {k}", (1, 2, 3), "", k, labels) for k in range(1, 301)]
    write_seg_nrrd(tmp_path / "a.seg.nrrd", segments, np.eye(4))
    back = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))
    assert back["voxels"].dtype == np.uint16 and len(back["segments"]) == 300
    np.testing.assert_array_equal(back["voxels"], np.where(labels <= 300, labels, 0))


def test_a_segment_that_was_not_found_is_written_empty(tmp_path):
    nothing = np.zeros(SHAPE, np.uint8)
    write_seg_nrrd(tmp_path / "a.seg.nrrd", [SegmentLayer("a", "a", (1, 2, 3), "", 1, nothing)], np.eye(4))
    back = slicerio.read_segmentation(str(tmp_path / "a.seg.nrrd"))
    assert back["voxels"].shape == SHAPE and not back["voxels"].any() and len(back["segments"]) == 1


def test_writing_a_segmentation_leaves_the_arrays_alone(tmp_path, overlapping):
    before = [s.layer.copy() for s in overlapping]
    write_seg_nrrd(tmp_path / "a.seg.nrrd", overlapping, np.eye(4))
    for segment, copy in zip(overlapping, before, strict=True):
        np.testing.assert_array_equal(segment.layer, copy)


def a_segment(**changes: object) -> SegmentLayer:
    fields = {"id": "a", "name": "a", "color": (1, 2, 3), "terminology": "", "label_value": 1}
    return SegmentLayer(**{**fields, "layer": np.ones(SHAPE, np.uint8), **changes})


@pytest.mark.parametrize(
    "segments",
    [
        [],
        [a_segment(), a_segment()],
        [a_segment(), a_segment(id="b", layer=np.ones((2, 2, 2), np.uint8))],
        [a_segment(layer=np.ones((2, 2), np.uint8))],
        [a_segment(layer=np.ones(SHAPE, np.float32))],
        [a_segment(layer=-np.ones(SHAPE, np.int16))],
        [a_segment(label_value=0)],
        [a_segment(label_value=70_000)],
        [a_segment(color=(0, 0, 256))],
    ],
    ids=["none", "ids", "shapes", "2D", "float", "negative", "background", "label", "color"],
)
def test_segments_that_contradict_one_another_are_a_defect_of_the_caller(tmp_path, segments):
    with pytest.raises(ValueError):
        write_seg_nrrd(tmp_path / "a.seg.nrrd", segments, np.eye(4))
    assert list(tmp_path.iterdir()) == []


def test_two_segments_of_one_layer_need_two_labels(tmp_path):
    layer = np.ones(SHAPE, np.uint8)
    with pytest.raises(ValueError, match="same label value"):
        write_seg_nrrd(tmp_path / "a.seg.nrrd", [a_segment(layer=layer), a_segment(id="b", layer=layer)], np.eye(4))


@pytest.mark.scene
@every_affine
def test_slicer_itself_opens_the_segmentation_as_it_is(tmp_path, overlapping, affine):
    pytest.importorskip("vtk")
    slicer = pytest.importorskip("slicer")
    import vtk
    from vtk.util.numpy_support import vtk_to_numpy

    write_seg_nrrd(tmp_path / "a.seg.nrrd", overlapping, affine)
    scene = slicer.vtkMRMLScene()
    node = slicer.vtkMRMLSegmentationNode()
    storage = slicer.vtkMRMLSegmentationStorageNode()
    scene.AddNode(node)
    scene.AddNode(storage)
    storage.SetFileName(str(tmp_path / "a.seg.nrrd"))
    assert storage.ReadData(node) == 1
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 3 and segmentation.GetNumberOfLayers() == 2
    for number, segment in enumerate(overlapping):
        read = segmentation.GetNthSegment(number)
        assert segmentation.GetNthSegmentID(number) == segment.id
        assert read.GetName() == segment.name
        np.testing.assert_allclose(np.asarray(read.GetColor()) * 255, segment.color, atol=1e-3)
        image = read.GetRepresentation("Binary labelmap")
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        found = np.array([[matrix.GetElement(i, j) for j in range(4)] for i in range(4)])
        np.testing.assert_allclose(found, affine, rtol=1e-9, atol=1e-9)
        voxels = vtk_to_numpy(image.GetPointData().GetScalars()).reshape(SHAPE[::-1]).T
        np.testing.assert_array_equal(voxels == read.GetLabelValue(), mask_of(segment))
    entry = vtk.reference("")
    segmentation.GetNthSegment(0).GetTag("TerminologyEntry", entry)
    assert str(entry) == LIVER


# --- atomic writing ---------------------------------------------------------------------------------------


def test_json_keeps_its_order_its_letters_and_its_last_line_break(tmp_path):
    write_json(tmp_path / "a.json", {"z": 1, "a": "Läsion", "n": np.float32(0.5), "m": np.arange(2)})
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert text == '{\n  "z": 1,\n  "a": "Läsion",\n  "n": 0.5,\n  "m": [\n    0,\n    1\n  ]\n}\n'
    assert json.loads(text)["n"] == 0.5


@pytest.mark.parametrize("bad", [float("nan"), np.float32("inf"), object(), {1, 2}])
def test_json_that_nobody_could_read_is_not_written(tmp_path, bad):
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", {"value": bad})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text()) == {"old": 1}


@pytest.mark.parametrize("name", ["a.nii.gz", "b.seg.nrrd", "c.v1.json", "no-ending", "x" * 240 + ".nii.gz"])
def test_the_unfinished_file_stands_beside_the_final_one_with_its_ending(tmp_path, name):
    with write_atomically(tmp_path / name) as partial:
        assert partial.parent == tmp_path and partial.name != name and partial.name.startswith(".")
        assert partial.name.endswith(name[-10:])
        partial.write_text("done")
        written = partial.stat().st_ino
        assert not (tmp_path / name).exists()
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "done"
    assert (tmp_path / name).stat().st_ino == written, "renamed, not copied"


def test_two_writers_of_one_file_do_not_meet(tmp_path):
    with write_atomically(tmp_path / "a") as one, write_atomically(tmp_path / "a") as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert (tmp_path / "a").read_text() == "one", "the one that ends last"


@pytest.mark.parametrize("failure", [RuntimeError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path, failure):
    write_text(tmp_path / "a.txt", "old")
    with pytest.raises(failure), write_atomically(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        raise failure
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "old"


def test_what_else_the_caller_stumbles_over_is_not_called_a_failure_to_write(tmp_path):
    with pytest.raises(FileNotFoundError), write_atomically(tmp_path / "a.txt") as partial:
        partial.write_text("half")
        (tmp_path / "other").read_text()
    assert list(tmp_path.iterdir()) == []


WRITING = """
import sys, time
from CFSegmenterLib.files import write_atomically
try:
    with write_atomically(sys.argv[1]) as partial, partial.open("wb") as file:
        file.write(b"half")
        file.flush()
        print("ready", flush=True)
        time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_writer_that_is_killed_leaves_nothing_under_the_final_name(tmp_path, how):
    final = tmp_path / "a.nii.gz"
    command = [sys.executable, "-c", WRITING, str(final)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == "ready\n"
        writer.send_signal(how)
        writer.wait(timeout=30)
    assert not final.exists()
    left = list(tmp_path.iterdir())
    assert left == [] if how == signal.SIGINT else all(p.name.startswith(".") for p in left)


DISK_FULL = """
import resource, sys
from pathlib import Path
import numpy as np
import nibabel, slicerio
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.files import *
folder = Path(sys.argv[1])
noise = np.random.default_rng(0).integers(0, 250, size=(50, 50, 50)).astype(np.uint8)
segment = SegmentLayer("a", "a", (1, 2, 3), "", 1, noise % 2)
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
for write in (
    lambda: write_labels_nifti(folder / "a.nii.gz", noise, np.eye(4)),
    lambda: write_labels_nifti(folder / "a.nii", noise, np.eye(4)),
    lambda: write_map_nifti(folder / "a.nii.gz", noise, np.eye(4), ""),
    lambda: write_seg_nrrd(folder / "a.seg.nrrd", [segment], np.eye(4)),
    lambda: write_json(folder / "a.json", list(range(5000))),
):
    try:
        write()
        print("written")
    except UserError as error:
        print(error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_disk_that_takes_no_more_is_said_and_leaves_nothing(tmp_path):
    done = subprocess.run([sys.executable, "-c", DISK_FULL, str(tmp_path)], capture_output=True, text=True, check=True)
    sentences = done.stdout.splitlines()
    assert len(sentences) == 5
    assert all("cannot be written (file too large): free some space" in sentence for sentence in sentences)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def nobody(tmp_path) -> Iterator[None]:
    """Act as a user without rights: root may write anywhere."""
    if sys.platform == "win32":
        pytest.skip("permissions of POSIX")
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder in which one may look, and not write; not in pytest's own, which nobody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o555)
        yield Path(folder)
        Path(folder).chmod(0o755)


def test_a_folder_that_may_not_be_written_to_is_said(locked, nobody):
    with pytest.raises(UserError, match=r"cannot be written to '.*' \(permission denied\): choose a folder"):
        write_text(locked / "a.txt", "x")
    with pytest.raises(UserError, match="permission denied"):
        write_labels_nifti(locked / "a.nii.gz", np.zeros(SHAPE, np.uint8), np.eye(4))
    with pytest.raises(UserError, match="permission denied"):
        write_seg_nrrd(locked / "a.seg.nrrd", [a_segment()], np.eye(4))
    assert list(locked.iterdir()) == []


def test_a_file_that_may_not_be_read_is_said(tmp_path, request):
    (tmp_path / "a.nii.gz").write_bytes(b"x")
    (tmp_path / "a.nii.gz").chmod(0)
    request.getfixturevalue("nobody")
    with pytest.raises(UserError, match=r"cannot be opened \(permission denied\)"):
        read_volume(tmp_path / "a.nii.gz")


def test_a_folder_that_is_not_there_or_is_no_folder_is_said(tmp_path):
    with pytest.raises(UserError, match=r"There is no folder '.*missing'.*create it first"):
        write_text(tmp_path / "missing" / "a.txt", "x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="There is no folder"):
        write_text(tmp_path / "file" / "a.txt", "x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="is a folder, and a file of that name"):
        write_text(tmp_path / "folder", "x")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]
