"""`cfsegmenter phantom` and `cfsegmenter demo`: something to try that no patient was needed for."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest

from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.phantom import draw_small
from Testing.CommandLine.conftest import table_of


@pytest.fixture(autouse=True)
def small_phantoms(monkeypatch):
    """The drawn abdomen takes seconds; its small brother does for what the verbs add."""
    for room in ("abdomen", "phantom_source"):
        monkeypatch.setattr(f"CFSegmenterLib.{room}.draw_abdomen", draw_small)


def test_a_drawn_source_can_be_trained_on(cfsegmenter, tmp_path):
    result = cfsegmenter("phantom", "--out", tmp_path / "drawn", "--training", 2, "--validation", 1, "--seed", 7)
    assert result.exit_code == 0
    (row,) = table_of(result.stdout)
    (cases,) = read_case_lists([row["case list"]])
    assert (len(cases.of("training")), len(cases.of("validation"))) == (2, 1)
    np.testing.assert_array_equal(nibabel.load(cases.cases[0].image).dataobj, draw_small(7).image)


def test_a_source_is_not_replaced_unasked(cfsegmenter, refused, tmp_path):
    cfsegmenter("phantom", "--out", tmp_path, "--training", 1, "--validation", 0)
    assert "exists already" in refused("phantom", "--out", tmp_path)
    assert cfsegmenter("phantom", "--out", tmp_path, "--training", 1, "--overwrite").exit_code == 0


def test_numbers_that_make_no_source_are_refused(refused, tmp_path):
    assert "--training" in refused("phantom", "--out", tmp_path / "p", "--training", -1)
    assert "No case" in refused("phantom", "--out", tmp_path / "p", "--training", 0, "--validation", 0)
    assert not (tmp_path / "p").exists()


def test_the_demo_draws_segments_and_reports(cfsegmenter, a_model_folder, tmp_path):
    result = cfsegmenter("demo", "--model", a_model_folder, "--out", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    page = (tmp_path / "demo" / "index.html").read_text(encoding="utf-8")
    assert "liver" in page and "Dice" in page
    assert "index.html" in result.stderr
    assert {"index.html", "drawn_abdomen.seg.nrrd"} <= {p.name for p in (tmp_path / "demo").iterdir()}
    assert {row["structure"] for row in table_of(result.stdout)} == {"liver", "spleen", "left kidney", "right kidney"}
    again = ("demo", "--model", a_model_folder, "--out", tmp_path / "demo")
    assert cfsegmenter(*again).exit_code == 2, "what is there may be somebody's work"
    assert cfsegmenter(*again, "--overwrite").exit_code == 0


def test_the_demo_takes_an_image_and_names_it_nowhere_in_the_report(
    cfsegmenter, refused, a_model_folder, a_small_file, tmp_path
):
    secret = a_small_file.rename(tmp_path / "jane_doe.nii.gz")
    arguments = ["--model", a_model_folder, "--modality", "mr", "--targets", "spleen"]
    result = cfsegmenter("demo", secret, "--out", tmp_path / "demo", *arguments)
    assert result.exit_code == 0, result.output
    page = (tmp_path / "demo" / "index.html").read_text(encoding="utf-8")
    assert "spleen" in page and "jane_doe" not in page
    assert [row["structure"] for row in table_of(result.stdout)] == ["spleen"]
    assert "does not exist" in refused("demo", tmp_path / "gone.nii.gz", *arguments)
    assert "not taught" in refused("demo", secret, *arguments[:-1], "toe")
