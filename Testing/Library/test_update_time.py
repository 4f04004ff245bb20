"""The time of an update: what is left for training."""

from __future__ import annotations

import pytest

from CFSegmenterLib.update_time import COMPARING_SHARE, SCORING_SHARE, TRAINING_SHARE, left_for_training

BUDGET = 600.0


def left(spent: float = 0.0, pace: float = 0.0, scored: int = 0, new: int = 0, compared: int = 0) -> float:
    return left_for_training(BUDGET, spent, pace, scored=scored, new=new, compared=compared)


def test_what_was_spent_is_no_longer_left():
    assert left() == BUDGET
    assert left(spent=100.0) == BUDGET - 100.0


def test_time_is_kept_for_the_cases_that_only_the_new_model_can_be_scored_on():
    assert left(pace=10.0, new=3) == BUDGET - 30.0
    assert left(pace=10.0, scored=2, new=3) == BUDGET - 50.0


def test_time_is_kept_for_both_models_to_look_at_the_compared_images():
    assert left(pace=10.0, compared=4) == BUDGET - 80.0


def test_no_more_is_kept_than_scoring_and_comparing_may_take():
    assert left(pace=10.0, new=1000) == pytest.approx(BUDGET * (1 - SCORING_SHARE))
    assert left(pace=10.0, compared=1000) == pytest.approx(BUDGET * (1 - COMPARING_SHARE))


def test_cases_that_the_old_model_was_scored_on_are_scored_again_however_long_it_takes():
    assert left(pace=10.0, scored=20, new=1000) == BUDGET - 200.0


def test_training_has_its_share_whatever_else_takes():
    assert left(spent=550.0, pace=10.0, scored=20, compared=9) == TRAINING_SHARE * BUDGET
