"""Budgets as people say them."""

from __future__ import annotations

import pytest

from CFSegmenterLib.budget import parse_budget
from CFSegmenterLib.errors import UserError


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("10 minutes", 600),
        ("10min", 600),
        ("10 Min.", 600),
        ("1 hour", 3600),
        ("1h30", 5400),
        ("1h 30min", 5400),
        ("1 hour and 30 minutes", 5400),
        ("1 h, 30 m, 5 s", 5405),
        ("1.5 h", 5400),
        ("1,5h", 5400),
        ("2m30", 150),
        ("90 s", 90),
        ("90s", 90),
        ("2 days", 172800),
        ("half an hour", 1800),
        ("  Overnight ", 28800),
    ],
)
def test_a_time_is_understood_as_it_is_said(said, seconds):
    assert parse_budget(said) == seconds


@pytest.mark.parametrize(
    "said",
    ["", " ", "10", "soon", "ten minutes", "min", "-5 min", "5 min 1 h", "1h30m20x", "nan h", "inf s", "1h30 20",
     "1e3 s", "10 min 5 min", "2 fortnights", "1h30min20 5", "a10min", "10 min!", "1 h and", "1 h and more", ", 1 h"],
)  # fmt: skip
def test_what_is_no_time_is_answered_with_examples(said):
    with pytest.raises(UserError, match=r"is not a time .* as 10min, 1h30"):
        parse_budget(said)


@pytest.mark.parametrize(
    ("said", "why"), [("0 min", "nothing"), ("15 days", "over two weeks"), ("9" * 400 + "h", "over")]
)
def test_a_time_that_nobody_can_mean_is_refused(said, why):
    with pytest.raises(UserError, match=why):
        parse_budget(said)
