"""What a model says of its own training: the manifest that a training writes."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Collection, Sequence

import torch

from . import __version__
from .cases import Case, CaseList
from .hierarchy import Pair, told_apart
from .model import Manifest, SourceRecord
from .pieces import drawn_in_one_piece
from .planning import TrainingPlan
from .prepared import PreparedCase
from .structures import Vocabulary

CASES_LOOKED_AT = 100
"""Annotations of a source that decide which of its structures are of one piece."""


def training_manifest(
    plan: TrainingPlan,
    one_piece: Sequence[str],
    vocabulary: Vocabulary,
    *,
    iterations: int,
    seconds: float,
    processes: int,
    precision: str,
    command: str,
) -> Manifest:
    """The manifest of what was learned so far.

    Args:
        one_piece: structures that are one piece in every annotation.
        iterations, seconds: done so far.
        command: that started it.
    """
    record = plan.bank.to_dict()
    return Manifest(
        name=plan.name,
        version=plan.version,
        parent=plan.parent,
        created=datetime.date.today().isoformat(),
        licence=plan.licence,
        prototypes=tuple(record["entries"]),
        prototype_seed=plan.bank.seed,
        backbone=plan.settings.backbone,
        dimension=plan.settings.dimension,
        temperature=plan.settings.loss.temperature,
        protocols=plan.all_protocols,
        one_piece=tuple(one_piece),
        told_apart=_told_apart(plan, vocabulary),
        own_structures=plan.own_structures,
        sources=merged_sources(plan.initial.manifest.sources if plan.teaches else (), plan.lists),
        training={
            "command": command,
            "settings": plan.settings.model_dump(mode="json"),
            "iterations_done": iterations,
            "hours": round(seconds / 3600, 2),
            "processes": processes,
            "initial": None if plan.initial is None else plan.initial.manifest.training,
            "precision": precision,
            "versions": {
                "cfsegmenter": __version__,
                "torch": torch.__version__,
                "python": ".".join(map(str, sys.version_info[:3])),
            },
        },
    )


def of_one_piece(plan: TrainingPlan, cases: Sequence[Case], prepared: Sequence[PreparedCase]) -> tuple[str, ...]:
    """The structures that are one piece in every annotation, those included that an update's model learned from.

    Args:
        cases, prepared: all that is trained on, and what was made of it.
    """
    by_source: dict[str, list[int]] = {}
    for index, case in enumerate(cases):
        by_source.setdefault(case.source, []).append(index)
    looked_at = (i for each in by_source.values() for i in each[:: max(1, len(each) // CASES_LOOKED_AT)])
    drawn = drawn_in_one_piece(((prepared[i].labels, cases[i].annotated) for i in looked_at), plan.bank.names)
    before = plan.initial.manifest if plan.teaches else None
    still = [name for name in before.one_piece if drawn.get(name, True)] if before else []
    had = before.structures if before else ()
    return (*still, *(name for name, is_one in drawn.items() if is_one and name not in had))


def _told_apart(plan: TrainingPlan, vocabulary: Vocabulary) -> tuple[Pair, ...]:
    """Of this training's label maps, and of those that its first model learned from."""
    before = plan.initial.manifest.told_apart if plan.initial is not None else ()
    annotations = dict.fromkeys(case.annotated for each in plan.lists for case in each.of("training"))
    return tuple(dict.fromkeys((*before, *told_apart(annotations, vocabulary))))


def merged_sources(before: Sequence[SourceRecord], lists: Sequence[CaseList]) -> tuple[SourceRecord, ...]:
    """What a model learned from, with what it learns from now; a source that comes again counts its cases together."""
    records = {record.name: record for record in before}
    for each in lists:
        drawn = {name for case in each.of("training") for name in (*case.annotated, *case.partly)}
        if not drawn:  # its cases only validate
            continue
        had = records.get(each.source)
        records[each.source] = SourceRecord(
            name=each.source,
            modality=each.modality,
            licence=each.licence,
            structures=tuple(dict.fromkeys((*(had.structures if had else ()), *_in_order(drawn, each)))),
            training_cases=len(each.of("training")) + (had.training_cases if had else 0),
            validation_cases=len(each.of("validation")) + (had.validation_cases if had else 0),
        )
    return tuple(records.values())


def _in_order(names: Collection[str], cases: CaseList) -> list[str]:
    return [name for name in cases.structures if name in names]
