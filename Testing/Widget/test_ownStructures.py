"""A model tells what a structure is that no vocabulary knows: in its segment, in its color, in the next case."""

from __future__ import annotations

import numpy as np
import pytest
from CFSegmenterUI.segmentMeaning import TISSUE, termOf
from CFSegmenterUI.session import RunOptions

from Testing.Widget.answeredWorker import manifest
from Testing.Widget.teachFixtures import (
    SHAPE,
    asked,
    box,
    link,
    node,
    paint,
    segmentation,
    session,
    teach,
    user,
    volume,
)

__all__ = ["link", "node", "segmentation", "session", "teach", "user", "volume"]

FOLDER = "/models/mine"
TERM = "A list~SCT^1^Body~SCT^999^Odd Organ~SCT^7771000^Left~Anatomic codes - DICOM master list~^^~^^"
OWN = {
    "name": "odd organ",
    "category": ["1", "SCT", "Body"],
    "type": ["999", "SCT", "Odd Organ"],
    "modifier": ["7771000", "SCT", "Left"],
    "color": [255, 0, 51],
    "context": "A list",
}
NAMES = ("background", "liver", "odd organ", "odd duct")


@pytest.fixture
def model(session, link):
    """A model that was taught two structures that the vocabulary does not know, and told what one of them is."""
    said = manifest("mine", prototypes=[{"name": name} for name in NAMES], own_structures=[OWN, {"name": "liver"}])
    session.refreshModels()
    link.last.answer({"models": [{"folder": FOLDER, "manifest": said}]})
    return session.modelAt(FOLDER)


def test_its_segments_have_code_and_color_of_the_model_and_those_of_the_vocabulary_its_own(
    model, session, link, volume, segmentation
):
    task = session.segment(volume, ["liver", "odd organ", "odd duct"], segmentation, RunOptions(FOLDER))
    asked(link, "encode").answer({"protocol_name": "abdomen CT"})
    layer = np.zeros(SHAPE, np.uint8)
    layer[0, 0, :3] = 1, 2, 3
    places = [{"name": name, "layer": 0, "value": value} for value, name in enumerate(NAMES[1:], 1)]
    asked(link, "segment").answer({"places": places}, {"layer0": layer})
    segments = {n: segmentation.GetSegmentation().GetSegment(i) for n, i in task.result.segments.items()}
    assert termOf(segments["odd organ"]) == TERM
    assert segments["odd organ"].GetColor() == (1, 0, 0.2)
    assert termOf(segments["liver"]) == session.vocabulary.find("liver").terminology_entry()
    assert TISSUE in termOf(segments["odd duct"]), "what Slicer says of a segment of which nobody says anything"


def test_its_classes_are_shown_in_its_colors(model, session, link, volume):
    task = session.best(volume, RunOptions(FOLDER))
    asked(link, "encode").answer({"protocol_name": "abdomen CT"})
    classes = np.zeros(SHAPE, np.int16)
    classes[0, 0, 0] = 2
    asked(link, "best").answer({"names": list(NAMES)}, {"map": classes})
    colors = task.result.GetDisplayNode().GetColorNode()
    color = [0.0] * 4
    assert colors.GetColor(1, color) and colors.GetColorName(1) == "odd organ"
    assert color[:3] == pytest.approx([1, 0, 0.2], abs=0.01)


def test_a_segment_with_its_code_is_taken_for_it_in_the_next_case(teach, model, node, volume, segmentation):
    segmentID = paint(segmentation, volume, "Segment_1", box((0, 0, 0), (2, 2, 2)))
    segment = segmentation.GetSegmentation().GetSegment(segmentID)
    segment.SetTag(segment.GetTerminologyEntryTagName(), TERM)
    node.model = FOLDER
    panel = teach.casesPanel
    panel.setParameterNode(node)
    assert panel.ui.mappingTable.cellWidget(0, 1).text == "odd organ"
    assert panel.ui.mappingTable.item(0, 3).text() == ""
