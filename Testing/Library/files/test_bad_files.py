from __future__ import annotations

import gzip
import io
from pathlib import Path

import nibabel
import nrrd
import numpy as np
import pytest
import SimpleITK

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.files.nifti import write_map_nifti
from CFSegmenterLib.files.reading import read_volume
from Testing.Library.files.scans import SHAPE, an_itk_image, noise, with_nan


def nifti_bytes(voxels: np.ndarray, affine: np.ndarray | None = None, gz: bool = False) -> bytes:
    raw = nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine).to_bytes()
    return gzip.compress(raw) if gz else raw


def itk_bytes(tmp_path: Path, ending: str, image: SimpleITK.Image | None = None, gz: bool = False) -> bytes:
    image = image or an_itk_image(noise(), np.eye(4))
    SimpleITK.WriteImage(image, str(tmp_path / f"whole.{ending}"), gz)
    return (tmp_path / f"whole.{ending}").read_bytes()


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
    monkeypatch.setattr("CFSegmenterLib.files.header.check_shape", None)
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
