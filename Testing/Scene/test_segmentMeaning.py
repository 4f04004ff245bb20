"""A segment's tag, terminology and name say which structure it is."""

from __future__ import annotations

import pytest
import slicer
from CFSegmenterUI.segmentations import newSegmentation, writeSegments
from CFSegmenterUI.segmentMeaning import isEmpty, meaningOf, nameOfTerm, ownEntryOf, structureOfTerm

from CFSegmenterLib.own_structures import own_structure
from CFSegmenterLib.structures import Vocabulary
from Testing.Scene.scans import addVolume
from Testing.Scene.test_segmentations import MADE, block

VOCABULARY = Vocabulary.load()
TISSUE = "3D Slicer General Anatomy list~SCT^85756007^Tissue~SCT^85756007^Tissue~^^~~^^~^^"
"""What Slicer says of a segment that nobody has said anything of."""


def aSegment(name, entry=None):
    segment = slicer.vtkSegment()
    segment.SetName(name)
    if entry is not None:
        segment.SetTag(segment.GetTerminologyEntryTagName(), entry)
    return segment


def termOf(name, context="a terminology of another program"):
    return VOCABULARY.find(name).terminology_entry(context)


def test_codes_say_more_than_a_name(scene):
    assert meaningOf(aSegment("red thing", termOf("right kidney")), VOCABULARY) == "right kidney"


def test_left_and_right_of_one_code_are_told_apart(scene):
    assert meaningOf(aSegment("kidney", termOf("left kidney")), VOCABULARY) == "left kidney"


def test_a_name_that_is_finer_than_its_code_is_taken(scene):
    assert meaningOf(aSegment("Kidney L", termOf("kidney")), VOCABULARY) == "left kidney"


def test_a_name_that_contradicts_its_code_is_not_taken(scene):
    assert meaningOf(aSegment("spleen", termOf("liver")), VOCABULARY) == "liver"


def test_without_a_code_any_name_of_a_structure_is_found(scene):
    assert meaningOf(aSegment("LKidney"), VOCABULARY) == "left kidney"


@pytest.mark.parametrize("name", ["Segment_1", "Segment 12", "segment"])
def test_a_segment_that_nobody_named_has_no_meaning(scene, name):
    assert meaningOf(aSegment(name, TISSUE), VOCABULARY) == ""


def test_a_name_that_nobody_knows_is_that_of_a_new_structure(scene):
    assert meaningOf(aSegment(" My  Duct ", TISSUE), VOCABULARY) == "my duct"


def test_a_segment_of_ours_is_what_it_was_made_as(scene):
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    written = writeSegments(node, volume, {"spleen": block((1, 1, 1), (3, 3, 3))}, MADE, VOCABULARY).segments
    segment = node.GetSegmentation().GetSegment(written["spleen"])
    segment.SetName("Segment_1")
    assert meaningOf(segment, VOCABULARY) == "spleen"


def test_every_structure_is_found_by_its_own_codes():
    """Those that share their codes with another are found as the first of them."""
    codes = {structure.terminology_entry("x"): structure for structure in reversed(list(VOCABULARY))}
    for structure in VOCABULARY:
        entry = structure.terminology_entry("x")
        assert structureOfTerm(entry, VOCABULARY) is codes[entry]


def test_a_term_outside_the_vocabulary_is_named_by_its_own_words():
    entry = "list~SCT^1^Body~SCT^999^Stapedius Muscle~SCT^7771000^Left~~^^~^^"
    assert nameOfTerm(entry, VOCABULARY) == "left stapedius muscle"
    assert nameOfTerm(termOf("liver"), VOCABULARY) == "liver"


STAPEDIUS = "A list~SCT^1^Body~SCT^999^Stapedius Muscle~SCT^7771000^Left~Anatomic codes~SCT^2^Ear~^^"


def test_a_new_structure_has_the_codes_and_the_terminology_that_were_chosen_for_it():
    entry = ownEntryOf("my muscle", (1, 0.5, 0), STAPEDIUS, VOCABULARY)
    assert entry == {
        "name": "my muscle",
        "color": [255, 128, 0],
        "category": ["1", "SCT", "Body"],
        "type": ["999", "SCT", "Stapedius Muscle"],
        "modifier": ["7771000", "SCT", "Left"],
        "anatomic_region": ["2", "SCT", "Ear"],
        "context": "A list",
    }
    same = own_structure(entry).terminology_entry()
    assert same == STAPEDIUS.replace("Anatomic codes", "Anatomic codes - DICOM master list")


@pytest.mark.parametrize("entry", ["", "nonsense", "a~b", "a~^^~SCT^2^b", TISSUE, termOf("liver")])
def test_a_new_structure_has_no_code_where_nobody_said_one_or_it_is_another_structures(entry):
    assert ownEntryOf("my duct", (0, 0, 1), entry, VOCABULARY) == {"name": "my duct", "color": [0, 0, 255]}


def test_a_code_that_the_model_was_taught_is_known_again_in_the_next_segmentation(scene):
    own = own_structure(ownEntryOf("my muscle", (1, 0, 0), STAPEDIUS, VOCABULARY))
    assert meaningOf(aSegment("red thing", STAPEDIUS), VOCABULARY.knowing([own])) == "my muscle"
    plain = own_structure({"name": "my duct"})
    assert meaningOf(aSegment("thing"), VOCABULARY.knowing([plain])) == "thing"


@pytest.mark.parametrize("entry", ["", "nonsense", "a~b"])
def test_what_is_no_term_is_no_structure(entry):
    assert structureOfTerm(entry, VOCABULARY) is None


def test_a_segment_on_the_layer_of_others_may_be_empty(scene):
    volume = addVolume(scene)
    node = newSegmentation(scene, volume)
    written = writeSegments(node, volume, {"liver": block((0, 0, 0), (2, 2, 2))}, MADE, VOCABULARY).segments
    segmentation = node.GetSegmentation()
    segmentID = segmentation.AddEmptySegment("", "duct")
    assert isEmpty(segmentation.GetSegment(segmentID))
    assert not isEmpty(segmentation.GetSegment(written["liver"]))
