"""The vocabulary: every name that the field uses is found, nothing is found by mistake, parts and twins are right."""

from __future__ import annotations

import copy
import itertools
import json
import pickle
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import CFSegmenterLib
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.resources import resource_path
from CFSegmenterLib.structures import Structure, UnknownStructure, Vocabulary, mirrored, name_key


def words(text: str) -> list[str]:
    return text.split()


SIDES = ("left", "right")
RIBS = [f"rib_{side}_{number}" for side in SIDES for number in range(1, 13)]
VERTEBRAE = [f"vertebrae_{letter}{n}" for letter, last in (("C", 7), ("T", 12), ("L", 5)) for n in range(1, last + 1)]
PAIRED_TOTAL = words(
    "kidney adrenal_gland kidney_cyst subclavian_artery common_carotid_artery brachiocephalic_vein iliac_artery "
    "iliac_vena humerus scapula clavicula femur hip gluteus_maximus gluteus_medius gluteus_minimus autochthon iliopsoas"
)
TOTAL = [
    *words("spleen gallbladder liver stomach pancreas lung_upper_lobe_left lung_lower_lobe_left lung_upper_lobe_right"),
    *words("lung_middle_lobe_right lung_lower_lobe_right esophagus trachea thyroid_gland small_bowel duodenum colon"),
    *words("urinary_bladder prostate sacrum vertebrae_S1 heart aorta pulmonary_vein brachiocephalic_trunk"),
    *words("atrial_appendage_left superior_vena_cava inferior_vena_cava portal_vein_and_splenic_vein spinal_cord"),
    *words("brain skull sternum costal_cartilages"),
    *VERTEBRAE,
    *RIBS,
    *(f"{name}_{side}" for name in PAIRED_TOTAL for side in SIDES),
]
TOTAL_MR = [
    *words("spleen gallbladder liver stomach pancreas lung_left lung_right esophagus small_bowel duodenum colon"),
    *words("urinary_bladder prostate sacrum vertebrae intervertebral_discs spinal_cord heart aorta"),
    *words("inferior_vena_cava portal_vein_and_splenic_vein brain"),
    *(
        f"{name}_{side}"
        for name in PAIRED_TOTAL
        if name not in ("kidney_cyst", "subclavian_artery", "common_carotid_artery", "brachiocephalic_vein")
        for side in SIDES
    ),
]
AMOS = [
    *("spleen", "right kidney", "left kidney", "gall bladder", "esophagus", "liver", "stomach", "arota", "postcava"),
    *("pancreas", "right adrenal gland", "left adrenal gland", "duodenum", "bladder", "prostate/uterus"),
]
BTCV = [
    *("Spleen", "Right Kidney", "Left Kidney", "Gallbladder", "Esophagus", "Liver", "Stomach", "Aorta"),
    *("Inferior Vena Cava", "Portal and Splenic Vein", "Pancreas", "Right Adrenal Gland", "Left Adrenal Gland"),
]
SOURCES = {
    "acdc_cine_mr": ["Right Ventricle", "Myocardium", "Left Ventricle"],
    "btcv_ct": BTCV,
    "chaos_mr_t2": ["Liver", "Right Kidney", "Left Kidney", "Spleen"],
    "msd_hippocampus": ["Anterior Hippocampus", "Posterior Hippocampus"],
    "oasis_brain_t1": [
        "Brainstem",
        *(
            f"{side} {name}"
            for name in (
                *("Cerebellum", "Lateral Ventricle", "Thalamus", "Caudate", "Putamen", "Hippocampus", "Amygdala"),
                *("Pallidum", "Cerebral White Matter"),
            )
            for side in ("Right", "Left")
        ),
    ],
    "openkbp_hn_ct": ["Brainstem", "Spinal Cord", "Right Parotid", "Left Parotid", "Esophagus", "Larynx", "Mandible"],
}
CLIP_DRIVEN = {
    "Gall Bladder": "gallbladder",
    "Arota": "aorta",
    "Postcava": "inferior vena cava",
    "Portal Vein and Splenic Vein": "portal vein and splenic vein",
    "Right Adrenal Gland": "right adrenal gland",
    "Hepatic Vessel": "hepatic vessels",
    "Left Lung": "left lung",
    "Intestine": "intestine",
    "Rectum": "rectum",
    "Bladder": "urinary bladder",
    "Left Head of Femur": "left femoral head",
    "Right Head of Femur": "right femoral head",
    "Celiac Truck": "celiac trunk",
    "Kidney Tumor": "kidney tumor",
    "Liver Tumor": "liver tumor",
    "Pancreas Tumor": "pancreas tumor",
    "Lung Tumor": "lung tumor",
    "Colon Tumor": "colon tumor",
    "Kidney Cyst": "kidney cyst",
}
HEAD_AND_NECK = {
    "OpticNrv_L": "left optic nerve",
    "OpticChiasm": "optic chiasm",
    "Eye_R": "right eye",
    "Lens_L": "left lens",
    "Cochlea_R": "right cochlea",
    "Glnd_Submand_L": "left submandibular gland",
    "Glnd_Thyroid": "thyroid gland",
    "Parotid_L": "left parotid gland",
    "BrainStem": "brainstem",
    "SpinalCord": "spinal cord",
    "Bone_Mandible": "mandible",
    "Cavity_Oral": "oral cavity",
    "Femur_Head_L": "left femoral head",
    "BrachialPlex_R": "right brachial plexus",
}
FREESURFER = {
    "Left-Thalamus-Proper": "left thalamus",
    "Right-Accumbens-area": "right nucleus accumbens",
    "Brain-Stem": "brainstem",
    "4th-Ventricle": "fourth ventricle",
    "Left-Cerebellum-White-Matter": "left cerebellar white matter",
    "Right-Cerebellum-Cortex": "right cerebellar cortex",
    "CSF": "cerebrospinal fluid",
}


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.load()


