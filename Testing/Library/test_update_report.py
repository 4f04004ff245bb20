"""The report that a person decides on: which numbers, which warnings, and the page that shows them."""

from __future__ import annotations

import csv
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from CFSegmenterLib.evaluation import Score
from CFSegmenterLib.settings import UpdateSettings
from CFSegmenterLib.training_log import LOG
from CFSegmenterLib.update_page import write_page
from CFSegmenterLib.update_planning import plan_update
from CFSegmenterLib.update_report import (
    Agreement,
    agreement_rows,
    compare_answers,
    read_losses,
    score_rows,
    write_report,
)

from .conftest import UPDATE_SETTINGS


def scores(structure: str, *dices: float | None) -> list[Score]:
    return [Score(structure, "mine", "ct", number, dice, 1.0, False) for number, dice in enumerate(dices)]


@pytest.fixture
def a_plan(a_model, a_new_source):
    from CFSegmenterLib.cases import read_case_lists

    return plan_update(a_model, read_case_lists([a_new_source]), UpdateSettings(**UPDATE_SETTINGS), parent="1")


@pytest.fixture
def report(a_plan):
    def write(before=(), after=(), agreement=(), plan=a_plan, **said):
        settings = UpdateSettings(margin=2.0, least_agreement=0.8)
        return write_report(
            plan, settings, minutes=1.0, iterations=10, before=before, after=after, agreement=agreement,
            losses=[(1, 2.0), (10, 1.0)], **said,
        )  # fmt: skip

    return write


def test_an_old_structure_that_lost_more_than_the_margin_is_warned_of_in_words(report):
    said = report(scores("left kidney", 0.9, 0.8, 0.7), scores("left kidney", 0.86, 0.76, 0.66))
    assert said["warnings"] == ["left kidney lost 4.0 points on 3 cases"]
    assert said["fell"]


@pytest.mark.parametrize("after", [0.785, 0.8, 0.9])
def test_one_that_lost_less_or_gained_is_not(report, after):
    said = report(scores("liver", 0.8), scores("liver", after))
    assert said["warnings"] == [] and not said["fell"]


def test_a_kind_of_scan_that_no_image_of_the_update_is_of_is_named(report, a_plan):
    (known,) = a_plan.initial.manifest.protocols
    heart = known.model_copy(update={"name": "heart MR cine", "modality": "mr-cine"})
    manifest = a_plan.initial.manifest.model_copy(update={"protocols": (known, heart)})
    plan = replace(a_plan, initial=replace(a_plan.initial, manifest=manifest))
    (warning,) = report(scores("liver", 0.8), scores("liver", 0.8), plan=plan)["warnings"]
    assert "knew in heart MR cine was kept" in warning

    reminded = replace(plan.lists[0].cases[0], image=Path("old.nii.gz"), annotated=())
    seen = replace(plan, unannotated=(reminded,), by_case={**plan.by_case, reminded.image: heart})
    assert report(scores("liver", 0.8), scores("liver", 0.8), plan=seen)["warnings"] == []


def test_a_structure_that_nobody_drew_completely_is_named(report, a_plan):
    (drawn, *others), lists = a_plan.lists[0].cases, a_plan.lists
    begun = replace(drawn, values={**drawn.values, 99: "stomach"}, partly=("stomach",))
    plan = replace(a_plan, lists=(replace(lists[0], cases=(begun, *others)), *lists[1:]))
    (warning,) = report(scores("liver", 0.8), scores("liver", 0.8), plan=plan)["warnings"]
    assert warning.startswith("stomach is drawn in part only, wherever it is drawn, and was not taught")


def test_new_structures_beyond_the_width_of_the_features_are_warned_of(report, a_plan):
    assert a_plan.bank.crowding(a_plan.settings.backbone.features) is None
    narrow = a_plan.settings.backbone.model_copy(update={"features": len(a_plan.bank) - 1})
    plan = replace(a_plan, settings=a_plan.settings.model_copy(update={"backbone": narrow}))
    (warning,) = report(scores("liver", 0.8), scores("liver", 0.8), plan=plan)["warnings"]
    assert warning.startswith(f"{len(a_plan.bank)} prototypes share {narrow.features} feature channels")


def test_an_old_structure_that_is_not_found_any_more_has_lost_all(report):
    said = report(scores("liver", 0.8), scores("liver", 0.0))
    assert said["warnings"] == ["liver lost 80.0 points on 1 case"]


def test_a_new_structure_cannot_fall_however_bad_it_is(report):
    said = report((), scores("gallbladder", 0.01))
    (row,) = said["scores"]
    assert row["kind"] == "new" and row["dice_before"] is None
    assert not said["fell"]


