"""The drawn abdomen: the same for the same seed, another person for another, and anatomy where it belongs."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from CFSegmenterLib.abdomen import draw_abdomen
from CFSegmenterLib.phantom import NAMES, Phantom, draw_small
from CFSegmenterLib.phantom_source import write_phantom_source

LABEL = {name: label for label, name in NAMES.items()}
COARSE = (3.2, 3.2, 6.0)


@pytest.fixture(scope="module")
def an_abdomen() -> Phantom:
    return draw_abdomen(7)


def center(phantom: Phantom, name: str) -> np.ndarray:
    """The centroid of a structure in RAS mm."""
    voxel = np.argwhere(phantom.labels == LABEL[name]).mean(0)
    return phantom.affine[:3, :3] @ voxel + phantom.affine[:3, 3]


def milliliters(phantom: Phantom, name: str) -> float:
    voxel = abs(np.linalg.det(phantom.affine[:3, :3])) / 1000
    return float((phantom.labels == LABEL[name]).sum() * voxel)


def test_the_arrays_have_the_types_and_the_grid_that_are_promised(an_abdomen):
    assert an_abdomen.image.dtype == np.int16
    assert an_abdomen.labels.dtype == np.uint8
    assert an_abdomen.image.shape == an_abdomen.labels.shape
    assert an_abdomen.image.shape[:2] == (200, 200)
    height = an_abdomen.image.shape[2] * 5.0
    assert height > 180 and height < 230
    np.testing.assert_allclose(np.diag(an_abdomen.affine), [1.6, 1.6, 5.0, 1.0])
    assert an_abdomen.names == {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}
    assert set(np.unique(an_abdomen.labels)) == {0, 1, 2, 3, 4}


def test_a_seed_always_draws_the_same_person():
    first, second = draw_abdomen(3, COARSE), draw_abdomen(3, COARSE)
    np.testing.assert_array_equal(first.image, second.image)
    np.testing.assert_array_equal(first.labels, second.labels)
    np.testing.assert_array_equal(first.affine, second.affine)


def test_drawing_leaves_the_global_random_state_alone():
    before = np.random.get_state()[1].copy()
    draw_small(0)
    draw_abdomen(0, (6.4, 6.4, 10.0))
    np.testing.assert_array_equal(before, np.random.get_state()[1])


def test_another_seed_is_another_person():
    first, second = draw_abdomen(3, COARSE, (90, 90, 32)), draw_abdomen(4, COARSE, (90, 90, 32))
    assert np.mean(first.labels != second.labels) > 0.02
    assert abs(milliliters(first, "liver") - milliliters(second, "liver")) > 1


@pytest.mark.parametrize("seed", range(6))
def test_every_person_has_the_organs_on_their_sides_and_of_human_size(seed):
    phantom = draw_abdomen(seed, COARSE)
    liver, right, left, spleen = (center(phantom, name) for name in LABEL)
    # In RAS +x is the patient's right, where the liver is.
    assert liver[0] > right[0] - 60 and liver[0] > left[0]
    assert right[0] - left[0] > 80
    assert spleen[0] < left[0]
    assert min(liver[2], spleen[2]) > max(right[2], left[2]) - 10
    assert right[1] < liver[1] and left[1] < liver[1]
    assert 700 < milliliters(phantom, "liver") < 2300
    assert 60 < milliliters(phantom, "right kidney") < 280
    assert 60 < milliliters(phantom, "left kidney") < 280
    assert 60 < milliliters(phantom, "spleen") < 400


@pytest.mark.parametrize("name", sorted(LABEL))
def test_an_organ_is_one_piece(an_abdomen, name):
    assert ndimage.label(an_abdomen.labels == LABEL[name])[1] == 1


def test_the_contrast_is_that_of_a_fat_suppressed_t2_picture(an_abdomen):
    image, labels = an_abdomen.image, an_abdomen.labels
    brightness = {name: np.median(image[labels == label]) for name, label in LABEL.items()}
    air = np.median(image[:10, :10])
    assert air < 30
    assert 5 * air < brightness["liver"] < brightness["spleen"]
    assert brightness["liver"] < brightness["left kidney"]
    assert image.min() >= 0


def test_the_air_outside_is_noisy_and_never_negative(an_abdomen):
    corner = an_abdomen.image[:8, :8].astype(float)
    assert corner.min() >= 0
    assert corner.std() > 1


def test_the_same_person_is_drawn_on_every_grid():
    fine, coarse = draw_abdomen(5, (2.4, 2.4, 5.0)), draw_abdomen(5, (3.2, 3.2, 6.0), (110, 90, 40))
    for name in LABEL:
        assert milliliters(coarse, name) == pytest.approx(milliliters(fine, name), rel=0.06)


def test_a_wanted_shape_is_kept_even_when_it_is_tiny():
    phantom = draw_abdomen(1, (8.0, 8.0, 8.0), (5, 40, 1))
    assert phantom.image.shape == phantom.labels.shape == (5, 40, 1)


@pytest.mark.parametrize("spacing", [(0, 1, 1), (-1, 1, 1), (np.nan, 1, 1), (np.inf, 1, 1), (1, 1)])
def test_an_impossible_spacing_is_refused(spacing):
    with pytest.raises(ValueError, match="spacing"):
        draw_abdomen(0, spacing)


@pytest.mark.parametrize("shape", [(0, 10, 10), (10, 10), (-5, 10, 10)])
def test_a_shape_without_voxels_is_refused(shape):
    with pytest.raises(ValueError, match="shape"):
        draw_abdomen(0, (5, 5, 5), shape)


@pytest.mark.parametrize("seed", range(8))
def test_the_small_phantom_is_small_easy_and_complete(seed):
    phantom = draw_small(seed)
    assert phantom.image.shape == phantom.labels.shape == (32, 32, 24)
    assert phantom.names == NAMES
    assert center(phantom, "right kidney")[0] > 0 > center(phantom, "left kidney")[0]
    assert center(phantom, "liver")[0] > 0 > center(phantom, "spleen")[0]
    outside = phantom.image[phantom.labels == 0]
    for label in NAMES:
        inside = phantom.image[phantom.labels == label]
        assert inside.size > 60
        assert np.median(inside) > np.median(outside) + 150


def test_the_small_phantoms_of_two_seeds_differ():
    assert not np.array_equal(draw_small(0).labels, draw_small(1).labels)


def test_a_written_source_is_a_case_list_with_every_file_it_names(tmp_path, monkeypatch):
    monkeypatch.setattr("CFSegmenterLib.phantom_source.draw_abdomen", draw_small)
    path = write_phantom_source(tmp_path / "new" / "phantoms", 2, 1, seed=40)
    dataset = json.loads(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "new" / "phantoms" / "dataset.json"
    assert (dataset["name"], dataset["modality"]) == ("phantom_abdomen", "mr-t2")
    assert dataset["labels"] == {"1": "liver", "2": "right kidney", "3": "left kidney", "4": "spleen"}
    assert dataset["licence"] == "CC0 (drawn by this project)"
    assert [len(dataset[part]) for part in ("training", "validation")] == [2, 1]
    cases = dataset["training"] + dataset["validation"]
    assert len({case["subject"] for case in cases}) == 3
    for number, case in enumerate(cases):
        wanted = draw_small(40 + number)
        image = nibabel.load(path.parent / case["image"])
        labels = nibabel.load(path.parent / case["label"])
        np.testing.assert_array_equal(np.asarray(image.dataobj), wanted.image)
        np.testing.assert_array_equal(np.asarray(labels.dataobj), wanted.labels)
        assert labels.get_data_dtype() == np.uint8
        np.testing.assert_allclose(image.affine, wanted.affine, atol=1e-4)
        assert nibabel.aff2axcodes(image.affine) == ("R", "A", "S")


def test_an_empty_source_lists_no_cases_and_a_negative_one_is_refused(tmp_path):
    dataset = json.loads(write_phantom_source(tmp_path, 0, 0, seed=0).read_text(encoding="utf-8"))
    assert dataset["training"] == dataset["validation"] == []
    with pytest.raises(ValueError, match="negative"):
        write_phantom_source(tmp_path, -1, 1, seed=0)
