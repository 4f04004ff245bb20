"""A time budget as people say it: "10 minutes", "1h30", "overnight" -> seconds."""

from __future__ import annotations

import re

from .errors import UserError

SAID = {"overnight": 8 * 3600.0, "over night": 8 * 3600.0, "half an hour": 1800.0, "an hour": 3600.0}
"""Budgets that are said without a number."""

LONGEST_SECONDS = 14 * 24 * 3600.0
"""More is a slip of the finger."""

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS = {
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), "s"),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), "m"),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), "h"),
    **dict.fromkeys(("d", "day", "days"), "d"),
}
_NEXT = {"d": "h", "h": "m", "m": "s"}
"""What a last number without a unit counts, as the 30 of "1h30"."""
_BETWEEN = re.compile(r"(?:, | and )(?=\d)")
_PART = re.compile(r"(\d+(?:[.,]\d+)?) ?([a-z]*)\.? ?")


def parse_budget(said: str) -> float:
    """The seconds of a budget: numbers with units, the larger first, or "overnight" (8 hours).

    Raises:
        UserError: it is no time, or one that nobody can mean.
    """
    text = " ".join(str(said).lower().split())
    seconds = SAID.get(text) or _sum(_BETWEEN.sub(" ", text))
    if seconds is None:
        raise UserError(
            f"'{said}' is not a time that a budget can be; say it with a unit, as 10min, 1h30, \"90 s\" or overnight."
        )
    if not 0 < seconds <= LONGEST_SECONDS:
        raise UserError(f"A budget of '{said}' is {'nothing' if seconds <= 0 else 'over two weeks'}; give another one.")
    return seconds


def _sum(text: str) -> float | None:
    """The sum of numbers and their units; None where it is something else."""
    total, place, last = 0.0, 0, ""
    while place < len(text):
        found = _PART.match(text, place)
        if found is None:
            return None
        number, word = found.groups()
        unit = _UNITS.get(word) if word else _NEXT.get(last)
        if unit is None or (last and _SECONDS[unit] >= _SECONDS[last]):
            return None
        total += float(number.replace(",", ".")) * _SECONDS[unit]
        place, last = found.end(), unit if word else "s"
    return total if last else None
