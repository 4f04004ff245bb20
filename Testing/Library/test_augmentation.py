from __future__ import annotations

import numpy as np
import pytest
import torch

from CFSegmenterLib.augmentation import (
    MARGIN,
    build_augmentation,
    may_be_mirrored,
    mirror_table,
    mirrored,
    size_to_cut,
    with_organ_contrast,
    with_signal_loss,
)
from CFSegmenterLib.settings import AugmentationSettings
from CFSegmenterLib.structures import Vocabulary

VOCABULARY = Vocabulary.load()
NOTHING = {"spatial": 0, "noise": 0, "blur": 0, "low_resolution": 0, "gamma": 0, "intensity": 0}
ISOTROPIC = (1.0, 1.0, 1.0)
PATCH = (16, 12, 8)


def augment(image: np.ndarray, labels: np.ndarray, patch=PATCH, spacing=ISOTROPIC, seed: int = 0, **settings):
    """One augmented patch as arrays; every augmentation that is not named is off."""
    transform = build_augmentation(patch, spacing, AugmentationSettings(**{**NOTHING, **settings}))
    transform.set_random_state(seed=seed)
    changed = transform({"image": torch.from_numpy(image)[None], "labels": torch.from_numpy(labels)[None]})
    return np.asarray(changed["image"])[0], np.asarray(changed["labels"])[0]


