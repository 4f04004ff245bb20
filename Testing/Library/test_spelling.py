"""Looking up: every spelling of a name is found, nothing is found by mistake, and typing errors are answered."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.spelling import name_key
from CFSegmenterLib.structures import UnknownStructure, Vocabulary


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load()


@pytest.mark.parametrize(
    "spelling",
    [
        *(
            "left kidney",
            "kidney_left",
            "kidney (left)",
            "Kidney, Left",
            "kidney L",
            "LKidney",
            "KidneyL",
            "KIDNEY-LEFT",
        ),
        *("Left Kidney", "LeftKidney", "leftkidney", "kidney [left]", "lt kidney", "  left   kidney ", "L. Kidney"),
        *("left kidneys", "kidney;left", "kidney/left", "the left kidney", "LEFT_KIDNEY", "Ki\u0301dney left"),
    ],
)
def test_a_left_kidney_is_found_by_any_order_of_words_case_and_punctuation(
    vocabulary: Vocabulary, spelling: str
) -> None:
    assert vocabulary.find(spelling).name == "left kidney"


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("oesophagus", "esophagus"),
        ("Grey Matter", "gray matter"),
        ("liver tumour", "liver tumor"),
        ("caecum", "cecum"),
        ("coeliac trunk", "celiac trunk"),
        ("kidneys", "kidney"),
        ("both kidneys", "kidney"),
        ("vertebra", "vertebrae"),
        ("hippocampi", "hippocampus"),
        ("hippocampus", "hippocampus"),
        ("lungs", "lung"),
        ("heart", "heart"),
        ("rib_left_01", "left rib 1"),
        ("left first rib", "left rib 1"),
        ("12th rib right", "right rib 12"),
        ("L5", "L5 vertebra"),
        ("vertebra L-5", "L5 vertebra"),
        ("atlas", "C1 vertebra"),
        ("left ventricle blood pool", "left ventricle"),
        ("Right Head of Femur", "right femoral head"),
        ("lens", "lens"),
    ],
)
def test_spellings_lead_to_the_structure_that_is_meant(vocabulary: Vocabulary, spelling: str, expected: str) -> None:
    assert vocabulary.find(spelling).name == expected


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "   ",
            "()",
            "and",
            "left",
            "L",
            "kidney left right",
            "left right kidney",
            "upright kidney",
            "rear",
            "lkidne",
        ),
        *("ventricle", "lobe", "kidney 2", "no kidney", "kidney liver", "rib 13", "L6", "left liver", "\ud800", "123"),
        *("left prostate", "anterior", "lower left lobe of the liver"),
    ],
)
def test_what_names_no_structure_or_more_than_one_is_not_found(vocabulary: Vocabulary, name: str) -> None:
    assert vocabulary.get(name) is None
    assert name not in vocabulary
    with pytest.raises(UnknownStructure):
        vocabulary.find(name)


def test_every_name_and_synonym_finds_its_own_structure_in_any_case(vocabulary: Vocabulary) -> None:
    for structure in vocabulary:
        for name in (structure.name, *structure.synonyms):
            for spelling in (name, name.upper(), name.lower(), name.title(), name.replace(" ", "_")):
                assert vocabulary.get(spelling) is structure, spelling


def test_words_that_are_run_together_never_find_another_structure(vocabulary: Vocabulary) -> None:
    found = 0
    for structure in vocabulary:
        for name in (structure.name, *structure.synonyms):
            words = [word.capitalize() for word in name.split()]
            for glued in ("".join(words), "".join(reversed(words)), name.replace(" ", "")):
                assert vocabulary.get(glued) in (structure, None), glued
                found += vocabulary.get(glued) is structure
    assert found > len(vocabulary)


def test_no_two_structures_share_a_key_whether_or_not_words_are_split(vocabulary: Vocabulary) -> None:
    owners: dict[frozenset[str], str] = {}
    for structure in vocabulary:
        for name in (structure.name, *structure.synonyms):
            assert owners.setdefault(name_key(name), structure.name) == structure.name


@settings(deadline=None)
@given(data=st.data())
def test_order_case_and_punctuation_make_no_difference(data: st.DataObject) -> None:
    vocabulary = Vocabulary.load()
    structure = data.draw(st.sampled_from(list(vocabulary)))
    name = data.draw(st.sampled_from([structure.name, *structure.synonyms]))
    words = data.draw(st.permutations(name.split()))
    separators = st.sampled_from([" ", "_", "  ", ", ", " - ", " (", ") ", "/", "; ", "__", " [", "] ", "\t", "."])
    cases = st.sampled_from([str.lower, str.upper, str.capitalize])
    text = "".join(data.draw(cases)(word) + data.draw(separators) for word in words)
    assert vocabulary.get(text) is structure


@settings(deadline=None)
@given(st.text())
def test_any_text_gets_an_answer(text: str) -> None:
    vocabulary = Vocabulary.load()
    if vocabulary.get(text) is None:
        assert all(name in vocabulary for name in vocabulary.nearest(text))


@settings(deadline=None)
@given(data=st.data())
def test_words_of_the_vocabulary_find_a_structure_only_where_they_are_one_of_its_names(data: st.DataObject) -> None:
    vocabulary = Vocabulary.load()
    every_word = sorted({word for name in vocabulary.names() for word in name.split()})
    text = " ".join(data.draw(st.lists(st.sampled_from(every_word), min_size=1, max_size=4)))
    structure = vocabulary.get(text)
    if structure is not None:
        assert name_key(text) in {name_key(name) for name in (structure.name, *structure.synonyms)}


def test_an_unknown_name_is_answered_with_the_nearest_ones(vocabulary: Vocabulary) -> None:
    with pytest.raises(UnknownStructure) as caught:
        vocabulary.find("kidny")
    assert isinstance(caught.value, UserError)
    assert caught.value.name == "kidny"
    assert caught.value.nearest == ("kidney", "left kidney", "right kidney")
    for part in ('"kidny"', '"left kidney"', '"right kidney"', "cfsegmenter structures"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("typo", "expected"),
    [
        ("L kidny", "left kidney"),
        ("kidny right", "right kidney"),
        ("livr", "liver"),
        ("right femer", "right femur"),
        ("hipocampus", "hippocampus"),
        ("oesofagus", "esophagus"),
        ("spinal chord", "spinal cord"),
        ("pituitry", "pituitary gland"),
        ("rib 3 lft", "left rib 3"),
        ("galbladder", "gallbladder"),
        ("esophagus wall", "esophagus"),
    ],
)
def test_the_first_of_the_nearest_is_what_a_typing_error_meant(
    vocabulary: Vocabulary, typo: str, expected: str
) -> None:
    assert vocabulary.get(typo) is None
    assert vocabulary.nearest(typo)[0] == expected


def test_the_side_that_was_asked_for_is_not_answered_with_the_other_one(vocabulary: Vocabulary) -> None:
    assert "right kidney" not in vocabulary.nearest("left kidny", 1)
    assert vocabulary.nearest("kidny left")[0] == "left kidney"


def test_as_many_nearest_names_come_as_were_asked_for_and_none_for_nonsense(vocabulary: Vocabulary) -> None:
    assert len(set(vocabulary.nearest("kidney thing", 7))) == len(vocabulary.nearest("kidney thing", 7)) == 7
    assert len(set(vocabulary.nearest("kidny", 5))) == 5
    assert vocabulary.nearest("kidney", 0) == vocabulary.nearest("kidney", -1) == []
    assert vocabulary.nearest("") == vocabulary.nearest("xqzzv") == []
    with pytest.raises(UnknownStructure, match="no name comes close"):
        vocabulary.find("xqzzv")


def test_the_error_survives_the_way_back_from_a_worker_process(vocabulary: Vocabulary) -> None:
    error = UnknownStructure("kidny", ["left kidney"])
    copied = pickle.loads(pickle.dumps(error))  # what multiprocessing does
    assert (str(copied), copied.name, copied.nearest) == (str(error), "kidny", ("left kidney",))
