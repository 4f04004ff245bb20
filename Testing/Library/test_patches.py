from __future__ import annotations

import itertools
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
import torch

from CFSegmenterLib.cases import Case
from CFSegmenterLib.intensity import CT_WINDOW
from CFSegmenterLib.patches import PatchSequence, cut
from CFSegmenterLib.prepared import PreparedCase
from CFSegmenterLib.protocols import Protocol
from CFSegmenterLib.settings import TrainingSettings
from CFSegmenterLib.structures import Vocabulary

VOCABULARY = Vocabulary.load()
NAMES = ("background", "liver", "left kidney", "right kidney", "spleen")
UNCHANGED = {"spatial": 0, "noise": 0, "blur": 0, "low_resolution": 0, "gamma": 0, "intensity": 0}
KIDNEYS = ("left kidney", "right kidney")
PATCH = (8, 8, 4)
FOLDER = tempfile.TemporaryDirectory()
NUMBERS = itertools.count()


def naive_cut(array: np.ndarray, center, size, fill) -> np.ndarray:
    box = np.empty(size, dtype=array.dtype)
    for index in np.ndindex(*size):
        there = [c - s // 2 + i for c, s, i in zip(center, size, index, strict=True)]
        inside = all(0 <= t < n for t, n in zip(there, array.shape, strict=True))
        box[index] = array[tuple(there)] if inside else fill
    return box


@pytest.mark.parametrize("size", [(4, 4, 4), (5, 3, 2), (1, 1, 1), (9, 8, 12)])
@pytest.mark.parametrize(
    "center",
    [(3, 3, 3), (0, 0, 0), (6, 5, 7), (-1, 3, 3), (7, 6, 8), (-30, 3, 3), (3, 40, 3), (3, -2, 7), (1, 5, -1)],
)
def test_a_box_is_cut_as_a_loop_over_its_voxels_would(size, center):
    array = np.arange(7 * 6 * 8).reshape(7, 6, 8)
    found = cut(array, np.array(center), size, fill=-9)
    np.testing.assert_array_equal(found, naive_cut(array, center, size, -9))
    assert found.dtype == array.dtype


def test_what_is_cut_is_a_copy():
    array = np.zeros((4, 4, 4))
    cut(array, np.array([2, 2, 2]), (2, 2, 2), fill=0)[:] = 1
    assert not array.any()


def a_case(annotated, source: str = "abdomen") -> Case:
    values = {number: name for number, name in enumerate(annotated, start=1)}
    return Case(Path("i"), Path("l"), source, "ct", "somebody", "training", values, tuple(annotated))


def a_protocol(name: str = "test", patch=PATCH) -> Protocol:
    return Protocol(
        name=name,
        modality="ct",
        spacing=(2, 2, 2),
        patch=patch,
        intensity=CT_WINDOW,
        typical_spacing=(2, 2, 2),
        typical_extent=(40, 40, 40),
    )


def prepared_case(image: np.ndarray, labels: np.ndarray, centers: Mapping[str, np.ndarray]) -> PreparedCase:
    return PreparedCase.write(Path(FOLDER.name) / str(next(NUMBERS)), image, labels, centers)


def kidneys(shape=(24, 20, 16), seed: int = 0) -> PreparedCase:
    """A left kidney at the left (low X is the patient's left: X runs to R) and a right one at the right."""
    random = np.random.default_rng(seed)
    image = random.uniform(-1, 1, shape).astype(np.float16)
    labels = np.zeros(shape, dtype=np.uint16)
    labels[4:7, 9:12, 6:9] = 2
    labels[17:20, 9:12, 6:9] = 3
    image[labels == 2], image[labels == 3] = 3, 4
    centers = {"left kidney": np.argwhere(labels == 2), "right kidney": np.argwhere(labels == 3)}
    return prepared_case(image, labels, centers)


def a_sequence(
    cases=None, prepared=None, protocols=None, centered: float = 1.0, sources=None, seed=0, settings=None, **changes
):
    cases = cases or [a_case(KIDNEYS)]
    augmentation = {**UNCHANGED, "centered": centered, **changes}
    settings = TrainingSettings.model_validate(
        {"augmentation": augmentation, "sources": sources or {}, "seed": seed, **(settings or {})}
    )
    prepared = prepared or [kidneys(seed=n) for n in range(len(cases))]
    return PatchSequence(cases, prepared, protocols or [a_protocol()] * len(cases), NAMES, settings, VOCABULARY)


def same(one, other) -> bool:
    return torch.equal(one.image, other.image) and torch.equal(one.labels, other.labels) and one.case == other.case


def test_a_patch_has_the_size_and_kinds_that_the_network_needs():
    patch = a_sequence()[0]
    assert patch.image.shape == (1, *PATCH) and patch.image.dtype == torch.float32
    assert patch.labels.shape == PATCH and patch.labels.dtype == torch.int64
    assert type(patch.image) is torch.Tensor and type(patch.labels) is torch.Tensor
    assert patch.image.is_contiguous() and patch.labels.is_contiguous()
    assert patch.case == 0


def test_image_and_labels_are_cut_from_the_same_place():
    sequence = a_sequence()
    for number in range(30):
        patch = sequence[number]
        torch.testing.assert_close(patch.image[0] == 3, patch.labels == 2)
        torch.testing.assert_close(patch.image[0] == 4, patch.labels == 3)


def test_patch_number_n_is_always_the_same_and_no_other_is():
    one, other = a_sequence(spatial=0.5, noise=0.5), a_sequence(spatial=0.5, noise=0.5)
    for number in (0, 3, 10**9):
        assert same(one[number], other[number])
    backwards = [one[n] for n in reversed(range(6))]
    for number, patch in zip(reversed(range(6)), backwards, strict=True):
        assert same(patch, other[number])
    assert not any(same(one[0], one[n]) for n in range(1, 6))
    assert not same(one[0], a_sequence(spatial=0.5, noise=0.5, seed=1)[0])


def test_a_patch_is_centred_on_its_structure_up_to_a_quarter_of_its_size():
    case = kidneys()
    labels = np.zeros_like(case.labels)
    labels[12, 10, 8] = 2
    case = prepared_case(case.image, labels, {"left kidney": np.array([[12, 10, 8]])})
    sequence = a_sequence([a_case(["left kidney"])], [case])
    places = np.array([torch.argwhere(sequence[n].labels == 2)[0].tolist() for n in range(60)])
    away = places - np.array(PATCH) // 2
    assert np.abs(away).max(axis=0).tolist() == [2, 2, 1]
    assert (np.abs(away.mean(axis=0)) < 0.6).all()


def test_the_other_patches_lie_anywhere():
    sequence = a_sequence(centered=0.0)
    shown = [float((sequence[n].labels > 0).any()) for n in range(100)]
    assert 0.05 < np.mean(shown) < 0.75
    assert all((a_sequence(centered=1.0)[n].labels > 0).any() for n in range(50))


def test_structures_take_turns():
    sequence = a_sequence(prepared=[kidneys((48, 20, 16))])
    counts = [sum(bool((sequence[n].labels == value).any()) for n in range(100)) for value in (2, 3)]
    assert all(count > 30 for count in counts)


def test_a_case_whose_structure_is_not_there_gives_any_patch_of_it():
    case = kidneys()
    empty = prepared_case(case.image, np.zeros_like(case.labels), {})
    patches = [a_sequence(prepared=[empty])[n] for n in range(10)]
    assert all((p.labels == 0).all() for p in patches)
    assert len({float(p.image.sum()) for p in patches}) == 10


def test_outside_the_image_it_is_as_dark_as_the_darkest_inside_and_unlabelled():
    image = np.full((6, 6, 4), 1.5, dtype=np.float16)
    image[0, 0, 0] = -1.25
    labels = np.ones((6, 6, 4), dtype=np.uint16)
    case = prepared_case(image, labels, {"liver": np.argwhere(labels == 1)})
    patch = a_sequence([a_case(["liver"])], [case], [a_protocol(patch=(16, 16, 16))])[0]
    assert patch.image.min() == -1.25
    assert ((patch.labels == 0) | (patch.labels == 1)).all()
    assert (patch.image[0][patch.labels == 0] == -1.25).all()
    assert (patch.labels == 1).sum() == 144


@pytest.mark.parametrize(("beside", "in_a_step"), [(1.0, "AARR"), (0.5, "AAR"), (0.0, "AA"), (2.0, "AARRRR")])
def test_images_without_annotation_come_beside_the_annotated_ones_of_every_step(beside, in_a_step):
    cases = [a_case(KIDNEYS), a_case((), source="old")]
    sequence = a_sequence(cases, settings={"unannotated": beside, "patches_per_step": 2})
    assert sequence.per_step == len(in_a_step)
    assert "".join("AR"[sequence[n].case] for n in range(2 * len(in_a_step))) == 2 * in_a_step


def test_without_such_images_a_step_is_the_annotated_patches():
    sequence = a_sequence(settings={"unannotated": 1.0, "patches_per_step": 3})
    assert sequence.per_step == 3


def test_every_case_is_cut_with_its_own_protocol():
    cases = [a_case(KIDNEYS, "abdomen"), a_case(KIDNEYS, "other")]
    protocols = [a_protocol("one", (8, 8, 4)), a_protocol("two", (4, 12, 8))]
    shapes = {}
    for number in range(30):
        patch = a_sequence(cases, protocols=protocols)[number]
        shapes.setdefault(patch.case, set()).add(tuple(patch.labels.shape))
    assert shapes == {0: {(8, 8, 4)}, 1: {(4, 12, 8)}}


def sides(sequence: PatchSequence, count: int = 60) -> dict[str, int]:
    """How many whole-volume patches show each kidney on the patient's left and on the right."""
    found = {"left at left": 0, "right at right": 0, "left at right": 0, "right at left": 0}
    for number in range(count):
        labels = sequence[number].labels
        for value, name in ((2, "left"), (3, "right")):
            where = torch.argwhere(labels == value)
            if len(where):
                found[f"{name} at {'left' if where[:, 0].double().mean() < labels.shape[0] / 2 else 'right'}"] += 1
    return found


class Whole:
    """Patches that show the whole volume, from its middle."""

    def __init__(self, annotated=KIDNEYS, mirror: bool = True, shape=(24, 20, 16), source: str = "abdomen", begun=()):
        case = kidneys(shape)
        middle = np.array([np.array(shape) // 2])
        case = prepared_case(case.image, case.labels, dict.fromkeys([*annotated, *begun], middle))
        self.original = case
        self.sequence = a_sequence(
            [a_case(annotated)], [case], [a_protocol(patch=shape)], sources={source: {"mirror": mirror}}
        )


def test_a_mirrored_left_kidney_is_a_right_kidney():
    whole = Whole()
    found = sides(whole.sequence)
    assert found["left at left"] > 40 and found["right at right"] > 40
    assert found["left at right"] == found["right at left"] == 0
    # The kidney of brightness 3 was drawn as the left one; in half of the patches it is now a right one.
    names = [set(patch.labels[patch.image[0] == 3].tolist()) for patch in map(whole.sequence.__getitem__, range(60))]
    assert 15 < sum(name == {3} for name in names if name) < 45
    assert {frozenset(name) for name in names if name} == {frozenset({2}), frozenset({3})}


def was_mirrored(whole: Whole, count: int = 40) -> bool:
    """Whether the left kidney's brightness was ever seen at the right."""
    for number in range(count):
        image = whole.sequence[number].image[0]
        where = torch.argwhere(image == 3)
        if len(where) and where[:, 0].double().mean() > image.shape[0] / 2:
            return True
    return False


def test_organs_change_their_brightness_only_where_a_source_says_how_much():
    plain = a_sequence()
    changed = a_sequence(sources={"abdomen": {"organ_contrast": 1.0}})
    differs = [not torch.equal(plain[n].image, changed[n].image) for n in range(40)]
    assert 8 < sum(differs) < 32, "in half of the patches"
    assert all(torch.equal(plain[n].labels, changed[n].labels) for n in range(40))
    assert same(changed[3], changed[3])


def test_sources_are_mirrored_only_where_they_allow_it():
    assert was_mirrored(Whole())
    assert not was_mirrored(Whole(mirror=False))
    assert not was_mirrored(Whole(source="another"))


@pytest.mark.parametrize("annotated", [("left kidney",), (*KIDNEYS, "liver")])
def test_a_case_whose_annotation_is_not_true_of_its_mirror_image_is_never_mirrored(annotated):
    assert not was_mirrored(Whole(annotated))


def test_nor_is_a_case_of_which_one_twin_was_drawn_in_part():
    assert was_mirrored(Whole(["something"]))
    assert not was_mirrored(Whole(["something"], begun=["left kidney"]))


def test_x_runs_to_the_patients_right():
    # What the mirror relies on: the first axis of a prepared case is left-right, whatever the file's axes were.
    assert np.argwhere(kidneys().labels == 2)[:, 0].mean() < np.argwhere(kidneys().labels == 3)[:, 0].mean()
