from __future__ import annotations

import nibabel
import numpy as np
import pytest
import SimpleITK

from CFSegmenterLib.files.nifti import write_labels_nifti, write_map_nifti
from CFSegmenterLib.files.reading import read_labels, read_volume
from Testing.Library.files.scans import AFFINES, SHAPE, assert_voxels_lie_where_itk_puts_them, every_affine


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
