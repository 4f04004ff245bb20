"""What a case or a model says of a structure that the vocabulary does not know, and that the vocabulary comes first."""

from __future__ import annotations

import pytest

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.own_structures import agreed, entry_of, own_structure
from CFSegmenterLib.structures import Vocabulary

VOCABULARY = Vocabulary.load()

ALTERED = ["49755003", "SCT", "Morphologically Altered Structure"]
CYST = {"name": "adrenal cyst", "category": ALTERED, "type": ["367643001", "SCT", "Cyst"], "color": [214, 120, 60]}
MASS = {**CYST, "type": ["4147007", "SCT", "Mass"], "color": [1, 2, 3]}


def test_an_entry_says_code_color_and_region_and_comes_back_as_it_was():
    said = {**CYST, "modifier": ["7771000", "SCT", "Left"], "region": "abdomen", "context": "Our own list"}
    structure = own_structure(said)
    assert structure.terminology_entry().startswith(
        "Our own list~SCT^49755003^Morphologically Altered Structure~SCT^367643001^Cyst~SCT^7771000^Left~"
    )
    assert (structure.color, structure.region, structure.side) == ((214, 120, 60), "abdomen", "left")
    assert entry_of(structure) == said


def test_a_name_alone_is_enough_and_has_no_code_and_a_color_that_stays_the_same():
    structure = own_structure({"name": " My  Duct "})
    assert structure.name == "my duct" and structure.terminology_entry() == ""
    assert structure.color == own_structure({"name": "my duct"}).color != own_structure({"name": "my vein"}).color
    assert entry_of(structure).keys() == {"name", "color"}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": " "}, "name must be"),
        ({"type": ["1", "SCT"]}, "type must be"),
        ({"type": ["1", "SCT", "a~b"]}, "type must be"),
        ({"category": None}, "category and type"),
        ({"type": None, "category": None, "modifier": ["1", "SCT", "Left"]}, "category and type"),
        ({"color": [1, 2, 256]}, "color must be"),
        ({"context": "a~b"}, "context must be"),
        ({"part_of": "kidney"}, "unknown field part_of"),
    ],
)
def test_what_is_not_valid_is_said_with_the_name_of_the_structure(change, complaint):
    with pytest.raises(UserError, match=complaint):
        own_structure({**CYST, **change})
    with pytest.raises(UserError, match="an object"):
        own_structure("adrenal cyst")


def test_the_vocabulary_tells_of_its_own_names_and_asks_for_others_only():
    liver = own_structure({**CYST, "name": "liver"})
    other_liver = own_structure({**CYST, "name": "Livers"})
    grown = VOCABULARY.knowing([liver, other_liver, own_structure(CYST)])
    assert grown.find("liver") is VOCABULARY.find("liver") is grown.find("livers")
    assert grown.find("adrenal cyst").color == (214, 120, 60)
    assert grown.names() == (*VOCABULARY.names(), "adrenal cyst")
    assert "adrenal cyst" not in VOCABULARY
    assert VOCABULARY.knowing([liver]) is VOCABULARY


def test_a_structure_of_ones_own_is_found_by_its_very_name_and_overlaps_nothing():
    """Two names of one's own may differ by as little as the order of their words."""
    grown = VOCABULARY.knowing([own_structure({"name": "duct a"})])
    assert grown.get("a duct") is None
    assert not grown.overlaps("duct a", "liver") and not grown.contains("liver", "duct a")
    assert grown.twin("duct a") is None and grown.parts_of("duct a") == ()


def test_the_region_is_that_of_what_the_codes_name_where_nobody_says_it():
    kidney = VOCABULARY.find("kidney")
    renal = {"name": "renal fossa", "type": [kidney.type.value, "SCT", "Kidney"], "category": ALTERED}
    cyst = {**CYST, "anatomic_region": [kidney.type.value, "SCT", "Kidney"]}
    said = {**CYST, "name": "other", "region": "neck"}
    grown = VOCABULARY.knowing(map(own_structure, (renal, cyst, said, {**CYST, "name": "somewhere"})))
    assert [grown.find(name).region for name in ("renal fossa", "adrenal cyst", "other", "somewhere")] == [
        kidney.region,
        kidney.region,
        "neck",
        "",
    ]


def test_what_was_said_first_stays_and_a_code_that_is_passed_over_is_told_in_one_sentence():
    structures, passed_over = agreed(map(own_structure, (CYST, MASS, CYST, MASS)))
    assert structures == (own_structure(CYST),)
    (sentence,) = passed_over
    assert "adrenal cyst" in sentence and "367643001" in sentence and "4147007" in sentence


def test_other_words_and_another_color_for_the_same_code_are_no_contradiction():
    other = {**CYST, "type": ["367643001", "SCT", "Cystic lesion"], "color": [9, 9, 9]}
    assert agreed(map(own_structure, (CYST, other))) == ((own_structure(CYST),), ())


def test_what_was_left_open_first_is_filled_in_by_who_says_it_later():
    (structure,), passed_over = agreed(map(own_structure, ({"name": "adrenal cyst", "color": [7, 7, 7]}, CYST)))
    assert structure == own_structure({**CYST, "color": [7, 7, 7]}) and not passed_over
