"""The files of a segmentation, and what one label map can and cannot hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from CFSegmenterLib.encoding import Segmentation
from CFSegmenterLib.results import (
    UNKNOWN_COLORS,
    ResultFiles,
    color_of,
    file_part,
    merged_labels,
    segments,
    write_segmentation,
)
from CFSegmenterLib.structures import Vocabulary

VOCABULARY = Vocabulary.load()


def a_segmentation(*masks: tuple[str, slice]) -> Segmentation:
    """Structures along a line of ten voxels, each in a layer of its own."""
    layers = []
    for value, (_, where) in enumerate(masks, start=1):
        layer = np.zeros((10, 2, 2), dtype=np.uint8)
        layer[where] = value
        layers.append(layer)
    names = tuple(name for name, _ in masks)
    return Segmentation(names, tuple(layers), {name: (n, n + 1) for n, name in enumerate(names)})


def line(merged: np.ndarray) -> list[int]:
    return merged[:, 0, 0].tolist()


def test_a_part_wins_over_its_whole_in_any_order():
    parts = ("left kidney", slice(0, 3)), ("kidney", slice(0, 6))
    merged, pairs = merged_labels(a_segmentation(*parts), VOCABULARY)
    assert line(merged) == [1, 1, 1, 2, 2, 2, 0, 0, 0, 0]
    assert pairs == [("kidney", "left kidney")]
    merged, pairs = merged_labels(a_segmentation(*reversed(parts)), VOCABULARY)
    assert line(merged) == [2, 2, 2, 1, 1, 1, 0, 0, 0, 0]
    assert pairs == [("kidney", "left kidney")]


def test_where_neither_contains_the_other_the_later_one_wins():
    segmentation = a_segmentation(("left hippocampus", slice(0, 6)), ("anterior hippocampus", slice(3, 8)))
    merged, pairs = merged_labels(segmentation, VOCABULARY)
    assert line(merged) == [1, 1, 1, 2, 2, 2, 2, 2, 0, 0]
    assert pairs == [("left hippocampus", "anterior hippocampus")]


def test_structures_that_share_no_voxel_are_no_pair():
    merged, pairs = merged_labels(a_segmentation(("liver", slice(0, 3)), ("spleen", slice(3, 5))), VOCABULARY)
    assert line(merged) == [1, 1, 1, 2, 2, 0, 0, 0, 0, 0] and pairs == []


def test_many_structures_need_wider_labels():
    layer = np.zeros((4, 4, 40), dtype=np.uint16)
    layer.flat[:300] = np.arange(1, 301)
    names = tuple(f"thing {n}" for n in range(1, 301))
    segmentation = Segmentation(names, (layer,), {name: (0, n) for n, name in enumerate(names, start=1)})
    merged, _ = merged_labels(segmentation, VOCABULARY)
    assert merged.dtype == np.uint16 and merged.max() == 300


def test_segments_carry_names_colors_codes_and_unique_ids():
    said = segments(a_segmentation(("left kidney", slice(0, 1)), ("my lesion", slice(1, 2))), VOCABULARY)
    assert [s.name for s in said] == ["left kidney", "my lesion"]
    assert "64033007" in said[0].terminology and said[1].terminology == ""
    assert said[0].color == VOCABULARY.find("left kidney").color and said[1].color in UNKNOWN_COLORS
    assert len({s.id for s in said}) == 2


def test_unknown_structures_get_colors_in_turn():
    count = len(UNKNOWN_COLORS)
    assert [color_of("lesion", n, VOCABULARY) for n in range(count + 1)] == [*UNKNOWN_COLORS, UNKNOWN_COLORS[0]]


@pytest.mark.parametrize(
    ("name", "part"),
    [("left kidney", "left_kidney"), ("T12/L1 disc", "T12_L1_disc"), ("../..", "structure"), ("Lésion 1", "Lésion_1")],
)
def test_any_name_makes_a_safe_part_of_a_file_name(name, part):
    assert file_part(name) == part
    assert Path(f"scan_{file_part(name)}.nii.gz").name == f"scan_{part}.nii.gz"


def test_files_are_named_after_the_image(tmp_path):
    files = ResultFiles(tmp_path, "ct.v2")
    planned = files.all(["left kidney"], similarity=True, margin=True)
    assert [p.name for p in planned] == [
        "ct.v2.seg.nrrd",
        "ct.v2_labels.nii.gz",
        "ct.v2_labels.json",
        "ct.v2_similarity_left_kidney.nii.gz",
        "ct.v2_margin.nii.gz",
    ]
    segmentation = a_segmentation(("liver", slice(0, 3)), ("spleen", slice(5, 6)))
    assert write_segmentation(files, segmentation, np.diag([1.0, 2, 3, 1]), VOCABULARY) == []
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in files.all([], similarity=False, margin=False)}
    assert json.loads(files.names.read_text()) == {"1": "liver", "2": "spleen"}
