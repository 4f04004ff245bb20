"""The schedule of a training: rates by steps or by time, and its end."""

from __future__ import annotations

import math
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


def test_the_warmup_is_at_most_a_tenth_of_a_short_training():
    schedule = Schedule(iterations=60, learning_rate=0.01, warmup=100)
    rates = [schedule.rate(step, 0.0) for step in range(60)]
    assert rates[:6] == pytest.approx([0.01 * n / 6 for n in range(1, 7)])
    assert rates[6] == 0.01 and rates[59] < 0.0002


def test_the_warmup_takes_at_most_a_tenth_of_the_time():
    schedule = Schedule(iterations=100_000, learning_rate=0.01, warmup=20, budget=60.0)
    slow = [schedule.rate(step, 2.0 * step) for step in range(30)]  # two seconds a step
    assert slow[:3] == pytest.approx([0.0005, 0.01 * 2 / 6, 0.01 * 4 / 6])
    assert max(slow) == slow[3] == pytest.approx(0.01, rel=0.03)
    assert all(later < before for before, later in pairwise(slow[3:]))
    fast = [schedule.rate(step, 0.01 * step) for step in range(20)]
    assert fast == [0.01 * (step + 1) / 20 for step in range(20)]


def test_time_that_passed_before_the_first_step_does_not_shorten_the_warmup():
    schedule = Schedule(iterations=100_000, learning_rate=0.01, warmup=20, budget=60.0, begun=6.0)
    assert schedule.rate(0, 6.0) == 0.01 / 20
    assert schedule.rate(1, 9.0) == pytest.approx(0.005)


@pytest.mark.parametrize(
    ("iterations", "warmup"), [(200, 20), (400, 20), (1500, 20), (1600, 100), (200, 5), (10_000, 100), (30, 0)]
)
def test_the_rates_of_a_training_of_ten_warmups_are_those_of_the_published_results(iterations, warmup):
    def published(step: int) -> float:
        if step < warmup:
            return 0.003 * (step + 1) / warmup
        fallen = 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, iterations - warmup))))
        return 0.003 * (LEAST_RATE + (1 - LEAST_RATE) * fallen)

    schedule = Schedule(iterations, 0.003, warmup)
    steps = range(iterations + 1)
    assert [schedule.rate(step, 1e6) for step in steps] == [published(step) for step in steps]  # bit for bit


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
