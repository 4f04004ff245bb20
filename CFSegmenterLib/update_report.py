"""The report of an update: what a person decides on, old answers beside new ones, and warnings in words."""

from __future__ import annotations

import csv
import datetime
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .cases import Case
from .evaluation import Score, dice
from .planning import TrainingPlan
from .prepared import load_case
from .progress import Progress, advance, silent, within
from .segmenter import Segmenter
from .settings import UpdateSettings
from .training_log import LOG

FORMAT = 1
LOSSES_KEPT = 300
NOT_VALIDATED = (
    "No case was kept aside for validation, so nothing is known of how good the new structures are. Every fourth case "
    "that is added is kept aside; add more, or say of one that it is for validation."
)

NOTHING_CHECKED = (
    "nothing here shows whether the old structures were kept: no image that the old model reads was compared; give "
    "unannotated images of the earlier kinds of scan"
)


@dataclass(frozen=True)
class Agreement:
    """How alike the old and the new answer to an old structure are, in one image.

    Attributes:
        structure: that both models know.
        where: "update" for the images that were learned from, "unlabelled" for those that only reminded.
        dice: of the two masks, where nothing is annotated anew.
    """

    structure: str
    where: str
    dice: float


def compare_answers(
    before: Segmenter,
    after: Segmenter,
    cases: Sequence[Case],
    where: str,
    progress: Progress = silent,
    seconds: float | None = None,
) -> list[Agreement]:
    """Ask both models for every old structure in each image.

    What is annotated in a case is left out: there the new model is meant to answer otherwise. Structures that neither
    model finds say nothing.

    Args:
        seconds: after which no further image is looked at; the first one always is.

    Raises:
        UserError: an image cannot be segmented.
        Cancelled: as `progress` asked.
    """
    names = before.model.manifest.structures
    found, began = [], time.monotonic()
    for number, case in enumerate(cases):
        if number and seconds is not None and time.monotonic() - began > seconds:
            break
        step = number, len(cases), f"comparing image {number + 1} of {len(cases)}"
        advance(progress, *step)
        volume, labels = load_case(case)
        free = labels == 0
        asked = within(progress, *step)
        old, new = (each.encode(volume, progress=asked).segment(names, asked) for each in (before, after))
        for name in names:
            if name in case.annotated:
                continue
            overlap = dice(old.mask(name) & free, new.mask(name) & free)
            if overlap is not None:
                found.append(Agreement(name, where, overlap))
    return found


def write_report(
    plan: TrainingPlan,
    settings: UpdateSettings,
    *,
    minutes: float,
    iterations: int,
    before: Sequence[Score],
    after: Sequence[Score],
    agreement: Sequence[Agreement],
    losses: Sequence[tuple[int, float]],
    left_out: int = 0,
) -> dict[str, Any]:
    """Put together what is known of an update, as plain JSON. No file name and no subject gets into it.

    Args:
        before, after: scores of the old and the new model on the same validation cases.
        left_out: unannotated images that cannot be read, or not by the model.
    """
    old = plan.initial.manifest.structures
    training = [case for each in plan.lists for case in each.of("training")]
    taught = tuple(dict.fromkeys(name for case in training for name in case.annotated))
    rows = score_rows(before, after, old)
    agreed = agreement_rows(agreement)
    lost = _lost(rows, settings.margin)
    apart = _apart(agreed, {row["structure"] for row in rows}, settings.least_agreement)
    seen = {row["structure"] for row in (*rows, *agreed)}
    unchecked = [name for name in old if name not in seen]
    warnings = [*lost, *apart, *_invented(rows), *plan.passed_over]
    if len(unchecked) == len(old):
        warnings.append(NOTHING_CHECKED)
    elif unseen := unseen_kinds(plan):
        warnings.append(
            f"nothing here shows whether what the model knew in {', '.join(unseen)} was kept: no such image was there; "
            "give unannotated ones, or check by hand"
        )
    begun = [name for case in training for name in case.partly if name not in plan.bank]
    if begun:
        warnings.append(
            f"{', '.join(dict.fromkeys(begun))} is drawn in part only, wherever it is drawn, and was not taught; draw "
            "it completely in one case at least, and say so"
        )
    added = [name for name in plan.bank.names[1:] if name not in old]
    crowding = plan.bank.crowding(plan.settings.backbone.features)
    if added and crowding:
        warnings.append(crowding.removesuffix("."))
    kept_aside = [case for each in plan.lists for case in each.of("validation")]
    known = sum(any(name in plan.bank for name in case.annotated) for case in kept_aside)
    scored = len({score.case for score in after})
    if 0 < scored < known:
        warnings.append(
            f"only {scored} of the {known} cases kept aside were scored, as many as there was time for; they were "
            "chosen to show every structure"
        )
    if left_out:
        warnings.append(
            f"{left_out} unannotated image(s) cannot be read, or are of a kind that the model does not read, and were "
            "left out"
        )
    return {
        "format": FORMAT,
        "model": plan.name,
        "version": plan.version,
        "parent": plan.parent,
        "date": datetime.date.today().isoformat(),
        "minutes": round(minutes, 1),
        "iterations": iterations,
        "cases": {
            "training": len(training),
            "validation": len(kept_aside),
            "unlabelled": len(plan.unannotated),
        },
        "added": added,
        "taught": list(taught),
        "prototypes": {
            "count": len(plan.bank),
            "capacity": plan.bank.capacity,
            "reachable": round(plan.bank.reachable(plan.settings.backbone.features), 3),
        },
        "validated": bool(rows),
        "why_not_validated": None if rows else NOT_VALIDATED,
        "scores": rows,
        "agreement": agreed,
        "unchecked": unchecked,
        "losses": [list(pair) for pair in losses],
        "warnings": warnings,
        "fell": bool(lost or apart),
        "margin": settings.margin,
    }


