"""Scores: Dice of every structure in every validation case, and what a table makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from CFSegmenterLib.cases import Case
from CFSegmenterLib.evaluation import evaluate_cases
from CFSegmenterLib.model import Model
from CFSegmenterLib.progress import Progress, silent
from CFSegmenterLib.protocols import matches
from CFSegmenterLib.segmenter import Segmenter

from .scenarios import Task

Rows = Sequence[Mapping[str, Any]]


def score(model: Model, cases: Sequence[Case], progress: Progress = silent) -> list[dict[str, Any]]:
    """Segment validation cases as a user would.

    Returns:
        A row for each structure and source: `case`, the number of every case in which it is annotated, and its `dice`
        there, None where neither labels nor answer show it. Every method is asked the same cases, so that they can be
        compared in pairs. A kind of scan that the model was not taught yet has no rows.
    """
    modalities = {protocol.modality for protocol in model.manifest.protocols}
    numbers = [n for n, case in enumerate(cases) if any(matches(known, case.modality) for known in modalities)]
    asked = [cases[n] for n in numbers]
    rows: dict[Task, dict[str, Any]] = {}
    for each in evaluate_cases(Segmenter(model), asked, distances=False, progress=progress):
        said = {"structure": each.structure, "source": each.source, "modality": each.modality}
        row = rows.setdefault((each.structure, each.source), {**said, "case": [], "dice": []})
        row["case"].append(numbers[each.case])
        row["dice"].append(None if each.dice is None else round(each.dice, 4))
    return list(rows.values())


def mean_dice(rows: Rows, tasks: Sequence[Task]) -> float | None:
    """Mean over tasks of the mean over cases; None unless every task has a score."""
    means = {(row["structure"], row["source"]): _mean(row["dice"]) for row in rows}
    found = [means.get(tuple(task)) for task in tasks]
    return None if not found or None in found else float(np.mean(found))


def known_dice(rows: Rows, tasks: Sequence[Task]) -> float | None:
    """As `mean_dice`, of those tasks that have a score."""
    scored = {(row["structure"], row["source"]) for row in rows if _mean(row["dice"]) is not None}
    return mean_dice(rows, [task for task in tasks if tuple(task) in scored])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None
