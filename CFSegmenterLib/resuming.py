"""Resuming: which training a folder holds, and whether another may go on with it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from .checkpoint import read_record
from .errors import UserError
from .planning import TrainingPlan
from .settings import OF_AN_UPDATE

CHECKPOINT = "checkpoint.safetensors"

FREE_TO_CHANGE = {
    "validate_every",
    "validation_cases",
    "checkpoint_minutes",
    "compile",
    "precision",
    "budget_seconds",
}
"""Settings that do not change what is learned, or only when it ends."""


def fingerprint(plan: TrainingPlan) -> dict[str, Any]:
    """What a checkpoint says of its training, as plain JSON: it must be the same for another to go on with it."""
    free = FREE_TO_CHANGE if plan.teaches else FREE_TO_CHANGE | OF_AN_UPDATE
    same = {
        "training": plan.settings.model_dump(mode="json", exclude=free),
        "sources": [[each.source, len(each.of("training")), list(each.structures)] for each in plan.lists],
        "cases": _checksum(plan),
    }
    if plan.teaches:
        same |= {"teacher": plan.initial.manifest.weights_sha256, "unannotated": len(plan.unannotated)}
    # The same structures have other prototypes with and without texts.
    prototypes = hashlib.sha256(np.ascontiguousarray(plan.bank.matrix).tobytes()).hexdigest()
    return {"settings": same, "prototypes": prototypes}


def _checksum(plan: TrainingPlan) -> str:
    """Of what is trained on: which cases, and what is said of each; the folder that they lie in may be moved."""
    cases = (*(case for each in plan.lists for case in each.of("training")), *plan.unannotated)
    said = [[*case.image.parts[-2:], case.annotated, case.partly, sorted(case.values.items())] for case in cases]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()


def find_training(folder: Path, plan: TrainingPlan) -> dict[str, Any] | None:
    """The record of the checkpoint in a folder; None where there is nothing to go on from.

    Raises:
        UserError: the folder holds another training, or a model that a new one would replace.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        models = [name for name in ("best", "last") if (folder / name).exists()]
        if models:
            raise UserError(
                f"The folder {folder} holds a model already ({models[0]}), but no checkpoint to go on from; train "
                "in a new folder."
            )
        return None
    record = read_record(path)
    if any(record.get(key) != value for key, value in fingerprint(plan).items()):
        raise UserError(
            f"The folder {folder} holds a training with other settings, sources or structures; resume it with those, "
            "or train in a new folder."
        )
    return record
