"""`cfsegmenter structures`: the names that may be asked for."""

from __future__ import annotations

import json
import shutil

from CFSegmenterLib.structures import Vocabulary
from Testing.CommandLine.conftest import table_of


def test_without_a_query_the_whole_vocabulary_is_listed(cfsegmenter):
    rows = table_of(cfsegmenter("structures").stdout)
    assert [row["structure"] for row in rows] == list(Vocabulary.load().names())


def test_a_row_holds_region_code_and_color(cfsegmenter):
    row = table_of(cfsegmenter("structures", "kidney_left").stdout)[0]
    assert row["structure"] == "left kidney" and row["region"] == "abdomen" and row["part of"] == "kidney"
    assert "64033007" in row["code"] and "7771000" in row["code"]
    assert row["color"].startswith("#") and len(row["color"]) == 7


def test_words_find_every_structure_that_holds_them(cfsegmenter):
    names = [row["structure"] for row in table_of(cfsegmenter("structures", "Kidney").stdout)]
    assert names[0] == "kidney"
    assert {"left kidney", "right kidney"} <= set(names)
    assert "liver" not in names


def test_a_region_narrows_the_list(cfsegmenter, refused):
    rows = table_of(cfsegmenter("structures", "--region", "heart").stdout)
    assert rows and {row["region"] for row in rows} == {"heart"}
    assert "abdomen" in refused("structures", "--region", "belly")
    assert "kidney" in refused("structures", "kidney", "--region", "heart")


def test_an_unknown_name_is_answered_with_the_nearest(refused):
    assert "left kidney" in refused("structures", "left kidny")
    assert "xqzw" in refused("structures", "xqzw")


def test_a_model_lists_what_it_can_be_asked_for(cfsegmenter, refused, a_model_folder):
    names = [row["structure"] for row in table_of(cfsegmenter("structures", "--model", a_model_folder).stdout)]
    assert names == ["liver", "right kidney", "left kidney", "spleen", "kidney"]
    assert "heart" in refused("structures", "heart", "--model", a_model_folder)
    assert "no model" in refused("structures", "--model", "none")


def test_a_model_tells_code_and_color_of_what_the_vocabulary_does_not_know(cfsegmenter, a_model_folder, tmp_path):
    folder = shutil.copytree(a_model_folder, tmp_path / "model")
    said = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    said["prototypes"][1]["name"] = "odd thing"
    code = {"category": ["1", "SCT", "Tissue"], "type": ["2", "SCT", "Oddness"]}
    said["own_structures"] = [{"name": "odd thing", **code, "color": [255, 0, 16], "region": "belly"}]
    (folder / "manifest.json").write_text(json.dumps(said), encoding="utf-8")
    row = table_of(cfsegmenter("structures", "odd", "--model", folder).stdout)[0]
    assert (row["structure"], row["region"], row["code"]) == ("odd thing", "belly", "SCT 2 Oddness")
    assert row["color"] == "#ff0010"
    assert len(table_of(cfsegmenter("structures", "--region", "belly", "--model", folder).stdout)) == 1