# --- What the vocabulary holds ---------------------------------------------------------------------------------------


def test_the_vocabulary_holds_at_least_150_structures_and_all_its_names_differ(vocabulary: Vocabulary) -> None:
    assert len(vocabulary) >= 150
    assert len(set(vocabulary.names())) == len(vocabulary) == len(list(vocabulary))
    assert all(isinstance(structure, Structure) for structure in vocabulary)


def test_every_class_of_totalsegmentator_is_a_structure_of_its_own(vocabulary: Vocabulary) -> None:
    assert len(TOTAL) == len(set(TOTAL)) == 117
    assert len({vocabulary.find(name).name for name in TOTAL}) == 117
    assert len(TOTAL_MR) == len(set(TOTAL_MR)) == 50
    assert len({vocabulary.find(name).name for name in TOTAL_MR}) == 50


def test_every_class_of_amos_and_btcv_is_a_structure_of_its_own(vocabulary: Vocabulary) -> None:
    assert len({vocabulary.find(name).name for name in AMOS}) == len(AMOS) == 15
    assert len({vocabulary.find(name).name for name in BTCV}) == len(BTCV) == 13


@pytest.mark.parametrize("source", SOURCES)
def test_every_label_of_the_data_sources_is_a_structure_of_its_own(vocabulary: Vocabulary, source: str) -> None:
    names = {vocabulary.find(label).name for label in SOURCES[source]}
    assert len(names) == len(SOURCES[source])


@pytest.mark.parametrize(("name", "expected"), {**CLIP_DRIVEN, **HEAD_AND_NECK, **FREESURFER}.items())
def test_the_spellings_of_other_tools_are_found(vocabulary: Vocabulary, name: str, expected: str) -> None:
    assert vocabulary.find(name).name == expected


def test_background_is_no_structure(vocabulary: Vocabulary) -> None:
    assert vocabulary.get("background") is None
    assert "Background" not in vocabulary


def test_names_are_lower_case_but_for_abbreviations_and_persons(vocabulary: Vocabulary) -> None:
    odd = [name for name in vocabulary.names() if name != name.lower() and not name.endswith(("vertebra", "Willis"))]
    assert odd == []


def test_every_snomed_code_has_a_right_check_digit(vocabulary: Vocabulary) -> None:
    codes = {code for structure in vocabulary for code in _codes(structure)}
    assert len(codes) > 300
    assert {code.scheme for code in codes} == {"SCT"}
    assert [code for code in codes if not _is_snomed_identifier(code.value)] == []


