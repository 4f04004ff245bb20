"""`cfsegmenter similarity`: the map of a name, or of what was painted."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from Testing.CommandLine.conftest import table_of
from Testing.Library.conftest import save_nifti


@pytest.fixture
def similarity(cfsegmenter, a_model_folder, a_small_file):
    def run(*arguments):
        return cfsegmenter("similarity", a_small_file, "--model", a_model_folder, "--modality", "mr", *arguments)

    return run


@pytest.fixture
def refused_similarity(refused, a_model_folder, a_small_file, tmp_path):
    def run(*arguments):
        return refused(
            "similarity",
            a_small_file,
            "--model",
            a_model_folder,
            "--modality",
            "mr",
            "--out",
            tmp_path / "o",
            *arguments,
        )

    return run


@pytest.fixture
def a_painted_liver(a_small_phantom, tmp_path):
    return save_nifti(tmp_path / "paint.nii.gz", (a_small_phantom.labels == 1).astype(np.uint8), a_small_phantom.affine)


def map_at(path):
    return np.asarray(nibabel.load(path).dataobj)


def test_a_name_gives_its_map_as_a_file_of_the_name_that_was_asked_for(similarity, a_small_phantom, tmp_path):
    path = tmp_path / "new" / "liver.nii.gz"
    result = similarity("--structure", "Liver", "--out", path)
    assert result.exit_code == 0, result.output
    values = map_at(path)
    assert values.shape == a_small_phantom.labels.shape and values.dtype == np.float32
    assert values.min() >= -1 and values.max() <= 1
    assert values[a_small_phantom.labels == 1].mean() > values[a_small_phantom.labels != 1].mean() + 0.2
    (row,) = table_of(result.stdout)
    assert row["structure"] == "liver" and float(row["highest"]) == pytest.approx(values.max(), abs=0.006)


def test_a_folder_gets_a_file_named_after_image_and_structure(similarity, tmp_path):
    assert similarity("--structure", "kidney left", "--out", tmp_path / "maps").exit_code == 0
    assert [p.name for p in (tmp_path / "maps").iterdir()] == ["small_similarity_left_kidney.nii.gz"]


def test_a_painted_liver_resembles_the_liver(similarity, a_painted_liver, a_small_phantom, tmp_path):
    assert similarity("--from-mask", a_painted_liver, "--out", tmp_path / "maps").exit_code == 0
    values = map_at(tmp_path / "maps" / "small_similarity_painted_example.nii.gz")
    inside = values[a_small_phantom.labels == 1].mean()
    assert inside > 0.6
    assert inside > values[a_small_phantom.labels == 4].mean() + 0.2


def test_exactly_one_thing_is_compared_with(refused_similarity, a_painted_liver):
    assert "--from-mask" in refused_similarity()
    assert "--from-mask" in refused_similarity("--structure", "liver", "--from-mask", a_painted_liver)


def test_a_mask_that_cannot_be_used_is_explained(refused_similarity, a_small_phantom, tmp_path):
    empty = save_nifti(tmp_path / "empty.nii.gz", np.zeros((32, 32, 24), np.uint8), a_small_phantom.affine)
    assert "empty" in refused_similarity("--from-mask", empty)
    elsewhere = save_nifti(tmp_path / "other.nii.gz", np.ones((32, 32, 24), np.uint8), np.eye(4))
    assert "grid" in refused_similarity("--from-mask", elsewhere)
    assert "does not exist" in refused_similarity("--from-mask", tmp_path / "gone.nii.gz")


def test_wrong_names_and_places_are_explained(refused_similarity, refused, a_small_file, a_model_folder, tmp_path):
    assert "not taught" in refused_similarity("--structure", "pituitary")
    place = ["--structure", "liver", "--model", a_model_folder, "--out"]
    assert ".nii.gz" in refused("similarity", a_small_file, *place, tmp_path / "map.nrrd")
    taken = tmp_path / "taken.nii.gz"
    taken.write_text("mine")
    assert "exists already" in refused("similarity", a_small_file, *place, taken)
    assert taken.read_text() == "mine"
