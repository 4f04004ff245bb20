"""Evaluation: Dice and surface distance of a model's answers on cases whose labels are known.

Only what a case's source declares as annotated is scored; about the rest its labels say nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .cases import Case
from .prepared import load_case
from .progress import Progress, advance, silent
from .segmenter import Segmenter


@dataclass(frozen=True)
class Score:
    """One structure in one case.

    Attributes:
        structure, source, modality: what was scored, and on which kind of scan.
        case: number of the case in the list that was evaluated.
        dice: 0..1; None where the structure is neither in the labels nor in the answer.
        distance: average symmetric surface distance in mm; None where one of the two is empty, or not asked for.
        false_positive: the labels hold no voxel of the structure but the answer does.
    """

    structure: str
    source: str
    modality: str
    case: int
    dice: float | None
    distance: float | None
    false_positive: bool


def evaluate_cases(
    segmenter: Segmenter, cases: Sequence[Case], *, distances: bool = True, progress: Progress = silent
) -> list[Score]:
    """Segment each case as a user would and score what its source annotates and the model knows.

    Raises:
        UserError: a case cannot be read or segmented.
        Cancelled: as `progress` asked.
    """
    known = set(segmenter.model.manifest.structures)
    scores = []
    for number, case in enumerate(cases):
        advance(progress, number, len(cases), f"case {number + 1} of {len(cases)}")
        volume, labels = load_case(case)
        value_of = {name: value for value, name in case.values.items()}
        asked = [name for name in case.annotated if name in known]
        if not asked:
            continue
        segmentation = segmenter.encode(volume).segment(asked)
        for name in asked:
            truth, answer = labels == value_of[name], segmentation.mask(name)
            distance = surface_distance(truth, answer, volume.spacing) if distances else None
            scores.append(
                Score(
                    name,
                    case.source,
                    case.modality,
                    number,
                    dice(truth, answer),
                    distance,
                    bool(answer.any() and not truth.any()),
                )
            )
    advance(progress, len(cases), len(cases), "all cases done")
    return scores


def dice(truth: np.ndarray, answer: np.ndarray) -> float | None:
    """Dice overlap of two bool arrays; None where both are empty."""
    total = np.count_nonzero(truth) + np.count_nonzero(answer)
    return 2 * np.count_nonzero(truth & answer) / total if total else None


def surface_distance(truth: np.ndarray, answer: np.ndarray, spacing: Sequence[float]) -> float | None:
    """Average symmetric surface distance in mm of two bool arrays; None where one is empty (MONAI's metric)."""
    if not truth.any() or not answer.any():
        return None
    import torch
    from monai.metrics import compute_average_surface_distance

    box = _box_around(truth | answer)
    pair = [torch.from_numpy(np.ascontiguousarray(mask[box]))[None, None] for mask in (answer, truth)]
    distance = compute_average_surface_distance(
        *pair, include_background=True, symmetric=True, spacing=[float(s) for s in spacing]
    )
    return float(distance)


def summarize(scores: Sequence[Score]) -> dict[str, Any]:
    """Means per structure and source, and per source over its structures.

    Returns:
        {"structures": [row, ...], "sources": {source: row}}, where a row has `dice`, `distance_mm` and `cases`.
    """
    rows = []
    for source, structure in dict.fromkeys((s.source, s.structure) for s in scores):
        group = [s for s in scores if s.source == source and s.structure == structure]
        rows.append(
            {
                "structure": structure,
                "source": source,
                "modality": group[0].modality,
                "dice": _mean([s.dice for s in group]),
                "distance_mm": _mean([s.distance for s in group]),
                "cases": len({s.case for s in group if s.dice is not None}),
                "false_positives": sum(s.false_positive for s in group),
            }
        )
    sources = {}
    for source in dict.fromkeys(row["source"] for row in rows):
        group = [row for row in rows if row["source"] == source]
        sources[source] = {
            "modality": group[0]["modality"],
            "dice": _mean([row["dice"] for row in group]) or 0.0,
            "distance_mm": _mean([row["distance_mm"] for row in group]),
            "cases": len({s.case for s in scores if s.source == source}),
            "structures": len(group),
        }
    return {"structures": rows, "sources": sources}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _box_around(mask: np.ndarray, margin: int = 2) -> tuple[slice, ...]:
    """The smallest box that holds a mask, and a margin: distances far from it are never needed."""
    slices = []
    for axis in range(mask.ndim):
        filled = np.nonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))[0]
        slices.append(slice(max(0, filled[0] - margin), filled[-1] + 1 + margin))
    return tuple(slices)
