"""The update: a model learns what was newly annotated, beside a frozen copy of itself, and becomes a new version.

    version = update("general", read_case_lists(["cases/dataset.json"]), store="store")
    version.report()["warnings"]
    ModelStore.open("store").accept(version.name)

New structures, more cases of a known one, another modality or scanner: it is one procedure. No annotated image of
earlier trainings is needed; unannotated ones help to remember, where there are any.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .cases import Case, CaseList
from .errors import UserError
from .evaluation import Score, evaluate_cases
from .model import Model, load_model, save_model
from .model_card import write_card
from .planning import TrainingPlan
from .progress import Progress, silent
from .segmenter import Segmenter
from .settings import UpdateSettings
from .store import ModelStore
from .stored_version import PAGE, REPORT, StoredVersion
from .structures import Vocabulary
from .training import Trainer
from .update_page import write_page
from .update_planning import plan_update
from .update_report import compare_answers, read_losses, write_report
from .update_status import StatusFile

TRAINING_SHARE = 0.5
"""Of the time budget that is trained at least, however long the evaluation takes."""


def update(
    model_folder: str | Path,
    lists: Sequence[CaseList],
    *,
    store: str | Path,
    unannotated: Sequence[Case] = (),
    settings: UpdateSettings | None = None,
    embeddings: Mapping[str, tuple[np.ndarray, str]] | None = None,
    device: str = "auto",
    name: str | None = None,
    command: str = "",
    status: StatusFile | None = None,
    vocabulary: Vocabulary | None = None,
    progress: Progress = silent,
) -> StoredVersion | None:
    """Update a model and propose the result as a new version of its store.

    The same call goes on where one that was cancelled or killed stopped. The model and its store stay as they are
    until the version is whole.

    Args:
        model_folder: of the model to update, which the store has as a version, or becomes the first of a new store.
        lists: cases, each annotating completely what its list declares.
        store: folder of the store; made where there is none.
        unannotated: images of earlier domains to be reminded on (see `images_in`).
        embeddings: new structure -> (text vector, prompt).
        name: of the update's working folder in the store; None makes one of what is to be done.
        status: kept up to date.
        progress: called in every phase.

    Returns:
        The proposed version; None in every process of several but the first.

    Raises:
        UserError: the cases, the model or the store cannot be used, or a disk is full.
        Cancelled: as `progress` asked, after a checkpoint.
    """
    settings = settings or UpdateSettings()
    status = status or StatusFile(None)
    vocabulary = vocabulary or Vocabulary.load()
    began = time.monotonic()
    versions = ModelStore.create(store, model_folder)
    parent = version_of(versions, model_folder)
    model = load_model(parent.folder)
    plan = plan_update(
        model,
        lists,
        settings,
        unannotated=unannotated,
        embeddings=embeddings,
        parent=parent.name,
        progress=status.following("preparing", progress),
    )
    folder = versions.update_folder(name or update_name(plan))
    before = Segmenter(load_model(parent.folder), device, vocabulary=vocabulary)
    validation = [case for each in plan.lists for case in each.of("validation")]
    old_scores = evaluate_cases(before, validation, progress=status.following("preparing", progress))
    plan = _within(plan, settings, time.monotonic() - began)
    trainer = Trainer(
        plan,
        folder,
        device=device,
        command=command,
        vocabulary=vocabulary,
        progress=status.following("preparing", progress),
    )
    trainer.train(status.following("training", progress))
    if not trainer.fabric.is_global_zero:
        return None
    report = _report(plan, settings, trainer, before, old_scores, unannotated, status, progress, device, vocabulary)
    version = versions.propose(lambda part, number: _write(part, number, trainer, report))
    shutil.rmtree(folder, ignore_errors=True)
    return version


def version_of(store: ModelStore, model_folder: str | Path) -> StoredVersion:
    """The version of a store that has the weights of a model folder.

    Raises:
        UserError: none has.
    """
    from .model import read_manifest

    wanted = read_manifest(model_folder).weights_sha256
    same = [version for version in store.versions if version.manifest.weights_sha256 == wanted]
    if not same:
        raise UserError(f"The store {store.folder} has no version with the weights of {model_folder}.")
    return next((version for version in same if version.active), same[-1])


def update_name(plan: TrainingPlan) -> str:
    """A name for what an update does: the same for the same model, cases and settings."""
    said = [
        plan.initial.manifest.weights_sha256,
        plan.settings.model_dump(mode="json", exclude={"budget_seconds"}),
        [[each.source, len(each.cases), list(each.structures)] for each in plan.lists],
        len(plan.unannotated),
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:10]


def _within(plan: TrainingPlan, settings: UpdateSettings, spent: float) -> TrainingPlan:
    """The plan with what is left of the time for training: the evaluation was made once and will be made again."""
    if settings.budget_seconds is None:
        return plan
    left = max(TRAINING_SHARE * settings.budget_seconds, settings.budget_seconds - 2 * spent)
    return plan.with_settings(plan.settings.model_copy(update={"budget_seconds": left}))


def _report(
    plan: TrainingPlan,
    settings: UpdateSettings,
    trainer: Trainer,
    before: Segmenter,
    old_scores: Sequence[Score],
    unannotated: Sequence[Case],
    status: StatusFile,
    progress: Progress,
    device: str,
    vocabulary: Vocabulary,
) -> dict[str, Any]:
    """Evaluate the student beside its teacher."""
    after = Segmenter(trainer.model(), device, vocabulary=vocabulary)
    validation = [case for each in plan.lists for case in each.of("validation")]
    new_scores = evaluate_cases(after, validation, progress=status.following("comparing", progress))
    agreement = []
    training = [case for each in plan.lists for case in each.of("training")]
    for where, cases in (("update", training), ("unlabelled", plan.unannotated)):
        some = cases[:: max(1, -(-len(cases) // settings.images_compared))]
        agreement += compare_answers(before, after, some, where, status.following("comparing", progress))
    return write_report(
        plan,
        settings,
        minutes=trainer.seconds / 60,
        iterations=trainer.step,
        before=old_scores,
        after=new_scores,
        agreement=agreement,
        losses=read_losses(trainer.folder),
        left_out=len(unannotated) - len(plan.unannotated),
    )


def _write(part: Path, number: str, trainer: Trainer, report: dict[str, Any]) -> None:
    """The new version's folder: the model and, beside it, its report."""
    report = {**report, "version": number}
    kept = ("added", "taught", "cases", "minutes", "iterations", "validated", "scores", "agreement", "warnings")
    made = trainer.model()
    record = {key: report[key] for key in kept} | {"settings": trainer.plan.settings.model_dump(mode="json")}
    manifest = made.manifest.model_copy(update={"version": number, "update": record})
    save_model(Model(made.network, made.bank, manifest), part, write_card(manifest))
    (part / REPORT).parent.mkdir()
    (part / REPORT).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (part / PAGE).write_text(write_page(report), encoding="utf-8")
