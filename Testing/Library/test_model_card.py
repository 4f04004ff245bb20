"""The model card: complete, true of the manifest, and valid Markdown whatever the names are."""

from __future__ import annotations

import pytest

from CFSegmenterLib.model_card import write_card
from CFSegmenterLib.own_structures import own_structure


@pytest.fixture
def manifest(a_model):
    return a_model.manifest


ROW = {
    "structure": "liver",
    "source": "phantom_small",
    "modality": "mr-t2",
    "dice": 0.91234,
    "distance_mm": 1.2345,
    "cases": 2,
    "false_positives": 1,
}
SOURCE = {"modality": "mr-t2", "dice": 0.7, "distance_mm": None, "cases": 2, "structures": 4}


def test_the_card_says_what_the_model_is_made_of(manifest):
    card = write_card(manifest)
    for said in (
        "# tiny",
        "liver, right kidney, left kidney, spleen",
        "| phantom_small | MR-T2 | liver, right kidney, left kidney, spleen | 6 | 2 | CC0 (drawn by this project) |",
        "| small phantom | MR-T2 | 4 x 4 x 4 | 24 x 24 x 16 | zero mean and unit deviation of the foreground |",
        "cfsegmenter train",
        "not a medical device",
        "code directions",
        "Not measured yet",
        "6 training cases",
    ):
        assert said in card, said
    assert "phantom_small" not in write_card(manifest.model_copy(update={"sources": ()}))


def test_every_stage_of_a_training_is_told(manifest):
    last = {**manifest.training, "command": "cfsegmenter train --initial first", "iterations_done": 5, "hours": 0.5}
    first = {**manifest.training, "command": "cfsegmenter train", "iterations_done": 20, "hours": 1.5, "initial": None}
    card = write_card(manifest.model_copy(update={"training": {**last, "initial": first}}))
    assert "cfsegmenter train\ncfsegmenter train --initial first\n" in card
    assert "2 stages, each from the model of the one before, 25 iterations and 2.0 hours in all" in card
    assert "stages" not in write_card(manifest)


def test_codes_are_said_of_structures_that_no_vocabulary_knows(manifest):
    code = {"category": ["1", "SCT", "Body"], "type": ["2", "SCT", "Oddness"], "modifier": ["7771000", "SCT", "Left"]}
    own = tuple(map(own_structure, ({"name": "odd thing", **code}, {"name": "a lump"})))
    card = write_card(manifest.model_copy(update={"own_structures": own}))
    assert "coded by who taught them: odd thing (SCT 2 Oddness + SCT 7771000 Left)." in card
    assert "coded by" not in write_card(manifest)


def test_scores_stand_in_tables_per_source_and_per_structure(manifest):
    scores = {
        "split": {"phantom_small": "validation", "other": "test"},
        "structures": [ROW, {**ROW, "structure": "spleen", "dice": None, "distance_mm": None, "cases": 0}],
        "sources": {"phantom_small": SOURCE},
        "impossible": [{"source": "phantom_small", "structures": 3, "cases": 2, "ml_per_case": 0.456, "found": 0.25}],
    }
    card = write_card(manifest.model_copy(update={"scores": scores}))
    assert "| phantom_small | MR-T2 | 0.700 | – | 4 | 2 |" in card
    assert "| liver | phantom_small | 0.912 | 1.23 | 2 | 1 |" in card
    assert "| spleen | phantom_small | – | – | 0 | 1 |" in card
    assert "| phantom_small | 3 | 2 | 0.46 | 25% |" in card
    assert "validation (phantom_small), test (other)" in card and "Not measured yet" not in card


def test_text_prototypes_are_said_to_be_such(manifest):
    entries = [dict(entry) for entry in manifest.prototypes]
    entries[1].update(source="text", prompt="A scan of a liver", kept=0.5)
    entries[2].update(source="text", prompt="A scan of a kidney", kept=0.125)
    card = write_card(manifest.model_copy(update={"prototypes": tuple(entries), "parent": "1", "version": "2"}))
    assert "2 of 5 prototypes come from CLIP" in card and "0.12 to 0.50" in card
    assert "A scan of a liver" in card and "made from version 1" in card


def test_no_name_breaks_a_table(manifest):
    source = manifest.sources[0].model_copy(update={"licence": "CC BY | see\nhere", "name": "a|b"})
    card = write_card(manifest.model_copy(update={"sources": (source,)}))
    row = next(line for line in card.splitlines() if line.startswith("| a\\|b"))
    assert "CC BY \\| see here" in row and row.replace("\\|", "").count("|") == 7


def test_a_manifest_that_says_little_has_a_card_too(manifest):
    bare = manifest.model_copy(update={"training": {}, "sources": (), "scores": {}})
    card = write_card(bare)
    assert card.startswith("# tiny\n") and card.endswith("\n") and "None" not in card