def a_picture(patch=PATCH, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    size = size_to_cut(patch)
    return random.standard_normal(size).astype(np.float32), random.integers(0, 3, size).astype(np.float32)


def middle(array: np.ndarray, patch=PATCH) -> np.ndarray:
    return array[tuple(slice((n - p) // 2, (n - p) // 2 + p) for n, p in zip(array.shape, patch, strict=True))]


@pytest.mark.parametrize("side", range(4, 130))
def test_a_patch_is_cut_larger_by_as_much_before_as_behind(side):
    (cut,) = size_to_cut((side,))
    assert cut >= side * MARGIN
    assert (cut - side) % 2 == 0
    assert cut <= side * MARGIN + 3


@pytest.mark.parametrize("patch", [(16, 16, 16), (32, 48, 32), (80, 20, 12), (16, 12, 8)])
def test_without_augmentation_a_patch_is_the_middle_of_what_was_cut(patch):
    image, labels = a_picture(patch)
    changed, relabelled = augment(image, labels, patch)
    assert changed.shape == patch
    np.testing.assert_allclose(changed, middle(image, patch), atol=1e-5)
    np.testing.assert_array_equal(relabelled, middle(labels, patch))


@pytest.mark.parametrize("one", ["noise", "blur", "low_resolution", "gamma", "intensity"])
def test_intensity_augmentations_change_the_image_and_leave_the_labels(one):
    image, labels = a_picture()
    changed, relabelled = augment(image, labels, **{one: 1.0})
    assert np.abs(changed - middle(image)).max() > 0.01
    np.testing.assert_array_equal(relabelled, middle(labels))


def test_a_change_of_contrast_keeps_mean_and_spread():
    image, labels = a_picture()
    for seed in range(5):
        changed, _ = augment(image, labels, seed=seed, gamma=1.0)
        assert np.abs(changed - middle(image)).max() > 0.01
        assert changed.mean() == pytest.approx(middle(image).mean(), abs=1e-3)
        assert changed.std() == pytest.approx(middle(image).std(), rel=1e-3)


def test_a_rotation_takes_image_and_labels_along_together():
    patch = (24, 24, 24)
    x, y, z = np.indices(size_to_cut(patch)) - 15.5
    inside = (x - 5) ** 2 + (y / 2) ** 2 + z**2 < 25
    image = np.where(inside, 10, 0).astype(np.float32)
    moved = 0
    for seed in range(6):
        changed, relabelled = augment(image, inside.astype(np.float32), patch, seed=seed, spatial=1.0, rotation=25.0)
        assert set(np.unique(relabelled)) <= {0, 1}
        agreement = 2 * ((changed > 5) & (relabelled == 1)).sum() / ((changed > 5).sum() + (relabelled == 1).sum())
        assert agreement > 0.95
        moved += bool(np.abs(changed - middle(image, patch)).max() > 5)
    assert moved == 6


@pytest.mark.parametrize("long_axis", [0, 1, 2])
def test_no_rotation_mixes_axes_of_unlike_spacing(long_axis):
    # Planes across the coarse axis, each of one value: only a rotation out of the plane could mix them.
    patch = (16, 16, 16)
    spacing = tuple(5.0 if axis == long_axis else 1.0 for axis in range(3))
    steps = np.indices(size_to_cut(patch))
    constant, varying = steps[long_axis].astype(np.float32), steps[(long_axis + 1) % 3].astype(np.float32)
    for seed in range(5):
        settings = {"spatial": 1.0, "rotation": 40.0, "scale": 0.0}
        changed, _ = augment(constant, constant, patch, spacing, seed, **settings)
        np.testing.assert_allclose(changed, middle(constant, patch), atol=1e-3)
        changed, _ = augment(varying, varying, patch, spacing, seed, **settings)
        assert np.abs(changed - middle(varying, patch)).max() > 0.1
        changed, _ = augment(constant, constant, patch, ISOTROPIC, seed, **settings)
        assert np.abs(changed - middle(constant, patch)).max() > 0.1


def test_a_rotation_is_as_large_as_was_allowed():
    patch, spacing = (16, 16, 16), (1.0, 1.0, 5.0)  # so that it turns about the third axis only
    ramp = np.indices(size_to_cut(patch))[0].astype(np.float32)
    angles = []
    for seed in range(30):
        changed, _ = augment(ramp, ramp, patch, spacing, seed, spatial=1.0, rotation=12.0, scale=0.0)
        along, across = changed[9, 8, 8] - changed[7, 8, 8], changed[8, 9, 8] - changed[8, 7, 8]
        angles.append(float(np.degrees(np.arctan2(across, along))))
    assert -12.1 < min(angles) < -6 and 6 < max(angles) < 12.1


def test_a_scaling_is_as_large_as_was_allowed():
    patch = (32, 32, 32)
    ramp = np.indices(size_to_cut(patch))[0].astype(np.float32)
    factors = []
    for seed in range(30):
        changed, _ = augment(ramp, ramp, patch, seed=seed, spatial=1.0, rotation=0.0, scale=0.2)
        factors.append(float(changed[17, 16, 16] - changed[15, 16, 16]) / 2)
    assert 0.79 < min(factors) < 0.9 and 1.1 < max(factors) < 1.21


def test_probabilities_are_those_of_the_settings():
    image, labels = a_picture()
    changes = sum(bool(np.abs(augment(image, labels, seed=s, noise=0.3)[0] - middle(image)).max() > 1e-4)
                  for s in range(100))  # fmt: skip
    assert 15 <= changes <= 45


@pytest.mark.parametrize("value", [0.0, -2.0, 5.0])
def test_a_patch_without_any_contrast_stays_finite(value):
    image = np.full(size_to_cut(PATCH), value, dtype=np.float32)
    for seed in range(3):
        changed, _ = augment(image, np.zeros_like(image), seed=seed, **dict.fromkeys(NOTHING, 1.0))
        assert np.isfinite(changed).all()


def test_the_same_seed_gives_the_same_patch():
    image, labels = a_picture()
    everything = dict.fromkeys(NOTHING, 1.0)
    one, other = (augment(image, labels, seed=4, **everything)[0] for _ in range(2))
    np.testing.assert_array_equal(one, other)
    assert np.abs(augment(image, labels, seed=5, **everything)[0] - one).max() > 0.01


NAMES = ["background", "left kidney", "liver", "right kidney", "left ventricle", "left lung", "frobnicator"]


def test_twins_change_places_and_nothing_else_does():
    # The heart's ventricles are no mirror images of each other; the right lung is not there to be renamed to.
    assert mirror_table(NAMES, VOCABULARY).tolist() == [0, 3, 2, 1, 4, 5, 6]


def test_twins_that_nobody_knows_are_told_by_their_names():
    names = ["background", "left claustrum", "Claustrum (right)", "left frobnicator", "middle thing"]
    assert mirror_table(names, VOCABULARY).tolist() == [0, 2, 1, 3, 4]


def test_mirroring_twice_changes_nothing():
    names = ["background", *VOCABULARY.names()]
    table = mirror_table(names, VOCABULARY)
    assert np.array_equal(table[table], np.arange(len(names)))
    assert (table != np.arange(len(names))).sum() > 100


def test_the_left_kidney_becomes_the_right_one_on_the_other_side():
    table = torch.from_numpy(mirror_table(NAMES, VOCABULARY))
    labels = torch.zeros(1, 4, 3, 2, dtype=torch.int64)
    labels[0, 0, 1, 1], labels[0, 3, 2, 0] = 1, 3
    image = labels.float() + 10
    flipped, relabelled = mirrored(image, labels, table)
    assert relabelled[0, 3, 1, 1] == 3 and relabelled[0, 0, 2, 0] == 1
    assert (relabelled != 0).sum() == 2
    assert flipped[0, 3, 1, 1] == 11 and flipped[0, 0, 2, 0] == 13


@pytest.mark.parametrize(
    ("annotated", "answer"),
    [
        (["left kidney", "right kidney"], True),
        (["left kidney"], False),  # mirrored, the undrawn right kidney would lie where label 0 denies the left one
        (["left kidney", "right kidney", "left parotid gland"], False),
        (["liver"], False),
        (["left kidney", "right kidney", "spleen"], False),
        (["left ventricle", "right ventricle"], False),
        (["brainstem", "anterior hippocampus"], True),
        (["frobnicator"], True),
        (["left claustrum", "right claustrum"], True),  # which nobody knows
        (["left claustrum"], False),
        ([], True),
    ],
)
def test_only_an_annotation_that_is_true_of_the_mirror_image_may_be_mirrored(annotated, answer):
    assert may_be_mirrored(annotated, VOCABULARY) is answer


def test_each_organ_becomes_brighter_or_darker_by_itself():
    labels = torch.zeros(1, 12, 12, 12, dtype=torch.long)
    labels[:, 1:5], labels[:, 7:11] = 1, 2
    image = torch.zeros(1, 12, 12, 12)
    shifts = []
    for seed in range(200):
        changed = with_organ_contrast(image, labels, 1.2, np.random.default_rng(seed))
        shifts.append((changed[0, 3, 5, 5].item(), changed[0, 9, 5, 5].item()))
        assert changed[0, 5:7].abs().max() <= np.abs(shifts[-1]).max()
    first, second = np.array(shifts).T
    assert abs(first.std() - 1.2) < 0.2 and abs(first.mean()) < 0.3
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.2


def test_organs_that_lose_their_signal_go_dark_and_lose_their_texture():
    image = torch.from_numpy(np.random.default_rng(0).normal(0, 0.1, (1, 24, 12, 12)).astype(np.float32))
    labels = torch.zeros(1, 24, 12, 12, dtype=torch.long)
    labels[:, 3:9], labels[:, 15:21] = 1, 2
    image += torch.tensor([0.0, 1.0, 3.0])[labels]
    faded = []
    for seed in range(60):
        changed = with_signal_loss(image, labels, np.random.default_rng(seed))
        assert torch.equal(changed[:, 11:13], image[:, 11:13])
        for inside in (slice(4, 8), slice(16, 20)):
            before, after = image[:, inside], changed[:, inside]
            left = after.std() / before.std()
            faded.append(left < 0.99)
            if faded[-1]:
                assert 0.09 < left < 0.61
                assert after.mean() < 0.65 * before.mean()
    assert 0.3 < np.mean(faded) < 0.7


def test_what_nobody_drew_keeps_its_brightness():
    image = torch.randn(1, 6, 6, 6)
    labels = torch.zeros(1, 6, 6, 6, dtype=torch.long)
    assert torch.equal(with_signal_loss(image, labels, np.random.default_rng(0)), image)
    assert torch.equal(with_organ_contrast(image, labels, 5.0, np.random.default_rng(0)), image)