def test_a_code_has_one_meaning_throughout(vocabulary: Vocabulary) -> None:
    meanings: dict[str, set[str]] = {}
    for structure in vocabulary:
        for code in _codes(structure):
            meanings.setdefault(code.value, set()).add(code.meaning)
    assert {value: texts for value, texts in meanings.items() if len(texts) > 1} == {}


def test_structures_that_share_all_codes_are_the_few_without_a_finer_code(vocabulary: Vocabulary) -> None:
    by_entry: dict[str, list[str]] = {}
    for structure in vocabulary:
        by_entry.setdefault(structure.terminology_entry("any"), []).append(structure.name)
    shared = [names for names in by_entry.values() if len(names) > 1]
    assert shared == [["hippocampus", "anterior hippocampus", "posterior hippocampus"]]


def test_a_side_in_the_codes_is_the_side_in_the_name(vocabulary: Vocabulary) -> None:
    for structure in vocabulary:
        if structure.side is not None:
            assert structure.side in structure.name.split(), structure.name


def test_the_packaged_file_has_one_structure_a_line(vocabulary: Vocabulary) -> None:
    lines = resource_path("structures.json").read_text(encoding="utf-8").splitlines()
    entries = [json.loads(line.rstrip(",")) for line in lines if line.lstrip().startswith('{"name"')]
    assert [entry["name"] for entry in entries] == list(vocabulary.names())


def test_only_twins_and_structures_that_slicer_colors_alike_share_a_color_within_a_region(
    vocabulary: Vocabulary,
) -> None:
    for first, second in itertools.combinations(vocabulary, 2):
        if first.color == second.color and first.region == second.region:
            twins = mirrored(name_key(first.name)) == name_key(second.name)
            family = vocabulary.contains(first.name, second.name) or vocabulary.contains(second.name, first.name)
            from_slicer = "General Anatomy" in first.context + second.context
            assert twins or family or from_slicer, (first.name, second.name)


# --- Looking up ------------------------------------------------------------------------------------------------------


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


# --- Wholes, parts and twins -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("left hippocampus", "anterior hippocampus"),
        ("posterior hippocampus", "right hippocampus"),
        ("hippocampus", "left hippocampus"),
        ("left hippocampus", "left hippocampus"),
        ("left lung", "left upper lung lobe"),
        ("lung", "right middle lobe"),
        ("brain", "left amygdala"),
        ("left temporal lobe", "left hippocampus"),
        ("portal vein", "portal vein and splenic vein"),
        ("left kidney cyst", "left kidney"),
        ("prostate/uterus", "prostate"),
        ("liver segment 4", "hepatic vessels"),
        ("spinal canal", "spinal cord"),
        ("skull", "mandible"),
    ],
)
def test_structures_that_may_share_voxels_overlap(vocabulary: Vocabulary, first: str, second: str) -> None:
    assert vocabulary.overlaps(first, second)
    assert vocabulary.overlaps(second, first)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("left hippocampus", "right hippocampus"),
        ("anterior hippocampus", "posterior hippocampus"),
        ("left lung", "right upper lobe"),
        ("left lung", "right lung"),
        ("liver", "spleen"),
        ("left ventricle", "myocardium"),
        ("left ventricle", "left lateral ventricle"),
        ("brainstem", "spinal cord"),
        ("anterior hippocampus", "left amygdala"),
        ("right kidney cyst", "left kidney"),
        ("left temporal lobe", "right hippocampus"),
        ("L1 vertebra", "T12 vertebra"),
        ("vertebrae", "intervertebral discs"),
    ],
)
def test_structures_that_exclude_each_other_do_not_overlap(vocabulary: Vocabulary, first: str, second: str) -> None:
    assert not vocabulary.overlaps(first, second)
    assert not vocabulary.overlaps(second, first)


@pytest.mark.parametrize("source", [*SOURCES, "total_mr"])
def test_the_labels_of_one_label_map_do_not_overlap(vocabulary: Vocabulary, source: str) -> None:
    labels = SOURCES.get(source, TOTAL_MR)
    assert [pair for pair in itertools.combinations(labels, 2) if vocabulary.overlaps(*pair)] == []


