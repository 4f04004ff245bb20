"""`cfsegmenter cases`: annotated images into a case folder, and out of it again."""

from __future__ import annotations

import numpy as np
import pytest

from CFSegmenterLib.case_folder import CaseFolder
from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.prepared import load_case
from Testing.CommandLine.conftest import hidden_files, table_of
from Testing.Library.conftest import save_nifti

NAMED = "1=liver, 2 = Kidney Right,3=left kidney,4=spleen"


@pytest.fixture
def a_label_file(a_small_phantom, tmp_path):
    """The labels of `a_small_phantom` as a NIfTI file."""
    return save_nifti(tmp_path / "drawn.nii.gz", a_small_phantom.labels, a_small_phantom.affine)


@pytest.fixture
def adding(a_small_file, a_label_file, tmp_path):
    """Arguments that add a case, but for what is drawn completely."""
    return ["cases", "add", tmp_path / "cases", a_small_file, a_label_file, "-s", NAMED, "--modality", "mr-t2"]


def test_an_annotated_image_is_copied_into_the_folder(cfsegmenter, adding, a_small_phantom, tmp_path):
    result = cfsegmenter(*adding, "--complete", "liver, spleen")
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    (row,) = table_of(result.stdout)
    assert row == {
        "case": "1",
        "split": "training",
        "source": "mr-t2 cases",
        "modality": "mr-t2",
        "subject": "subject 1",
        "structures": "liver, right kidney, left kidney, spleen",
        "complete": "liver, spleen",
    }
    (case,) = read_case_lists([tmp_path / "cases" / "dataset.json"])[0].cases
    volume, labels = load_case(case)
    np.testing.assert_array_equal(volume.array, a_small_phantom.image)
    np.testing.assert_array_equal(labels, a_small_phantom.labels)
    assert case.annotated == ("liver", "spleen")
    assert hidden_files(tmp_path / "cases") == []


def test_cases_are_listed_and_taken_back(cfsegmenter, refused, adding, a_small_phantom, tmp_path):
    said = (["--split", "validation"], ["--subject", "Doe"], ["--subject", "doe", "--source", "mine"])
    for number, more in enumerate(said):
        adding[3] = save_nifti(tmp_path / f"{number}.nii.gz", a_small_phantom.image + number, a_small_phantom.affine)
        assert cfsegmenter(*adding, "-c", "all", *more).exit_code == 0
    listed = table_of(cfsegmenter("cases", "list", tmp_path / "cases").stdout)
    assert [(row["case"], row["split"], row["source"], row["subject"]) for row in listed] == [
        ("1", "validation", "mr-t2 cases", "subject 1"),
        ("2", "training", "mr-t2 cases", "subject 2"),
        ("3", "training", "mine", "subject 2"),
    ]
    result = cfsegmenter("cases", "withdraw", tmp_path / "cases", 1, 3)
    assert result.exit_code == 0 and result.stdout == "" and "Case 3 is withdrawn" in result.stderr
    assert [case.number for case in CaseFolder.open(tmp_path / "cases").cases] == [2]
    assert "was withdrawn; there are 2" in refused("cases", "withdraw", tmp_path / "cases", 3)


def test_a_name_outside_the_vocabulary_is_taken_with_a_question(cfsegmenter, adding, tmp_path):
    adding[6] = "1=livr,2=right kidney,3=left kidney,4=spleen"
    result = cfsegmenter(*adding, "-c", "livr")
    assert result.exit_code == 0
    assert "'livr' is not in the vocabulary" in result.stderr and "did you mean liver" in result.stderr
    assert CaseFolder.open(tmp_path / "cases").cases[0].annotated == ("livr",)


@pytest.mark.parametrize(
    ("place", "said", "why"),
    [
        (3, "gone.nii.gz", "image gone.nii.gz does not exist"),
        (4, "gone.nii.gz", "label map gone.nii.gz does not exist"),
        (6, "liver", "'liver' is not a value and its structure"),
        (6, "1=", "'1=' is not a value"),
        (6, "one=liver", "'one=liver' is not a value"),
        (6, "1=liver,1=spleen", "value 1 stands for two structures"),
        (6, " , ", "Nothing stands in --structures"),
        (6, "1=liver", "the value 2, which no structure was named for"),
        (6, "0=liver", "label value 0"),
        (8, " ", "what made the image"),
        (10, "pancreas", "'pancreas' is said to be drawn completely"),
        (10, ",", "No structure is said to be drawn completely"),
    ],
)
def test_what_cannot_be_added_is_answered_with_one_sentence(refused, adding, tmp_path, place, said, why):
    arguments = [*adding, "--complete", "all"]
    arguments[place] = said
    assert why in refused(*arguments)
    assert not (tmp_path / "cases").exists()


def test_labels_on_another_grid_are_refused(refused, adding, a_small_phantom, tmp_path):
    affine = a_small_phantom.affine.copy()
    affine[0, 3] += 5
    save_nifti(tmp_path / "moved.nii.gz", a_small_phantom.labels, affine)
    adding[4] = tmp_path / "moved.nii.gz"
    assert "does not lie on the grid" in refused(*adding, "-c", "all")


def test_a_subject_does_not_change_its_split(cfsegmenter, refused, adding):
    cfsegmenter(*adding, "-c", "all", "--subject", "Doe")
    said = refused(*adding, "-c", "all", "--subject", "Doe", "--split", "validation")
    assert "another of its subject, is for training" in said


def test_folders_that_hold_no_cases_are_explained(refused, a_small_source, tmp_path):
    assert "does not exist" in refused("cases", "list", tmp_path / "gone")
    assert "no case yet" in refused("cases", "list", tmp_path)
    assert "somebody else" in refused("cases", "list", a_small_source.parent)
    assert "holds no cases" in refused("cases", "withdraw", tmp_path, 1)
    assert "does not exist" in refused("cases", "withdraw", tmp_path / "gone", 1)


def test_without_a_verb_the_verbs_are_shown(cfsegmenter):
    result = cfsegmenter("cases")
    assert result.exit_code == 0
    assert all(verb in result.stdout for verb in ("add", "list", "withdraw"))
