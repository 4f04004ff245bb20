from __future__ import annotations

import numpy as np
import pytest

from CFSegmenterLib.hierarchy import complete_divisions, overlap_matrix, settled_by, told_apart
from CFSegmenterLib.structures import Vocabulary

VOCABULARY = Vocabulary.load()
HIPPOCAMPI = ["background", "hippocampus", "left hippocampus", "right hippocampus", "anterior hippocampus",
              "posterior hippocampus"]  # fmt: skip


def settled(annotated: list[str], names: list[str]) -> set[str]:
    return settled_by(annotated, names, VOCABULARY)


def overlapping(first: str, second: str) -> bool:
    return bool(overlap_matrix([first, second], VOCABULARY)[0, 1])


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("left hippocampus", "anterior hippocampus"),
        ("hippocampus", "left hippocampus"),
        ("hippocampus", "posterior hippocampus"),
        ("brain", "left hippocampus"),
        ("kidney", "left kidney"),
        ("liver", "liver tumor"),
    ],
)
def test_structures_that_share_voxels_overlap(first, second):
    assert overlapping(first, second) and overlapping(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("left hippocampus", "right hippocampus"),
        ("anterior hippocampus", "posterior hippocampus"),
        ("liver", "spleen"),
        ("left kidney", "right hippocampus"),
        ("background", "liver"),
        ("background", "brain"),
        ("frobnicator", "liver"),
        ("frobnicator", "frobnicator two"),
    ],
)
def test_structures_that_exclude_each_other_do_not_overlap(first, second):
    assert not overlapping(first, second) and not overlapping(second, first)


def test_the_matrix_is_symmetric_and_nothing_overlaps_itself():
    names = ["background", *VOCABULARY.names()[:150], "frobnicator"]
    matrix = overlap_matrix(names, VOCABULARY)
    assert matrix.shape == (152, 152) and matrix.dtype == bool
    assert np.array_equal(matrix, matrix.T)
    assert not matrix.diagonal().any()
    assert matrix.any()


def test_what_a_label_map_draws_beside_each_other_is_told_apart():
    drawn = [("liver", "spleen"), ("liver tumor", "spleen", "liver"), ("left kidney",)]
    apart = told_apart(drawn, VOCABULARY)
    assert apart == (("liver", "liver tumor"),)
    assert not overlap_matrix(["liver", "liver tumor"], VOCABULARY, apart).any()
    assert overlap_matrix(["liver", "liver tumor", "left kidney"], VOCABULARY, [("liver", "left kidney")])[0, 1]


def test_a_single_background_overlaps_nothing():
    assert overlap_matrix(["background"], VOCABULARY).tolist() == [[False]]


def test_an_annotation_settles_itself_and_nothing_that_it_does_not_fill():
    assert settled(["left hippocampus"], HIPPOCAMPI) == {"left hippocampus"}
    assert settled(["anterior hippocampus"], HIPPOCAMPI) == {"anterior hippocampus"}
    assert settled(["liver"], ["background", "liver", "spleen", "left kidney"]) == {"liver"}


def test_an_annotated_whole_settles_its_parts_at_any_depth():
    assert settled(["hippocampus"], HIPPOCAMPI) == set(HIPPOCAMPI) - {"background"}
    assert settled(["brain"], HIPPOCAMPI) == set(HIPPOCAMPI) - {"background"}
    assert settled(["left kidney"], ["left kidney", "right kidney", "left kidney cyst"]) == {
        "left kidney",
        "left kidney cyst",
    }


@pytest.mark.parametrize(
    "annotated",
    [["anterior hippocampus", "posterior hippocampus"], ["left hippocampus", "right hippocampus"]],
)
def test_all_parts_of_one_division_settle_the_whole_and_its_other_parts(annotated):
    # Where anterior and posterior hippocampus are drawn, a voxel labelled 0 is not in the left one either.
    assert settled(annotated, HIPPOCAMPI) == set(HIPPOCAMPI) - {"background"}


def test_parts_of_different_divisions_do_not_make_a_whole():
    annotated = ["left hippocampus", "anterior hippocampus"]
    assert settled(annotated, HIPPOCAMPI) == set(annotated)


def test_wholes_are_completed_upwards():
    lobes = [s.name for side in ("left lung", "right lung") for s in VOCABULARY.parts_of(side) if s.division == "lobe"]
    assert settled(lobes, ["left lung", "right lung", "lung", "heart"]) == {"left lung", "right lung", "lung"}
    assert settled(lobes[1:], ["left lung", "right lung", "lung"]) == {"right lung"}


@pytest.mark.parametrize(
    ("annotated", "whole"),
    [
        (["kidney cyst", "kidney tumor"], "kidney"),
        (["renal pelvis"], "kidney"),
        (["liver tumor"], "liver"),
        (["hepatic vessels"], "liver"),
        (["pancreas head", "pancreas tail"], "pancreas"),
        (["lens", "retina"], "eye"),
        (["midbrain", "pons"], "brainstem"),
        (["spinal cord", "cauda equina"], "spinal canal"),
    ],
)
def test_parts_that_leave_something_out_do_not_settle_the_whole(annotated, whole):
    assert whole not in settled(annotated, [whole, *annotated])
    assert not any(set(parts) <= set(annotated) for parts in complete_divisions(whole, VOCABULARY))


def test_names_that_nobody_knows_settle_only_themselves():
    names = ["background", "frobnicator", "liver"]
    assert settled(["frobnicator"], names) == {"frobnicator"}
    assert settled([], names) == set()
    assert complete_divisions("frobnicator", VOCABULARY) == ()
    assert complete_divisions("background", VOCABULARY) == ()


def test_the_background_is_never_settled():
    for annotated in (["brain"], ["background"], list(VOCABULARY.names())):
        assert "background" not in settled(annotated, ["background", "liver"]) - {"background"} & set(annotated)


def test_what_is_annotated_but_has_no_prototype_still_counts():
    assert settled(["hippocampus"], ["background", "left hippocampus"]) == {"left hippocampus"}


def test_a_whole_that_is_divided_completely_is_found_by_any_of_its_names():
    divided = complete_divisions("Hippocampi", VOCABULARY)
    assert {frozenset(parts) for parts in divided} == {
        frozenset({"left hippocampus", "right hippocampus"}),
        frozenset({"anterior hippocampus", "posterior hippocampus"}),
    }


def test_every_division_that_is_said_to_fill_its_whole_has_several_parts():
    for structure in VOCABULARY:
        for parts in complete_divisions(structure.name, VOCABULARY):
            assert len(parts) > 1, f"{structure.name} is said to be filled by {parts}"