def test_totalsegmentator_labels_overlap_only_where_one_is_a_part_of_the_other(vocabulary: Vocabulary) -> None:
    pairs = {pair for pair in itertools.combinations(sorted(TOTAL), 2) if vocabulary.overlaps(*pair)}
    assert pairs == {
        ("atrial_appendage_left", "heart"),
        ("kidney_cyst_left", "kidney_left"),
        ("kidney_cyst_right", "kidney_right"),
        ("sacrum", "vertebrae_S1"),
    }


def test_overlap_is_mutual_and_what_contains_overlaps(vocabulary: Vocabulary) -> None:
    chosen = random.Random(3).sample(vocabulary.names(), 120)
    for first, second in itertools.combinations(chosen, 2):
        assert vocabulary.overlaps(first, second) == vocabulary.overlaps(second, first)
        if vocabulary.contains(first, second):
            assert vocabulary.overlaps(first, second)
            assert not vocabulary.contains(second, first)


def test_names_that_a_user_adds_overlap_only_themselves(vocabulary: Vocabulary) -> None:
    assert vocabulary.overlaps("my own thing", "My_Own Thing")
    assert not vocabulary.overlaps("my own thing", "liver")
    assert not vocabulary.overlaps("liver", "my own thing")
    assert not vocabulary.overlaps("my own thing", "another thing")
    assert not vocabulary.contains("my own thing", "liver")
    assert not vocabulary.contains("liver", "my own thing")
    assert vocabulary.twin("left thing of mine") is None


def test_a_whole_contains_its_parts_at_any_depth_and_by_any_name(vocabulary: Vocabulary) -> None:
    assert vocabulary.contains("Lungs", "left upper lobe")
    assert vocabulary.contains("left lung", "lung_upper_lobe_left")
    assert vocabulary.contains("spine", "L3")
    assert not vocabulary.contains("left lung", "right upper lobe")
    assert not vocabulary.contains("left upper lobe", "lung")
    assert not vocabulary.contains("liver", "liver")


def test_a_side_contains_what_the_whole_has_on_that_side(vocabulary: Vocabulary) -> None:
    assert vocabulary.contains("left kidney", "left kidney cyst")
    assert vocabulary.contains("right eye", "right lens")
    assert not vocabulary.contains("left kidney", "right kidney cyst")
    assert not vocabulary.contains("left kidney", "kidney cyst")
    assert not vocabulary.contains("left hippocampus", "anterior hippocampus")
    assert not vocabulary.contains("left rib 1", "left rib 2")


def test_parts_are_the_direct_ones_in_the_order_of_the_file(vocabulary: Vocabulary) -> None:
    names = [part.name for part in vocabulary.parts_of("hippocampus")]
    assert names == ["left hippocampus", "right hippocampus", "anterior hippocampus", "posterior hippocampus"]
    assert [part.division for part in vocabulary.parts_of("hippocampus")] == ["side", "side", "axis", "axis"]
    assert [part.name for part in vocabulary.parts_of("lung")][:2] == ["left lung", "right lung"]
    assert [part.division for part in vocabulary.parts_of("left lung")] == ["lobe", "lobe"]
    assert vocabulary.parts_of("spleen") == ()
    with pytest.raises(UnknownStructure):
        vocabulary.parts_of("nothing of the kind")


def test_every_whole_has_at_most_two_sides_and_they_are_twins(vocabulary: Vocabulary) -> None:
    for structure in vocabulary:
        sides = [part for part in vocabulary.parts_of(structure.name) if part.division == "side"]
        assert len(sides) in (0, 2), structure.name
        if sides:
            assert vocabulary.twin(sides[0].name) is sides[1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("left kidney", "right kidney"),
        ("kidney_right", "left kidney"),
        ("left rib 7", "right rib 7"),
        ("Left Cerebral White Matter", "right cerebral white matter"),
        ("left kidney cyst", "right kidney cyst"),
        ("left thyroid", "right thyroid lobe"),
        ("kidney", None),
        ("brainstem", None),
        ("liver", None),
        ("left ventricle", None),
        ("left upper lung lobe", None),
        ("no such thing", None),
    ],
)
def test_the_twin_is_what_takes_a_structures_place_in_a_mirror(
    vocabulary: Vocabulary, name: str, expected: str | None
) -> None:
    twin = vocabulary.twin(name)
    assert (twin and twin.name) == expected


