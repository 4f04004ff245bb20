"""The schedule of a training: rates by steps or by time, and its end."""

from __future__ import annotations

from itertools import pairwise

import pytest

from CFSegmenterLib.schedule import LEAST_RATE, Schedule, duration


def test_the_rate_rises_over_the_warmup_and_falls_to_a_hundredth():
    schedule = Schedule(iterations=110, learning_rate=0.01, warmup=10)
    rates = [schedule.rate(step, 0.0) for step in range(111)]
    assert rates[:10] == pytest.approx([0.001 * n for n in range(1, 11)])
    assert rates[10] == max(rates) == 0.01
    assert all(later < before for before, later in pairwise(rates[10:]))
    assert rates[60] == pytest.approx(0.01 * (1 + LEAST_RATE) / 2)
    assert rates[110] == pytest.approx(0.01 * LEAST_RATE)


def test_the_rate_follows_the_time_where_that_is_further_along():
    schedule = Schedule(iterations=100_000, learning_rate=0.01, warmup=0, budget=60.0)
    assert schedule.rate(5, 30.0) == pytest.approx(0.01 * (1 + LEAST_RATE) / 2)
    assert schedule.rate(5, 90.0) == pytest.approx(0.01 * LEAST_RATE)
    assert schedule.rate(100_000, 1.0) == pytest.approx(0.01 * LEAST_RATE)


def test_only_a_budget_is_spent():
    assert not Schedule(10, 0.01, 0).is_spent(1e9)
    assert [Schedule(10, 0.01, 0, 60.0).is_spent(seconds) for seconds in (59.9, 60.0)] == [False, True]


@pytest.mark.parametrize("budget, expected", [(None, (100, 180.0)), (30.0, (20, 20.0)), (5.0, (10, 0.0))])
def test_the_end_is_foreseen_by_steps_or_by_what_is_left_of_the_time(budget, expected):
    schedule = Schedule(1000, 0.01, 0, budget)
    assert schedule.foreseen(10, 10.0, 2.0, last=100) == expected


@pytest.mark.parametrize("seconds, said", [(0, "0 min"), (90, "2 min"), (3599, "1 h 00 min"), (7500, "2 h 05 min")])
def test_a_duration_in_words(seconds, said):
    assert duration(seconds) == said