def unseen_kinds(plan: TrainingPlan) -> list[str]:
    """The names of the kinds of scan that the old model reads and that none of the update's images is of."""
    seen = {protocol.name for protocol in (*plan.by_case.values(), *plan.protocols.values())}
    return [protocol.name for protocol in plan.initial.manifest.protocols if protocol.name not in seen]


def score_rows(before: Sequence[Score], after: Sequence[Score], old: Sequence[str]) -> list[dict[str, Any]]:
    """One row for each structure of each source.

    Means are over the cases that hold the structure, and where the old model was asked over the same cases before and
    after. What is found where there is nothing is counted by itself.
    """
    earlier = {(s.source, s.structure, s.case): s for s in before}
    rows = []
    for source, structure in dict.fromkeys((s.source, s.structure) for s in after):
        group = [s for s in after if (s.source, s.structure) == (source, structure)]
        pairs = [(earlier.get((source, structure, s.case)), s) for s in group]
        asked = [(b, a) for b, a in pairs if b is not None]
        held = [(b, a) for b, a in asked or pairs if a.dice is not None and not a.false_positive]
        far = [(b, a) for b, a in held if a.distance is not None and (b is None or b.distance is not None)]
        rows.append(
            {
                "structure": structure,
                "source": source,
                "modality": group[0].modality,
                "kind": "old" if structure in old else "new",
                "cases": len(held),
                "dice_before": _mean(b.dice for b, _ in held if b is not None),
                "dice_after": _mean(a.dice for _, a in held),
                "distance_before": _mean(b.distance for b, _ in far if b is not None),
                "distance_after": _mean(a.distance for _, a in far),
                "false_positives_before": sum(b.false_positive for b, _ in asked),
                "false_positives_after": sum(a.false_positive for _, a in pairs),
                "per_case": [
                    {"case": a.case + 1, "dice_before": None if b is None else b.dice, "dice_after": a.dice}
                    for b, a in pairs
                ],
            }
        )
    return rows


def agreement_rows(agreement: Sequence[Agreement]) -> list[dict[str, Any]]:
    """One row for each structure and kind of image."""
    rows = []
    for where, structure in dict.fromkeys((each.where, each.structure) for each in agreement):
        group = [each.dice for each in agreement if (each.where, each.structure) == (where, structure)]
        rows.append({"structure": structure, "where": where, "cases": len(group), "dice": float(np.mean(group))})
    return rows


def read_losses(folder: Path, most: int = LOSSES_KEPT) -> list[tuple[int, float]]:
    """(step, loss) of a training's log, thinned out to `most` means of neighbours; none where there is no log."""
    path = folder / LOG
    if not path.exists():
        return []
    with open(path, newline="", encoding="utf-8") as file:
        rows = [(int(row["step"]), float(row["loss"])) for row in csv.DictReader(file) if row["loss"]]
    rows = [(step, loss) for step, loss in rows if math.isfinite(loss)]  # a step that was skipped has none
    groups = [rows[i : i + max(1, -(-len(rows) // most))] for i in range(0, len(rows), max(1, -(-len(rows) // most)))]
    return [(group[-1][0], float(np.mean([loss for _, loss in group]))) for group in groups]


def _lost(rows: Sequence[Mapping[str, Any]], margin: float) -> list[str]:
    """A sentence for each old structure that lost more than `margin` points of Dice."""
    said = []
    for row in rows:
        if row["kind"] == "new" or row["dice_before"] is None:
            continue
        points = 100 * (row["dice_before"] - (row["dice_after"] or 0.0))
        if points > margin:
            said.append(f"{row['structure']} lost {points:.1f} points on {_cases(row['cases'])}")
    return said


def _invented(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each old structure that is found in more cases than before that do not hold it."""
    return [
        f"{row['structure']} is found in {_cases(row['false_positives_after'])} without it, "
        f"before in {row['false_positives_before']}"
        for row in rows
        if row["kind"] == "old" and row["false_positives_after"] > row["false_positives_before"]
    ]


def _apart(rows: Sequence[Mapping[str, Any]], scored: set[str], least: float) -> list[str]:
    """A sentence for each old structure that no validation case shows and that is answered otherwise than before."""
    return [
        f"{row['structure']} is answered otherwise than before on {_cases(row['cases'], 'image')} of the "
        f"{'update' if row['where'] == 'update' else 'unannotated ones'} (Dice {row['dice']:.2f} between old and new)"
        for row in rows
        if row["structure"] not in scored and row["dice"] < least
    ]


def _cases(count: int, what: str = "case") -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _mean(values) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
