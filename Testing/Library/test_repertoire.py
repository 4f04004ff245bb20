"""What a model can be asked for, before any image is read."""

from __future__ import annotations

import pytest

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.repertoire import Repertoire
from CFSegmenterLib.structures import Vocabulary


@pytest.fixture(scope="module")
def abdomen() -> Repertoire:
    return Repertoire(("liver", "right kidney", "left kidney", "spleen"), Vocabulary.load(), "abdomen")


def test_all_that_was_taught_is_asked_for_unless_something_is_named(abdomen):
    assert abdomen.resolve_all(None) == ("liver", "right kidney", "left kidney", "spleen")


def test_any_name_of_a_structure_means_it_once(abdomen):
    assert abdomen.resolve_all(["kidney_left", "Left Kidney", "SPLEEN"]) == ("left kidney", "spleen")


def test_a_single_text_means_one_structure(abdomen):
    assert abdomen.resolve_all("spleen") == ("spleen",)


def test_a_whole_can_be_asked_for_where_all_its_parts_were_taught(abdomen):
    assert abdomen.structures[-1] == abdomen.resolve("Kidney") == "kidney"
    assert abdomen.members("kidney") == ("left kidney", "right kidney")
    one_sided = Repertoire(("left kidney",), Vocabulary.load())
    assert "kidney" not in one_sided.structures


def test_a_taught_whole_includes_its_taught_parts():
    brain = Repertoire(("brain", "left hippocampus"), Vocabulary.load())
    assert brain.members("brain") == ("brain", "left hippocampus")


def test_a_structure_of_no_vocabulary_is_found_by_what_it_was_called():
    assert Repertoire(("my lesion",), Vocabulary.load()).resolve("My  Lesion") == "my lesion"


def test_what_was_not_taught_is_answered_with_what_was(abdomen):
    with pytest.raises(UserError, match=r"'abdomen' was not taught 'brain'; it knows liver, .*kidney"):
        abdomen.resolve_all(["liver", "brain"])
    with pytest.raises(UserError, match="did you mean liver"):
        abdomen.resolve("livver")
