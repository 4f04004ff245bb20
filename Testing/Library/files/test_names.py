from __future__ import annotations

from pathlib import Path

import pytest

from CFSegmenterLib.files.names import image_stem


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