def test_twins_are_mutual_and_alike_in_all_but_the_side(vocabulary: Vocabulary) -> None:
    pairs = 0
    for structure in vocabulary:
        twin = vocabulary.twin(structure.name)
        if twin is None:
            assert not (structure.symmetric and structure.side), structure.name
            continue
        pairs += 1
        assert vocabulary.twin(twin.name) is structure
        assert twin.region == structure.region
        assert twin.division == structure.division
        assert twin.color == structure.color
        assert name_key(twin.part_of or "") in (
            name_key(structure.part_of or ""),
            mirrored(name_key(structure.part_of or "")),
        )
        if structure.side is not None:
            assert {structure.side, twin.side} == set(SIDES)
            assert twin.type == structure.type
    assert pairs > 200


@pytest.mark.parametrize("name", ["brainstem", "spinal cord", "mandible", "left lung", "right kidney", "prostate"])
def test_a_mirror_image_keeps_paired_and_midline_structures(vocabulary: Vocabulary, name: str) -> None:
    assert vocabulary.find(name).symmetric


@pytest.mark.parametrize("name", ["liver", "spleen", "stomach", "left ventricle", "myocardium", "aorta", "pancreas"])
def test_a_mirror_image_does_not_keep_what_lies_on_one_side(vocabulary: Vocabulary, name: str) -> None:
    assert not vocabulary.find(name).symmetric


# --- Terminology -----------------------------------------------------------------------------------------------------


def test_the_terminology_entry_is_the_text_that_slicer_keeps_in_a_segment(vocabulary: Vocabulary) -> None:
    assert vocabulary.find("left kidney").terminology_entry() == (
        "Segmentation category and type - 3D Slicer General Anatomy list"
        "~SCT^123037004^Anatomical Structure~SCT^64033007^Kidney~SCT^7771000^Left"
        "~Anatomic codes - DICOM master list~^^~^^"
    )
    assert vocabulary.find("kidney cyst left").terminology_entry("mine") == (
        "mine~SCT^49755003^Morphologically Altered Structure~SCT^367643001^Cyst~^^"
        "~Anatomic codes - DICOM master list~SCT^64033007^Kidney~SCT^7771000^Left"
    )


def test_every_terminology_entry_has_its_seven_parts_of_three(vocabulary: Vocabulary) -> None:
    for structure in vocabulary:
        parts = structure.terminology_entry().split("~")
        assert len(parts) == 7, structure.name
        assert parts[0].startswith("Segmentation category and type - ")
        assert [part.count("^") for part in parts] == [0, 2, 2, 2, 0, 2, 2], structure.name


# --- The file --------------------------------------------------------------------------------------------------------

ENTRY = {
    "name": "left kidney",
    "category": ["123037004", "SCT", "Anatomical Structure"],
    "type": ["64033007", "SCT", "Kidney"],
    "color": [185, 102, 83],
    "region": "abdomen",
    "symmetric": True,
}


def write(folder: Path, *changes: dict) -> Path:
    path = folder / "mine.json"
    entries = [{key: value for key, value in {**copy.deepcopy(ENTRY), **change}.items()} for change in changes]
    path.write_text(json.dumps({"contexts": {"own": "Mine"}, "structures": entries}), encoding="utf-8")
    return path


def divided(folder: Path, filling: object) -> Path:
    """A file of kidney and lung with their sides, and the tip of a kidney."""
    names = {"kidney": None, "left kidney": "kidney", "lung": None, "left lung": "lung"}
    changes = [{"name": n, "part_of": whole, "division": whole and "side"} for n, whole in names.items()]
    path = write(folder, *changes, {"name": "tip", "part_of": "left kidney", "division": "tip"})
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**document, "filling": filling}), encoding="utf-8")
    return path


def test_a_vocabulary_can_be_read_from_any_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"synonyms": ["ren sinister"]},
        {"name": "left kidney tip", "part_of": "left kidney", "division": "tip"},
    )
    vocabulary = Vocabulary.load(str(path))
    assert vocabulary.names() == ("left kidney", "left kidney tip")
    assert vocabulary.find("Sinister, REN").name == "left kidney"
    assert vocabulary.find("left kidney").context == "Mine"
    assert vocabulary.contains("left kidney", "left kidney tip")


