"""`cfsegmenter evaluate`: scores per structure, source and modality, and where they are kept."""

from __future__ import annotations

import json
import shutil

import pytest

from CFSegmenterLib.evaluation import evaluate_cases, summarize
from CFSegmenterLib.model import load_model, read_manifest
from CFSegmenterLib.segmenter import Segmenter
from Testing.CommandLine.conftest import table_of
from Testing.Library.conftest import write_small_source


@pytest.fixture
def evaluate(cfsegmenter, a_model_folder, a_small_source, tmp_path):
    def run(*arguments, model=a_model_folder, cases=a_small_source):
        return cfsegmenter(
            "evaluate", "--model", model, "--cases", cases, "--out", tmp_path / "report.json", *arguments
        )

    return run


def report(tmp_path):
    return json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))


def test_the_report_holds_rows_means_and_the_model(evaluate, a_model_folder, a_small_source, tmp_path):
    from CFSegmenterLib.cases import read_case_lists

    result = evaluate()
    assert result.exit_code == 0, result.output
    said = report(tmp_path)
    (cases,) = read_case_lists([a_small_source])
    expected = summarize(evaluate_cases(Segmenter.load(a_model_folder), cases.of("validation")))
    assert said["structures"] == expected["structures"] and said["sources"] == expected["sources"]
    assert said["split"] == {"phantom_small": "validation"}
    assert said["model"]["weights_sha256"] == read_manifest(a_model_folder).weights_sha256
    liver = next(row for row in said["structures"] if row["structure"] == "liver")
    assert liver["dice"] > 0.7 and liver["cases"] == 2 and liver["modality"] == "mr-t2" and liver["distance_mm"] < 8


def test_the_table_ends_with_the_mean_of_each_source(evaluate, tmp_path):
    rows = table_of(evaluate().stdout)
    assert [row["structure"] for row in rows] == ["liver", "right kidney", "left kidney", "spleen", "(mean)"]
    mean = report(tmp_path)["sources"]["phantom_small"]["dice"]
    assert float(rows[-1]["Dice"]) == pytest.approx(mean, rel=0.01)


def test_the_report_names_no_file_of_a_case(evaluate, tmp_path):
    evaluate()
    assert "small_" not in (tmp_path / "report.json").read_text().replace("phantom_small", "")
    assert str(tmp_path) not in (tmp_path / "report.json").read_text()


def test_test_cases_stand_in_where_there_is_no_validation(evaluate, a_small_source, tmp_path):
    folder = shutil.copytree(a_small_source.parent, tmp_path / "source")
    said = json.loads((folder / "dataset.json").read_text())
    said["test"] = said.pop("validation")[:1]
    (folder / "dataset.json").write_text(json.dumps(said))
    result = evaluate(cases=folder)
    assert result.exit_code == 0 and "its test cases are scored instead" in result.stderr
    assert report(tmp_path)["split"] == {"phantom_small": "test"}


def test_a_split_can_be_asked_for(evaluate, refused, a_model_folder, a_small_source, tmp_path):
    assert evaluate("--split", "training", "--no-distances").exit_code == 0
    said = report(tmp_path)
    assert said["sources"]["phantom_small"]["cases"] == 6 and said["structures"][0]["distance_mm"] is None
    arguments = ["evaluate", "--model", a_model_folder, "--cases", a_small_source, "--out", tmp_path / "other.json"]
    assert "--split" in refused(*arguments, "--split", "trainig")
    result = evaluate("--split", "test", "--overwrite")
    assert result.exit_code == 2 and "no test case" in result.stderr


def test_scores_are_recorded_in_manifest_and_card_and_nowhere_else(evaluate, a_model_folder, tmp_path):
    model = shutil.copytree(a_model_folder, tmp_path / "model")
    before = (model / "weights.safetensors").read_bytes()
    evaluate("--record", model=model)
    assert (model / "weights.safetensors").read_bytes() == before
    scores = load_model(model).manifest.scores
    assert scores["sources"] == report(tmp_path)["sources"]
    card = (model / "README.md").read_text(encoding="utf-8")
    assert f"{scores['sources']['phantom_small']['dice']:.3f}" in card and "validation" in card
    assert sorted(p.name for p in model.iterdir()) == ["README.md", "manifest.json", "weights.safetensors"]
    assert not read_manifest(a_model_folder).scores


def test_structures_that_cannot_be_there_are_counted(evaluate, a_model_folder, tmp_path):
    # A source whose images are said to be of a head: none of the model's organs can be in them.
    source = write_small_source(
        tmp_path / "head",
        training=0,
        validation=1,
        seed=950,
        name="head",
        labels={"1": "brain", "2": "cerebellum", "3": "left eye", "4": "right eye"},
    )
    result = evaluate("--impossible", cases=source)
    assert result.exit_code == 2 and "none of the structures" in result.stderr
    # With one organ that it knows beside them there is something to score; the others are denied.
    said = json.loads(source.read_text())
    said["labels"] = {"1": "liver", "2": "cerebellum", "3": "left eye", "4": "right eye"}
    said["annotated"] = ["liver"]
    source.write_text(json.dumps(said))
    assert evaluate("--impossible", cases=source).exit_code == 0
    assert report(tmp_path)["impossible"] == []  # the other organs lie in the liver's own region


def test_what_is_taken_for_an_impossible_structure_is_measured(a_model_folder, tmp_path):
    from CFSegmenterLib.cases import read_case_lists
    from CFSegmenterLib.evaluation import evaluate_fully, summarize_impossible

    source = write_small_source(
        tmp_path / "head",
        0,
        1,
        950,
        name="head",
        labels={str(n): f"{s} eye" for n, s in ((1, "left"), (2, "right"))} | {"3": "brain", "4": "cerebellum"},
    )
    (cases,) = read_case_lists([source])
    scores, answers = evaluate_fully(Segmenter.load(a_model_folder, "cpu"), cases.cases, impossible=True)
    assert scores == []
    assert [answer.structure for answer in answers] == ["liver", "right kidney", "left kidney", "spleen"]
    (row,) = summarize_impossible(answers)
    assert row["worst"] == "liver" and row["found"] > 0 and row["structures"] == 4 and row["cases"] == 1
    assert row["ml_per_case"] == pytest.approx(sum(answer.ml for answer in answers))
    assert row["ml_per_case"] > 10  # the phantom does hold a liver, whatever its list says


def test_mistakes_are_noticed_before_anything_is_segmented(refused, a_model_folder, a_small_source, tmp_path):
    def asked(cases=a_small_source, model=a_model_folder, out=tmp_path / "r.json"):
        return refused("evaluate", "--model", model, "--cases", cases, "--out", out)

    assert "cannot be read" in asked(cases=tmp_path / "gone.json")
    assert "no model" in asked(model="none")
    assert "is a folder" in asked(out=tmp_path)
    (tmp_path / "taken.json").write_text("mine")
    assert "exists already" in asked(out=tmp_path / "taken.json")
    assert (tmp_path / "taken.json").read_text() == "mine" and not (tmp_path / "r.json").exists()
