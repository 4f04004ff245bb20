"""Structures of one piece: what is learned from annotations, and what it does to a mask."""

from __future__ import annotations

import numpy as np
import pytest

from CFSegmenterLib.pieces import bounding_boxes, drawn_in_one_piece, largest_piece

NAMES = ("background", "liver", "left kidney", "lymph nodes")


@pytest.fixture
def drawn() -> np.ndarray:
    """A liver of one piece, and lymph nodes of two."""
    labels = np.zeros((12, 10, 8), dtype=np.uint16)
    labels[1:6, 1:6, 1:6] = 1
    labels[8:10, 1:3, 1:3] = 3
    labels[8:10, 7:9, 5:7] = 3
    return labels


def test_a_box_is_found_around_every_label(drawn):
    boxes = bounding_boxes(drawn)
    assert boxes == {1: (slice(1, 6),) * 3, 3: (slice(8, 10), slice(1, 9), slice(1, 7))}


def test_the_largest_piece_is_kept_and_nothing_else(drawn):
    mask = drawn == 1
    speckled = mask.copy()
    speckled[10, 8, 6] = speckled[9, 1, 1] = True
    np.testing.assert_array_equal(largest_piece(speckled), mask)
    np.testing.assert_array_equal(largest_piece(mask), mask)
    assert not largest_piece(np.zeros((3, 3, 3), dtype=bool)).any()


def test_voxels_that_share_a_corner_are_one_piece():
    diagonal = np.eye(5, dtype=bool)[:, :, None] & np.ones(2, dtype=bool)
    np.testing.assert_array_equal(largest_piece(diagonal), diagonal)


def test_a_structure_is_drawn_in_one_piece_when_every_annotation_shows_it_so(drawn):
    assert drawn_in_one_piece([(drawn, NAMES)], NAMES) == {"liver": True, "lymph nodes": False}
    torn = drawn.copy()
    torn[3] = 0  # the same liver, in two pieces, in another scan
    assert drawn_in_one_piece([(drawn, NAMES), (torn, NAMES)], NAMES) == {"liver": False, "lymph nodes": False}


def test_what_is_drawn_in_part_does_not_tell_of_how_many_pieces_it_is(drawn):
    slices = drawn.copy()
    slices[1::2] = 0
    assert drawn_in_one_piece([(drawn, NAMES), (slices, ["lymph nodes"])], NAMES)["liver"]
    assert drawn_in_one_piece([(slices, [])], NAMES) == {}


def test_a_loose_voxel_of_an_annotation_is_forgiven(drawn):
    drawn[11, 9, 7] = 1
    assert drawn_in_one_piece([(drawn, NAMES)], NAMES)["liver"]


def test_what_is_drawn_nowhere_is_not_called_drawn_in_one_piece(drawn):
    assert "left kidney" not in drawn_in_one_piece([(drawn, NAMES)], NAMES)
    assert drawn_in_one_piece([], NAMES) == {}
