from __future__ import annotations

import shutil

import numpy as np
import pytest
import SimpleITK

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.files.reading import read_volume
from Testing.Library.files.scans import AFFINES, an_affine, assert_voxels_lie_where_itk_puts_them, write_series


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
