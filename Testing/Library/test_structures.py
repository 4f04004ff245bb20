"""The vocabulary: every name that the field uses is there, its codes are sound, parts and twins are right."""

from __future__ import annotations

import itertools
import json
import random

import pytest

from CFSegmenterLib.resources import resource_path
from CFSegmenterLib.spelling import mirrored, name_key
from CFSegmenterLib.structures import Structure, UnknownStructure, Vocabulary


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
