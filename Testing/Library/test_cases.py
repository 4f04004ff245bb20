from __future__ import annotations

import json
from pathlib import Path

import pytest

from CFSegmenterLib.cases import SPLITS, read_case_lists, structures_of
from CFSegmenterLib.errors import UserError

ABDOMEN = {"1": "liver", "2": "spleen"}


def an_entry(name: str = "a", **said) -> dict:
    return {"image": f"images/{name}.nii.gz", "label": f"labels/{name}.nii.gz", **said}


def written(folder: Path, file: str = "dataset.json", missing: tuple[str, ...] = (), **said) -> Path:
    """A case list, and an empty file for everything that it lists; what is None is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    said = {"name": "abdomen", "modality": "ct", "labels": ABDOMEN, "training": [an_entry()], **said}
    said = {key: value for key, value in said.items() if value is not None}
    for split in SPLITS:
        for entry in said.get(split, ()):
            if isinstance(entry, dict):
                for key in ("image", "label"):
                    path = folder / str(entry.get(key, "nothing"))
                    path.parent.mkdir(parents=True, exist_ok=True)
                    if path.name not in missing:
                        path.touch()
    path = folder / file
    path.write_text(json.dumps(said), encoding="utf-8")
    return path


def read(*paths: Path):
    return read_case_lists(paths)


def sentence(*paths: Path) -> str:
    with pytest.raises(UserError) as caught:
        read(*paths)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_case_list_says_where_its_cases_are_and_what_their_labels_mean(tmp_path):
    path = written(
        tmp_path,
        licence="CC BY 4.0",
        training=[an_entry("a", subject="Ann"), an_entry("b", subject="Bob")],
        validation=[an_entry("c", subject="Cy")],
        test=[an_entry("d", subject="Di")],
    )
    (found,) = read(path)
    assert (found.source, found.modality, found.licence) == ("abdomen", "ct", "CC BY 4.0")
    assert found.structures == ("liver", "spleen")
    assert [len(found.of(split)) for split in SPLITS] == [2, 1, 1]
    case = found.of("training")[0]
    assert case.image == tmp_path / "images/a.nii.gz" and case.labels == tmp_path / "labels/a.nii.gz"
    assert (case.source, case.modality, case.subject, case.split) == ("abdomen", "ct", "Ann", "training")
    assert case.values == {1: "liver", 2: "spleen"}
    assert case.annotated == ("liver", "spleen")


def test_what_was_drawn_in_part_is_said_for_the_file_or_for_a_case(tmp_path):
    entries = [an_entry("a"), an_entry("b", partly=[]), an_entry("c", annotated=["Spleen", "liver"])]
    (found,) = read(written(tmp_path, annotated=["liver"], partly=["Spleen"], training=entries))
    said = [(case.annotated, case.partly) for case in found.cases]
    assert said == [(("liver",), ("spleen",)), (("liver",), ()), (("spleen", "liver"), ())]
    assert "'pancreas' is declared as drawn partly" in sentence(written(tmp_path, partly=["pancreas"]))


def test_a_list_of_the_medical_segmentation_decathlon_is_read_as_it_is(tmp_path):
    path = written(
        tmp_path,
        name="Hippocampus",
        description="Left and right hippocampus",
        tensorImageSize="3D",
        numTraining=1,
        modality={"0": "MRI"},
        labels={"0": "background", "1": "Anterior", "2": "Posterior"},
        training=[{"image": "./imagesTr/h_1.nii.gz", "label": "./labelsTr/h_1.nii.gz"}],
        test=["./imagesTs/h_2.nii.gz", "./imagesTs/h_3.nii.gz"],
    )
    (found,) = read(path)
    assert found.source == "Hippocampus"
    assert found.modality == "mr"  # as DICOM says it, and so every scan that comes to be segmented
    assert found.of("training")[0].values == {1: "anterior", 2: "posterior"}
    assert found.of("training")[0].subject == "./imagesTr/h_1.nii.gz"
    assert found.of("test") == ()  # listed by name alone: there is nothing to compare an answer with
    assert found.licence == "not stated"


def test_labels_may_stand_the_other_way_round_as_the_decathlons_successors_write_them(tmp_path):
    (found,) = read(written(tmp_path, labels={"background": 0, "spleen": 2, "liver": 1}))
    assert found.cases[0].values == {1: "liver", 2: "spleen"}
    assert found.structures == ("liver", "spleen")


def test_structures_get_their_preferred_names_and_strangers_keep_their_own(tmp_path):
    labels = {"1": "Kidney (left)", "2": "kidney_right", "3": "My  Own\tThing", "4": "Parotid_L"}
    (found,) = read(written(tmp_path, labels=labels))
    assert found.structures == ("left kidney", "right kidney", "my own thing", "left parotid gland")


def test_several_label_values_may_stand_for_one_structure(tmp_path):
    (found,) = read(written(tmp_path, labels={"1": "liver", "2": "Liver", "3": "spleen"}))
    assert found.cases[0].values == {1: "liver", 2: "liver", 3: "spleen"}
    assert found.structures == ("liver", "spleen")
    assert found.cases[0].annotated == ("liver", "spleen")


@pytest.mark.parametrize(
    ("said", "modality"),
    [("CT", "ct"), ("MR T2", "mr-t2"), ("mr_cine", "mr-cine"), ({"0": "CT"}, "ct"), ("MRI", "mr"), ("MRI_T1", "mr-t1"),
     ("T1w", "mr-t1"),
     ({"0": " Mr-T1 "}, "mr-t1"), ("mrimaging", "mrimaging")],
)  # fmt: skip
def test_a_modality_is_written_in_one_way(tmp_path, said, modality):
    assert read(written(tmp_path, modality=said))[0].modality == modality


def test_what_is_annotated_may_be_said_for_the_file_and_for_a_case(tmp_path):
    path = written(
        tmp_path,
        annotated=["Spleen"],
        training=[an_entry("a"), an_entry("b", annotated=["liver"]), an_entry("c", annotated=[])],
    )
    assert [case.annotated for case in read(path)[0].cases] == [("spleen",), ("liver",), ()]
    assert read(path)[0].structures == ("liver", "spleen")


def test_a_structure_that_is_named_twice_as_annotated_counts_once(tmp_path):
    path = written(tmp_path, training=[an_entry("a", annotated=["liver", "Liver", "spleen"])])
    assert read(path)[0].cases[0].annotated == ("liver", "spleen")


def test_one_file_may_list_several_sources(tmp_path):
    path = written(
        tmp_path,
        name=None,
        modality=None,
        labels=None,
        licence="CC0",
        training=[
            an_entry("a", source="abdomen", modality="CT", labels=ABDOMEN),
            an_entry("b", source="brain", modality="mr-t1", labels={"hippocampus": 4}),
            an_entry("c", source="abdomen", modality="ct", labels={"7": "pancreas"}, annotated=["pancreas"]),
        ],
        validation=[an_entry("d", source="brain", modality="mr-t1", labels={"4": "hippocampus"})],
    )
    abdomen, brain = read(path)
    assert (abdomen.source, abdomen.modality, brain.source, brain.modality) == ("abdomen", "ct", "brain", "mr-t1")
    assert abdomen.structures == ("liver", "spleen", "pancreas") and brain.structures == ("hippocampus",)
    assert [c.values for c in abdomen.cases] == [{1: "liver", 2: "spleen"}, {7: "pancreas"}]
    assert [c.annotated for c in abdomen.cases] == [("liver", "spleen"), ("pancreas",)]
    assert [c.split for c in brain.cases] == ["training", "validation"]
    assert abdomen.licence == brain.licence == "CC0"


def test_what_a_case_says_wins_over_the_file(tmp_path):
    other = an_entry("b", source="other", modality="mr", labels={"3": "liver"})
    path = written(tmp_path, training=[an_entry("a"), other])
    first, second = read(path)
    assert (first.source, first.modality, first.cases[0].values) == ("abdomen", "ct", {1: "liver", 2: "spleen"})
    assert (second.source, second.modality, second.cases[0].values) == ("other", "mr", {3: "liver"})


def test_several_files_make_several_sources_in_their_order(tmp_path):
    lists = read(
        written(tmp_path / "z", name="z"),
        written(tmp_path / "a", name="a", labels={"1": "liver", "2": "pancreas"}),
    )
    assert [each.source for each in lists] == ["z", "a"]
    assert structures_of(lists) == ("liver", "spleen", "pancreas")


def test_a_path_in_a_list_may_be_absolute(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for name in ("image.nii.gz", "label.nii.gz"):
        (elsewhere / name).touch()
    entry = {key: str(elsewhere / f"{key}.nii.gz") for key in ("image", "label")}
    assert read(written(tmp_path / "list", training=[entry]))[0].cases[0].image == elsewhere / "image.nii.gz"


@pytest.mark.parametrize(
    ("first", "second"), [("training", "validation"), ("training", "test"), ("validation", "test")]
)
def test_a_subject_in_two_splits_is_refused_without_being_named(tmp_path, first, second):
    entries = {first: [an_entry("a", subject="Jane Doe")], second: [an_entry("b", subject="Jane Doe")]}
    found = sentence(written(tmp_path, **{"training": [], **entries}))
    assert "1 subject(s) stand in more than one of training, validation, test" in found
    assert "Jane" not in found


def test_an_image_in_two_splits_is_one_subject(tmp_path):
    assert "1 subject(s)" in sentence(written(tmp_path, validation=[an_entry("a")]))


def test_several_images_of_a_subject_in_one_split_are_fine(tmp_path):
    path = written(tmp_path, training=[an_entry("a", subject="Ann"), an_entry("b", subject="Ann")])
    assert len(read(path)[0].cases) == 2


def test_subjects_of_different_sources_may_have_the_same_number(tmp_path):
    path = written(tmp_path, training=[an_entry("a", subject="1")], validation=[an_entry("b", subject="1", source="c")])
    assert len(read(path)) == 2


@pytest.mark.parametrize("key", ["name", "modality", "labels"])
def test_what_neither_the_file_nor_a_case_says_is_asked_for(tmp_path, key):
    assert f"does not say '{key}', neither for itself nor for every case" in sentence(written(tmp_path, **{key: None}))


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"labels": {"one": "liver"}}, "label value 'one' is not a whole number"),
        ({"labels": {"-1": "liver"}}, "label value '-1' is not a whole number of 0 or more"),
        ({"labels": {"1.5": "liver"}}, "label value '1.5' is not a whole number"),
        ({"labels": {"²": "liver"}}, "label value '²' is not a whole number"),
        ({"labels": {"1": " "}}, "label value 1 has no name"),
        ({"labels": {"0": "background"}}, "lists no structure under 'labels'"),
        ({"labels": {"3": "Background"}}, "lists no structure under 'labels'"),
        ({"labels": {"liver": 1, "spleen": 1}}, "at 'labels': Value error, the value 1 stands for two structures"),
        ({"labels": {"liver": [1, 2]}}, "not as expected at 'labels.liver'"),
        ({"labels": ["liver"]}, "not as expected at 'labels'"),
        ({"modality": {"0": "T2", "1": "ADC"}}, "images with several channels are not supported"),
        ({"modality": {}}, "images with several channels are not supported"),
        ({"annotated": ["pancreas"]}, "'pancreas' is declared as annotated but no label value stands for it; the "
         "labels are liver, spleen"),
        ({"training": [an_entry(annotated=["kidney"])]}, "'kidney' is declared as annotated"),
        ({"training": [{"image": "a.nii.gz"}]}, "not as expected at 'training.0.label': Field required"),
        ({"validation": [{"label": "a.nii.gz"}]}, "not as expected at 'validation.0.image': Field required"),
        ({"training": ["a.nii.gz"]}, "not as expected at 'training.0'"),
        ({"training": "all"}, "not as expected at 'training'"),
        ({"training": [an_entry(subject=5)]}, "not as expected at 'training.0.subject'"),
        ({"training": []}, "There is no case to work on"),
        ({"training": [an_entry("a"), an_entry("b", modality="mr")]}, "has images of ct, mr; make it a source"),
    ],
)  # fmt: skip
def test_a_list_that_cannot_be_used_gets_one_sentence(tmp_path, said, expected):
    assert expected in sentence(written(tmp_path, **said))


@pytest.mark.parametrize("file", ["images/a.nii.gz", "labels/a.nii.gz"])
def test_a_file_that_does_not_exist_is_named(tmp_path, file):
    path = written(tmp_path)
    (tmp_path / file).unlink()
    assert f"lists {tmp_path / file}, which does not exist" in sentence(path)


def test_a_source_in_two_files_is_refused(tmp_path):
    first, second = written(tmp_path / "a"), written(tmp_path / "b")
    found = sentence(first, second)
    assert f"The source 'abdomen' stands in {first} and in {second}" in found
    assert len(read(first, first)) == 1


def test_no_list_at_all_is_refused():
    assert "There is no case to work on" in sentence()


@pytest.mark.parametrize("content", [b"", b"{'name': 1}", b"\xff\xfe\x00", b"[1, 2"])
def test_a_file_that_is_not_json_is_named(tmp_path, content):
    path = tmp_path / "dataset.json"
    path.write_bytes(content)
    assert f"The case list {path} is not valid JSON" in sentence(path)


def test_json_that_is_no_case_list_is_named(tmp_path):
    path = tmp_path / "dataset.json"
    path.write_text("[1, 2]")
    assert f"The case list {path} is not as expected at 'the top'" in sentence(path)


def test_a_list_that_cannot_be_read_is_named(tmp_path):
    assert "cannot be read: No such file" in sentence(tmp_path / "none.json")
    assert "cannot be read: Is a directory" in sentence(tmp_path)


# --- structures that the vocabulary does not know ---

CYST = {
    "name": "Adrenal Cyst",
    "category": ["49755003", "SCT", "Morphologically Altered Structure"],
    "type": ["367643001", "SCT", "Cyst"],
    "color": [214, 120, 60],
}


def test_a_list_written_by_hand_gives_new_structures_code_and_color_once_for_all_or_for_a_case(tmp_path):
    labels = {"1": "liver", "2": "adrenal cyst"}
    own = an_entry("b", own_structures=[{**CYST, "color": [1, 2, 3]}])
    path = written(tmp_path, labels=labels, own_structures=[CYST], training=[an_entry("a"), own])
    first, second = read(path)[0].cases
    (cyst,) = first.own_structures
    assert (cyst.name, cyst.color, cyst.type.value) == ("adrenal cyst", (214, 120, 60), "367643001")
    assert [each.color for each in second.own_structures] == [(1, 2, 3)]


def test_what_is_said_of_a_structure_of_the_vocabulary_is_not_heard(tmp_path):
    path = written(tmp_path, own_structures=[{**CYST, "name": "Livers"}])
    assert read(path)[0].cases[0].own_structures == ()


@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        ([{**CYST, "type": None}], "category and type"),
        ([{**CYST, "patient": "Ann"}], "unknown field patient"),
        ({"adrenal cyst": CYST}, "list of structures"),
        ([CYST], "'adrenal cyst' but no label value stands for it"),
    ],
)
def test_what_is_said_of_a_new_structure_is_checked(tmp_path, said, complaint):
    assert complaint in sentence(written(tmp_path, own_structures=said))
    assert complaint in sentence(written(tmp_path, training=[an_entry(own_structures=said)]))
