"""Statistics of results: means over seeds, and two methods compared case by case."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .scoring import Rows

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Spread:
    """The mean of a number over seeds, and its deviation where there are several."""

    mean: float
    deviation: float | None
    count: int

    @classmethod
    def of(cls, values: Sequence[float | None]) -> Spread | None:
        """None where no seed has the number."""
        known = [v for v in values if v is not None]
        if not known:
            return None
        return cls(float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None, len(known))

    def said(self, scale: float = 1.0, digits: int = 3, signed: bool = False) -> str:
        """As in a table."""
        rounded = round(scale * self.mean, digits) + 0.0  # without the sign of a negative zero
        text = f"{rounded:{'+' if signed else ''}.{digits}f}"
        return text if self.deviation is None else f"{text} ± {scale * self.deviation:.{digits}f}"


@dataclass(frozen=True)
class Comparison:
    """Two methods on the same cases.

    Attributes:
        points: how much better the first one is on the mean over cases, in points of Dice.
        p: of Wilcoxon's signed-rank test, two-sided; None where there are fewer than six cases that differ.
        cases, seeds: how many the comparison rests on.
    """

    points: float
    p: float | None
    cases: int
    seeds: int

    @property
    def is_significant(self) -> bool:
        """Whether chance is an unlikely reason."""
        return self.p is not None and self.p < SIGNIFICANT

    def said(self) -> str:
        """As in a table."""
        p = "too few cases to test" if self.p is None else f"p = {self.p:.2g}"
        return f"{self.points:+.1f} points, {p}, {self.cases} cases, {self.seeds} seed{'s' if self.seeds > 1 else ''}"


def by_case(rows: Rows) -> dict[int, float]:
    """Case number -> mean Dice over its structures."""
    found: dict[int, list[float]] = defaultdict(list)
    for row in rows:
        for case, dice in zip(row["case"], row["dice"], strict=True):
            if dice is not None:
                found[case].append(dice)
    return {case: float(np.mean(values)) for case, values in found.items()}


def compared(one: Mapping[int, Mapping[str, Any]], other: Mapping[int, Mapping[str, Any]]) -> Comparison | None:
    """Compare two methods case by case, each case's Dice averaged over its structures and the seeds that both have.

    Args:
        one, other: seed -> result.
    """
    seeds = sorted(one.keys() & other.keys())
    if not seeds:
        return None
    gaps: dict[int, list[float]] = defaultdict(list)
    for seed in seeds:
        mine, its = (by_case(each[seed]["stages"][-1]["scores"]) for each in (one, other))
        for case in mine.keys() & its.keys():
            gaps[case].append(mine[case] - its[case])
    differences = np.array([np.mean(values) for values in gaps.values()])
    return Comparison(100 * float(differences.mean()), _signed_rank(differences), len(differences), len(seeds))


def _signed_rank(differences: np.ndarray) -> float | None:
    from scipy.stats import wilcoxon

    if np.count_nonzero(differences) < 6:  # the smallest p that five cases can give is 0.06
        return None
    return float(wilcoxon(differences).pvalue)