def test_the_packaged_vocabulary_is_read_once() -> None:
    assert Vocabulary.load() is Vocabulary.load()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"color": [0, 0, 256]}, "color"),
        ({"color": [0, 0]}, "color"),
        ({"color": [0, 0, True]}, "color"),
        ({"color": [0, 0, 1.5]}, "color"),
        ({"color": None}, "color"),
        ({"name": ""}, "name"),
        ({"name": 7}, "name"),
        ({"region": None}, "region"),
        ({"type": ["64033007", "SCT"]}, "type"),
        ({"type": ["64033007", "SCT", "Kid~ney"]}, "type"),
        ({"modifier": [7771000, "SCT", "Left"]}, "modifier"),
        ({"synonyms": "ren"}, "synonyms"),
        ({"synonyms": [""]}, "synonyms"),
        ({"symmetric": "yes"}, "symmetric"),
        ({"part_of": "left kidney"}, "together"),
        ({"division": "side"}, "together"),
        ({"context": "unheard of"}, "context"),
        ({"colour": [1, 2, 3]}, "unknown field colour"),
    ],
)
def test_an_entry_that_is_not_valid_is_named_with_what_is_wrong(tmp_path: Path, change: dict, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as caught:
        Vocabulary.load(write(tmp_path, {"name": "right kidney"}, change))
    assert "Structure 2" in str(caught.value)
    assert "mine.json" in str(caught.value)


def test_a_missing_field_is_named(tmp_path: Path) -> None:
    entry = {key: value for key, value in ENTRY.items() if key not in ("color", "type")}
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"contexts": {"own": "Mine"}, "structures": [entry]}), encoding="utf-8")
    with pytest.raises(UserError, match="lacks color, type"):
        Vocabulary.load(path)


def test_optional_fields_may_be_null(tmp_path: Path) -> None:
    nothing = dict.fromkeys(("synonyms", "modifier", "part_of", "division", "anatomic_region"))
    structure = Vocabulary.load(write(tmp_path, nothing)).find("left kidney")
    assert (structure.synonyms, structure.modifier, structure.part_of) == ((), None, None)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[]", "structures"),
        ("{}", "structures"),
        ('{"structures": []}', "structures"),
        ('{"structures": {}}', "structures"),
        ('{"structures": [1]}', "contexts"),
        ('{"structures": [1], "contexts": {"own": 1}}', "contexts"),
        ('{"structures": [1], "contexts": {"own": "a~b"}}', "contexts"),
        ('{"structures": [1], "contexts": {}}', "must be an object"),
        ("\x00", "not valid JSON"),
    ],
)
def test_a_file_that_is_no_vocabulary_is_refused_with_the_reason(tmp_path: Path, text: str, complaint: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=complaint):
        Vocabulary.load(path)


def test_a_file_that_is_missing_or_no_text_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        Vocabulary.load(tmp_path / "none.json")
    with pytest.raises(UserError, match="cannot be read"):
        Vocabulary.load(tmp_path)
    (tmp_path / "mine.json").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(UserError, match="not valid JSON"):
        Vocabulary.load(tmp_path / "mine.json")


@pytest.mark.parametrize("synonym", ["Kidney (left)", "LEFT kidneys", "l_kidney"])
def test_a_name_that_may_mean_two_structures_is_refused(tmp_path: Path, synonym: str) -> None:
    with pytest.raises(UserError, match='may mean "left kidney" or "spleen"'):
        Vocabulary.load(write(tmp_path, {}, {"name": "spleen", "synonyms": [synonym]}))


def test_a_structure_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="twice"):
        Vocabulary.load(write(tmp_path, {}, {}))


def test_a_name_without_a_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no word"):
        Vocabulary.load(write(tmp_path, {"synonyms": ["()"]}))


def test_a_part_of_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match='part of "kidney", which is not in the vocabulary'):
        Vocabulary.load(write(tmp_path, {"part_of": "kidney", "division": "side"}))


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_of_parts_is_refused(tmp_path: Path, length: int) -> None:
    names = ["heart", "liver", "lung"][:length]
    entries = [
        {"name": name, "part_of": names[(index + 1) % length], "division": "part"} for index, name in enumerate(names)
    ]
    with pytest.raises(UserError, match="part of itself"):
        Vocabulary.load(write(tmp_path, *entries))


