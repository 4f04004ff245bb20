"""`cfsegmenter structures`: the names that may be asked for."""

from __future__ import annotations

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
