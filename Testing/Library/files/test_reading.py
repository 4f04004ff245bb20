from __future__ import annotations

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.files.nifti import write_labels_nifti, write_map_nifti
from CFSegmenterLib.files.reading import read_labels, read_volume
from Testing.Library.files.scans import (
    AFFINES,
    SHAPE,
    an_itk_image,
    assert_voxels_lie_where_itk_puts_them,
    every_affine,
    noise,
    with_nan,
)


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
