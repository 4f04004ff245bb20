"""Slicer understands the codes of every structure, also of those that its own terminologies do not list."""

from __future__ import annotations

import pytest
import slicer
from CFSegmenterUI.terminology import CONTEXT, entryOf, registerContext

from CFSegmenterLib.structures import Vocabulary

UNKNOWN = (127, 127, 127)
OWN = [structure for structure in Vocabulary.load() if structure.context == CONTEXT]


@pytest.fixture
def logic():
    """The logic of the module Terminologies before anything was loaded."""
    return slicer.vtkSlicerTerminologiesModuleLogic()


def colorIn(logic, structure):
    """The terminology's color for a structure; UNKNOWN where the logic finds its entry nowhere."""
    entry = slicer.vtkSlicerTerminologyEntry()
    assert logic.DeserializeTerminologyEntry(entryOf(structure), entry)
    logic.UpdateEntryFromLoadedTerminologies(entry, [], [])
    shown = entry.GetTypeModifierObject() if structure.modifier else entry.GetTypeObject()
    return tuple(shown.GetRecommendedDisplayRGBValue())


def test_every_structure_of_our_own_context_is_resolved_with_its_color(scene, logic, tmp_path):
    assert len(OWN) > 100
    assert {colorIn(logic, structure) for structure in OWN} == {UNKNOWN}
    registerContext(logic, tmp_path)
    wrong = [structure.name for structure in OWN if colorIn(logic, structure) != structure.color]
    assert not wrong


def test_the_context_is_loaded_once(scene, logic, tmp_path):
    registerContext(logic, tmp_path)
    assert logic.IsTerminologyContextLoaded(CONTEXT)
    for path in tmp_path.iterdir():
        path.unlink()
    registerContext(logic, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_segment_is_called_what_it_is_after_the_scene_was_loaded_again(scene, logic, tmp_path):
    registerContext(logic, tmp_path)
    cochlea = Vocabulary.load().find("left cochlea")
    segment = slicer.vtkSegment()
    segment.SetTerminology(entryOf(cochlea))
    entry = slicer.vtkSlicerTerminologyEntry()
    logic.DeserializeTerminologyEntry(segment.GetTerminology(), entry)
    told = logic.GetInfoStringFromTerminologyEntry(entry)
    assert "Cochlea" in told
    assert "Left" in told
