"""Evaluation: Dice and surface distance of a model's answers on cases whose labels are known.

Only what a case's source declares as annotated is scored; about the rest its labels say nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np

from .cases import Case
from .encoding import Encoding
from .model import Manifest
from .prepared import load_case
from .progress import Progress, advance, silent, within
from .segmenter import Segmenter
from .structures import Vocabulary


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


@dataclass(frozen=True)
class ImpossibleAnswer:
    """A structure that an image cannot contain was asked for.

    Attributes:
        structure, source, modality, case: as in `Score`.
        ml: what was taken for it, in milliliters; 0 is right.
    """

    structure: str
    source: str
    modality: str
    case: int
    ml: float


def evaluate_cases(
    segmenter: Segmenter,
    cases: Sequence[Case],
    *,
    distances: bool = True,
    reads: Callable[[Case], bool] | None = None,
    progress: Progress = silent,
) -> list[Score]:
    """Segment each case as a user would and score what its source annotates and the model knows.

    Args:
        reads: which cases are looked at; the others have no score, and the numbers of the cases stay as they are.

    Raises:
        UserError: a case cannot be read or segmented.
        Cancelled: as `progress` asked.
    """
    return evaluate_fully(segmenter, cases, distances=distances, reads=reads, progress=progress)[0]


def spread(annotated: Sequence[Sequence[str]]) -> list[int]:
    """The numbers of cases in an order that soon has shown every structure, so that its beginning stands for all.

    Args:
        annotated: of each case its structures.
    """
    holding: dict[str, list[int]] = {}
    for number, names in enumerate(annotated):
        for name in names:
            holding.setdefault(name, []).append(number)
    rare_first = sorted(holding.values(), key=len)
    rounds = (number for of_a_round in zip_longest(*rare_first) for number in of_a_round if number is not None)
    return list(dict.fromkeys((*rounds, *range(len(annotated)))))


def evaluate_fully(
    segmenter: Segmenter,
    cases: Sequence[Case],
    *,
    distances: bool = True,
    impossible: bool = False,
    reads: Callable[[Case], bool] | None = None,
    progress: Progress = silent,
) -> tuple[list[Score], list[ImpossibleAnswer]]:
    """As `evaluate_cases`, and with `impossible` also ask for what the images cannot contain, with the same pass.

    Raises:
        UserError: a case cannot be read or segmented.
        Cancelled: as `progress` asked.
    """
    known = set(segmenter.model.manifest.structures)
    scores: list[Score] = []
    answers: list[ImpossibleAnswer] = []
    for number, case in enumerate(cases):
        step = number, len(cases), f"case {number + 1} of {len(cases)}"
        advance(progress, *step)
        if reads is not None and not reads(case):
            continue
        asked = [name for name in case.annotated if name in known]
        denied = impossible_structures(segmenter.model.manifest, case, segmenter.vocabulary) if impossible else ()
        if not asked and not denied:
            continue
        volume, labels = load_case(case)
        encoding = segmenter.encode(volume, progress=within(progress, *step))
        spacing = volume.spacing if distances else None
        scores += _scores(encoding, case, number, asked, labels, spacing, segmenter.vocabulary)
        if denied:
            found = encoding.segment(denied)
            for name in denied:
                ml = found.voxels(name) * volume.voxel_volume_ml
                answers.append(ImpossibleAnswer(name, case.source, case.modality, number, ml))
    advance(progress, len(cases), len(cases), "all cases done")
    return scores, answers


def _scores(
    encoding: Encoding,
    case: Case,
    number: int,
    asked: Sequence[str],
    labels: np.ndarray,
    spacing: np.ndarray | None,
    vocabulary: Vocabulary,
) -> list[Score]:
    if not asked:
        return []
    segmentation = encoding.segment(asked)
    scores = []
    for name in asked:
        # Several label values may stand for one structure, and what is labelled as a part of it belongs to it, too.
        its = [v for v, each in case.values.items() if each == name or vocabulary.contains(name, each)]
        truth = np.isin(labels, its)
        answer = segmentation.mask(name)
        distance = None if spacing is None else surface_distance(truth, answer, spacing)
        invented = bool(answer.any() and not truth.any())
        scores.append(Score(name, case.source, case.modality, number, dice(truth, answer), distance, invented))
    return scores


def impossible_structures(manifest: Manifest, case: Case, vocabulary: Vocabulary) -> tuple[str, ...]:
    """The model's structures that the image of a case cannot contain, because they lie in another region.

    The regions are the source's field of view in the settings that the model was trained with, and where these say
    nothing the regions of what the source annotates.
    """
    settings = manifest.training.get("settings", {}).get("sources", {}).get(case.source, {})
    annotated = [found for name in case.annotated if (found := vocabulary.get(name)) is not None]
    regions = set(settings.get("field_of_view") or [found.region for found in annotated if found.region])
    if not regions:
        return ()
    denied = []
    for name in manifest.structures:
        found = vocabulary.get(name)
        near = any(vocabulary.overlaps(name, other) for other in case.values.values())
        if found is not None and found.region and found.region not in regions and not near:
            denied.append(name)
    return tuple(denied)


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


def summarize_impossible(answers: Sequence[ImpossibleAnswer]) -> list[dict[str, Any]]:
    """What was found of structures that cannot be there, per source.

    Returns:
        Rows with `source`, `modality`, `structures` and `cases` (how many were asked for, and in how many cases),
        `ml_per_case`, `found` (the share of questions that were answered with any voxel) and `worst`, the structure
        with the largest volume.
    """
    rows = []
    for source in dict.fromkeys(answer.source for answer in answers):
        group = [answer for answer in answers if answer.source == source]
        cases = len({answer.case for answer in group})
        volumes: dict[str, float] = {}
        for answer in group:
            volumes[answer.structure] = volumes.get(answer.structure, 0.0) + answer.ml
        total = sum(volumes.values())
        rows.append(
            {
                "source": source,
                "modality": group[0].modality,
                "structures": len(volumes),
                "cases": cases,
                "ml_per_case": total / cases,
                "found": sum(answer.ml > 0 for answer in group) / len(group),
                "worst": max(volumes, key=lambda name: volumes[name]) if total else None,
            }
        )
    return rows


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _box_around(mask: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds a mask, and a margin: distances far from it are never needed."""
    slices, margin = [], 2
    for axis in range(mask.ndim):
        filled = np.nonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))[0]
        slices.append(slice(max(0, filled[0] - margin), filled[-1] + 1 + margin))
    return tuple(slices)