@pytest.mark.parametrize(
    ("filling", "kidneys", "sides"),
    [
        (None, False, False),
        ({}, False, False),
        ({"everywhere": ["side"]}, True, True),
        ({"within": {"kidney": ["side"]}}, True, False),
        ({"everywhere": ["tip"], "within": {"lung": ["side"]}}, False, True),
    ],
)
def test_a_division_fills_every_whole_or_the_one_it_is_named_with(tmp_path, filling, kidneys, sides) -> None:
    vocabulary = Vocabulary.load(divided(tmp_path, filling))
    assert vocabulary.fills("side", "Kidneys") is kidneys
    assert vocabulary.fills("side", "lung") is sides


@pytest.mark.parametrize(
    ("filling", "complaint"),
    [
        (["side"], '"filling" .*mine.json is not valid'),
        ("side", "is not valid"),
        ({"everywhere": "side"}, "is not valid"),
        ({"everywhere": [""]}, "is not valid"),
        ({"within": ["kidney"]}, "is not valid"),
        ({"within": {"kidney": "side"}}, "is not valid"),
        ({"in": {"kidney": ["side"]}}, "is not valid"),
        ({"everywhere": ["half"]}, 'the division "half", by which nothing is divided'),
        ({"within": {"kidney": ["tip"]}}, 'the division "tip" of "kidney"'),
        ({"within": {"renal": ["side"]}}, 'the division "side" of "renal"'),
        ({"within": {"Kidney": ["side"]}}, "preferred name"),
    ],
)
def test_a_filling_that_is_not_valid_is_refused_with_the_reason(tmp_path: Path, filling, complaint: str) -> None:
    with pytest.raises(UserError, match=complaint):
        Vocabulary.load(divided(tmp_path, filling))


# --- Where the file is -----------------------------------------------------------------------------------------------


def test_packaged_files_are_found_and_a_missing_one_is_named() -> None:
    assert resource_path("structures.json").is_file()
    assert resource_path().is_dir()
    with pytest.raises(UserError, match="no/such/file is missing"):
        resource_path("no", "such", "file")


def test_an_installed_package_reads_its_own_resources_and_imports_nothing_heavy(tmp_path: Path) -> None:
    package = tmp_path / "CFSegmenterLib"
    (package / "resources").mkdir(parents=True)
    for name in ("__init__", "errors", "resources", "structures"):
        shutil.copy(Path(CFSegmenterLib.__file__).with_name(f"{name}.py"), package)
    shutil.copy(resource_path("structures.json"), package / "resources")
    # A folder of another package beside it must not be taken for ours.
    (tmp_path / "Resources").mkdir()
    (tmp_path / "Resources" / "structures.json").write_text("not ours", encoding="utf-8")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from CFSegmenterLib.structures import Vocabulary, __file__ as path\n"
        "assert path.startswith(sys.path[0]), path\n"
        "assert Vocabulary.load().find('LKidney').name == 'left kidney'\n"
        "heavy = {'numpy', 'torch', 'monai', 'nibabel', 'SimpleITK', 'matplotlib', 'open_clip'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-I", "-c", program], check=True, timeout=60)


def _codes(structure: Structure) -> list:
    fields = (
        structure.category,
        structure.type,
        structure.modifier,
        structure.anatomic_region,
        structure.anatomic_region_modifier,
    )
    return [code for code in fields if code is not None]


def _is_snomed_identifier(text: str) -> bool:
    """Check a SNOMED CT identifier's last digit (Verhoeff's dihedral check)."""

    def product(a: int, b: int) -> int:  # of the group of order ten of a pentagon's rotations and reflections
        turn = a + b if a < 5 else a - b
        return turn % 5 + 5 * ((a < 5) != (b < 5))

    step = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)
    total = 0
    for place, character in enumerate(reversed(text)):
        digit = int(character)
        for _ in range(place % 8):
            digit = step[digit]
        total = product(total, digit)
    return text.isdigit() and 6 <= len(text) <= 18 and total == 0
