"""A volume and what was painted on it become a case, voxel for voxel, and nothing is lost without a word."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from CFSegmenterUI.segmentations import ijkToRas, newSegmentation
from CFSegmenterUI.taughtCase import MappedSegment, caseNumberOf, caseOf, markAsCase

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.structures import Vocabulary
from Testing.Scene.scans import GEOMETRIES, SHAPE, addTransform, addVolume, put
from Testing.Scene.test_segmentations import block, paint

VOCABULARY = Vocabulary.load()
LEFT, RIGHT = block((0, 0, 0), (3, 8, 7)), block((5, 1, 1), (9, 6, 5))
INSIDE = block((1, 2, 2), (2, 4, 4))


@pytest.fixture
def volume(scene):
    return addVolume(scene, affine=GEOMETRIES["oblique"])


@pytest.fixture
def segmentation(scene, volume):
    return newSegmentation(scene, volume)


def painted(node, volume, *segments):
    """Segments of (name, structure, mask, is complete), as the user would map them."""
    return [MappedSegment(paint(node, volume, name, mask), name, what, done) for name, what, mask, done in segments]


def test_labels_lie_on_the_grid_of_the_volume_voxel_for_voxel(volume, segmentation):
    mapped = painted(segmentation, volume, ("a", "liver", LEFT, True), ("b", "my duct", RIGHT, False))
    case = caseOf(volume, segmentation, mapped, VOCABULARY)
    assert case.values == {1: "liver", 2: "my duct"}
    assert case.annotated == ("liver",)
    assert case.labels.dtype == np.uint8
    np.testing.assert_array_equal(case.labels, LEFT + 2 * RIGHT.astype(np.uint8))
    np.testing.assert_array_equal(case.image, np.arange(np.prod(SHAPE)).reshape(SHAPE))
    np.testing.assert_allclose(case.affine, ijkToRas(volume))


def test_a_volume_under_a_transform_is_kept_where_it_is_in_the_world(scene, volume, segmentation):
    transform = addTransform(scene, "linear")
    put(volume, transform)
    put(segmentation, transform)
    case = caseOf(volume, segmentation, painted(segmentation, volume, ("a", "liver", LEFT, True)), VOCABULARY)
    np.testing.assert_array_equal(case.labels == 1, LEFT)
    assert np.abs(case.affine - ijkToRas(volume)).max() > 1


def test_a_part_inside_its_whole_is_written_over_it_whichever_comes_first(volume, segmentation):
    segments = [("k", "left kidney", LEFT, True), ("c", "left kidney cyst", INSIDE, True)]
    assert VOCABULARY.contains("left kidney", "left kidney cyst")
    for order in (segments, segments[::-1]):
        case = caseOf(volume, segmentation, painted(segmentation, volume, *order), VOCABULARY)
        named = {name: case.labels == value for value, name in case.values.items()}
        np.testing.assert_array_equal(named["left kidney cyst"], INSIDE)
        np.testing.assert_array_equal(named["left kidney"], LEFT & ~INSIDE)


def test_segments_that_overlap_by_mistake_are_named_with_the_size_of_the_overlap(volume, segmentation):
    mapped = painted(segmentation, volume, ("a", "liver", LEFT, True), ("b", "spleen", INSIDE, True))
    with pytest.raises(UserError, match="liver and spleen overlap in 4 voxels"):
        caseOf(volume, segmentation, mapped, VOCABULARY)


def test_two_segments_of_one_structure_are_one_structure_complete_when_both_are(volume, segmentation):
    mapped = painted(segmentation, volume, ("a", "liver", LEFT, True), ("b", "liver", RIGHT | INSIDE, False))
    case = caseOf(volume, segmentation, mapped, VOCABULARY)
    assert case.values == {1: "liver"}
    assert case.annotated == ()
    np.testing.assert_array_equal(case.labels == 1, LEFT | RIGHT)


def test_a_structure_that_the_scan_does_not_show_may_be_complete(volume, segmentation):
    empty = segmentation.GetSegmentation().AddEmptySegment("", "gallbladder")
    mapped = painted(segmentation, volume, ("a", "liver", LEFT, True))
    mapped.append(MappedSegment(empty, "gallbladder", "gallbladder", True))
    case = caseOf(volume, segmentation, mapped, VOCABULARY)
    assert case.annotated == ("liver", "gallbladder")
    assert set(np.unique(case.labels)) == {0, 1}


def test_a_new_structure_takes_color_and_code_of_its_segment_along(volume, segmentation):
    mapped = painted(segmentation, volume, ("a", "liver", LEFT, True), ("b", "my duct", RIGHT, True))
    segment = segmentation.GetSegmentation().GetSegment(mapped[1].segmentID)
    segment.SetColor(0, 0, 1)
    segment.SetTag(segment.GetTerminologyEntryTagName(), "A list~SCT^1^Body~SCT^2^Duct~^^~~^^~^^")
    (duct,) = caseOf(volume, segmentation, mapped, VOCABULARY).ownStructures
    assert (duct["name"], duct["color"], duct["type"]) == ("my duct", [0, 0, 255], ["2", "SCT", "Duct"])
    chosen = replace(mapped[1], term="A list~SCT^1^Body~SCT^3^Canal~^^~~^^~^^")
    (duct,) = caseOf(volume, segmentation, [chosen], VOCABULARY).ownStructures
    assert duct["type"] == ["3", "SCT", "Canal"]


def test_of_several_segments_of_a_new_structure_the_one_with_a_code_speaks(volume, segmentation):
    mapped = painted(segmentation, volume, ("a", "my duct", INSIDE, True), ("b", "my duct", RIGHT, True))
    segment = segmentation.GetSegmentation().GetSegment(mapped[1].segmentID)
    segment.SetTag(segment.GetTerminologyEntryTagName(), "A list~SCT^1^Body~SCT^2^Duct~^^~~^^~^^")
    (duct,) = caseOf(volume, segmentation, mapped, VOCABULARY).ownStructures
    assert duct["type"] == ["2", "SCT", "Duct"]


def test_what_is_missing_is_said_in_a_sentence(scene, volume, segmentation):
    mapped = painted(segmentation, volume, ("a", "", LEFT, True))
    with pytest.raises(UserError, match='what "a" is'):
        caseOf(volume, segmentation, mapped, VOCABULARY)
    with pytest.raises(UserError, match="No segment is checked"):
        caseOf(volume, segmentation, [], VOCABULARY)
    with pytest.raises(UserError, match="No segmentation is chosen"):
        caseOf(volume, None, [], VOCABULARY)
    with pytest.raises(UserError, match="No volume is chosen"):
        caseOf(None, segmentation, mapped, VOCABULARY)
    elsewhere = addVolume(scene, affine=GEOMETRIES["oblique"] + np.array([[0, 0, 0, 500.0]] + [[0] * 4] * 3))
    with pytest.raises(UserError, match="Nothing is painted inside"):
        caseOf(elsewhere, segmentation, [MappedSegment(mapped[0].segmentID, "a", "liver", True)], VOCABULARY)


def test_a_volume_remembers_which_case_of_which_folder_it_is(volume):
    assert caseNumberOf(volume, "/cases") is None
    markAsCase(volume, 12, "/my cases")
    assert caseNumberOf(volume, "/my cases") == 12
    assert caseNumberOf(volume, "/other cases") is None