def test_without_scores_the_agreement_decides(report):
    alike = [Agreement("spleen", "update", 0.9), Agreement("liver", "unlabelled", 0.95)]
    assert not report(agreement=alike)["fell"]
    apart = [Agreement("spleen", "update", 0.9), Agreement("spleen", "update", 0.5)]
    said = report(agreement=apart)
    assert said["fell"]
    assert said["warnings"] == [
        "spleen is answered otherwise than before on 2 images of the update (Dice 0.70 between old and new)"
    ]


def test_where_there_are_scores_another_answer_may_be_a_better_one(report):
    said = report(scores("liver", 0.5), scores("liver", 0.9), [Agreement("liver", "update", 0.4)])
    assert not said["fell"] and said["warnings"] == []


def test_means_are_over_the_cases_that_show_the_structure():
    (row,) = score_rows(scores("liver", 0.4, None, 0.6), scores("liver", 0.8, None, 1.0), ["liver"])
    assert row["cases"] == 2
    assert row["dice_before"] == pytest.approx(0.5) and row["dice_after"] == pytest.approx(0.9)
    assert [each["case"] for each in row["per_case"]] == [1, 2, 3]


def test_both_means_are_over_the_same_cases():
    """A false answer that is gone must not make up for an organ that is lost."""
    before = [*scores("liver", 0.9), Score("liver", "mine", "ct", 1, 0.0, None, True)]
    after = [*scores("liver", 0.5), Score("liver", "mine", "ct", 1, None, None, False)]
    (row,) = score_rows(before, after, ["liver"])
    assert (row["cases"], row["dice_before"], row["dice_after"]) == (1, 0.9, 0.5)
    assert (row["false_positives_before"], row["false_positives_after"]) == (1, 0)
    (row,) = score_rows(after, before, ["liver"])
    assert (row["cases"], row["dice_before"], row["dice_after"]) == (1, 0.5, 0.9)


def test_an_old_structure_that_is_found_where_there_is_none_is_warned_of(report):
    def two(dice, invented):
        source = scores("liver", 0.9)[0]
        return [source, replace(source, case=1, dice=dice, false_positive=invented)]

    said = report(two(None, False), two(0.0, True))
    assert said["warnings"] == ["liver is found in 1 case without it, before in 0"]
    assert report(two(0.0, True), two(None, False))["warnings"] == []


def test_the_same_structure_of_two_sources_has_two_rows():
    after = [Score("liver", source, "ct", 0, 0.5, None, False) for source in ("a", "b")]
    assert [row["source"] for row in score_rows((), after, ())] == ["a", "b"]


@pytest.mark.parametrize(("seconds", "images"), [(0.0, 1), (None, 3)])
def test_when_the_time_is_over_no_further_image_is_compared(a_segmenter, a_new_source, seconds, images):
    from CFSegmenterLib.cases import read_case_lists

    (cases,) = read_case_lists([a_new_source])
    seen = []

    def watch(done, total, message):
        seen.append(message)
        return True

    found = compare_answers(a_segmenter, a_segmenter, cases.of("training"), "update", watch, seconds)
    assert len(set(seen)) == images
    assert {each.dice for each in found} == {1.0}


def test_agreement_is_a_mean_by_structure_and_kind_of_image():
    given = [("update", 0.8), ("update", 1.0), ("unlabelled", 0.5)]
    given = [Agreement("liver", where, dice) for where, dice in given]
    assert agreement_rows(given) == [
        {"structure": "liver", "where": "update", "cases": 2, "dice": pytest.approx(0.9)},
        {"structure": "liver", "where": "unlabelled", "cases": 1, "dice": 0.5},
    ]


def test_a_long_log_is_thinned_out_to_means(tmp_path):
    with open(tmp_path / LOG, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "loss"])
        writer.writerows([step, step % 2] for step in range(1, 1001))
    found = read_losses(tmp_path, most=100)
    assert len(found) == 100 and found[-1] == (1000, 0.5)
    assert read_losses(tmp_path / "nowhere") == []


def test_a_step_that_was_skipped_is_not_among_the_losses(tmp_path):
    (tmp_path / LOG).write_text("step,loss\n1,0.5\n2,nan\n3,inf\n4,0.25\n")
    assert read_losses(tmp_path) == [(1, 0.5), (4, 0.25)]


class Balanced(HTMLParser):
    """Fails where a tag is not closed."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("scored", [True, False])
def test_the_page_is_whole_and_names_what_changed(report, scored):
    before = scores("left kidney", 0.9) + scores("liver", 0.7) if scored else []
    after = scores("left kidney", 0.8) + scores("liver", 0.9) + scores("gall<bladder>", 0.6) if scored else []
    text = write_page({**report(before, after, [Agreement("spleen", "update", 0.9)]), "version": "7"})
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert "version 7, an update of version 1" in text
    assert ("Left kidney lost 10.0 points" in text) == scored
    assert ("gall&lt;bladder&gt;" in text) == scored and "gall<bladder>" not in text
    assert ('class="worse">-10.0' in text) == scored and ('class="better">+20.0' in text) == scored
    assert ("kept aside for validation" in text) == (not scored)
