"""The update: a model learns what was newly annotated, beside a frozen copy of itself, and becomes a new version.

    version = update(find_model("general"), read_case_lists(["cases/dataset.json"]), store="store")
    version.report()["warnings"]
    ModelStore.open("store").accept(version.name)

New structures, more cases of a known one, another modality or scanner: it is one procedure. No annotated image of
earlier trainings is needed; unannotated ones help to remember, where there are any.
"""

from __future__ import annotations

import copy
import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from .cases import Case, CaseList
from .errors import UserError, plain_reason
from .evaluation import Score, evaluate_cases, spread
from .locking import locked
from .model import Model, load_model, save_model
from .model_card import write_card
from .planning import TrainingPlan
from .prepared import load_case
from .progress import Progress, silent
from .protocols import matches
from .segmenter import Segmenter
from .settings import UpdateSettings
from .store import ModelStore
from .stored_version import PAGE, REPORT, StoredVersion
from .structures import Vocabulary
from .torchrun import are_several, is_first_process
from .training import Trainer
from .update_page import write_page
from .update_planning import plan_update
from .update_report import Agreement, compare_answers, read_losses, write_report
from .update_status import StatusFile
from .update_time import COMPARING_SHARE, SCORING_SHARE, left_for_training

RUN = "run"
"""The file in an update's folder that says which run it is of."""

LOCK_SECONDS = 15.0
"""A process that was killed leaves a child that reads patches; it notices within some seconds, and holds the lock."""


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
    if name is not None:
        ModelStore(store).update_folder(name)  # refused before anything is made
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
        vocabulary=vocabulary,
        progress=status.following("preparing", progress),
    )
    folder = versions.update_folder(name or update_name(plan))
    run = _Run(plan, settings, folder, device, command, vocabulary, status, progress, len(unannotated))
    with _held(folder):
        run_id = _run_id(folder)
        if (version := _already_made(versions, folder, run_id)) is not None:
            return version
        trainer, report = run.train_and_compare(began)
        if report is None:
            return None
        version = versions.propose(lambda part, number: _write(part, number, folder.name, run_id, trainer, report))
        _tidy_up(folder)
    return version


def version_of(store: ModelStore, model_folder: str | Path) -> StoredVersion:
    """The version of a store that has the weights of a model folder.

    Raises:
        UserError: none has.
    """
    from .model import read_manifest

    wanted = read_manifest(model_folder).weights_sha256
    same = [version for version in store.sound_versions if version.manifest.weights_sha256 == wanted]
    if not same:
        raise UserError(f"The store {store.folder} has no version with the weights of {model_folder}.")
    return next((version for version in same if version.active), same[-1])


def update_name(plan: TrainingPlan) -> str:
    """A name for what an update does: the same for the same model, cases and settings."""
    said = [
        plan.initial.manifest.weights_sha256,
        plan.settings.model_dump(mode="json", exclude={"budget_seconds"}),
        [
            [str(case.image), str(case.labels), case.split, case.annotated, *case.partly]
            for each in plan.lists
            for case in each.cases
        ],
        [str(case.image) for case in plan.unannotated],
    ]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:10]


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other programs from training in an update's folder, which a lock beside it says."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    if not is_first_process():  # its first process holds it
        yield
        return
    with locked(folder.with_name(f"{folder.name}.lock"), "This update", seconds=LOCK_SECONDS):
        yield


@dataclass(frozen=True)
class _Run:
    """One update on its way: the plan and what it is carried out with."""

    plan: TrainingPlan
    settings: UpdateSettings
    folder: Path
    device: str
    command: str
    vocabulary: Vocabulary
    status: StatusFile
    progress: Progress
    given_unannotated: int

    def train_and_compare(self, began: float) -> tuple[Trainer, dict[str, Any] | None]:
        """The trained student, and the report on it; no report in any process but the first.

        Args:
            began: when the time budget began to run.
        """
        before, old_scores, pace = None, [], 0.0
        if is_first_process():
            # A copy: a segmenter moves its network to the device.
            before = Segmenter(copy.deepcopy(self.plan.initial), self.device, vocabulary=self.vocabulary)
            started = time.monotonic()
            old_scores = self._scores(before, self._is_answered_before, "preparing")
            evaluated, scored = time.monotonic() - started, len({score.case for score in old_scores})
            pace = evaluated / scored if scored else self._seconds_of_an_image(before)
        trainer = Trainer(
            self.plan,
            self.folder,
            device=self.device,
            command=self.command,
            vocabulary=self.vocabulary,
            progress=self._following("preparing"),
        )
        head_start = trainer.seconds if trainer.step == 0 else 0.0  # counted as training
        compared = {score.case for score in old_scores}
        trainer.end_within(self._left(time.monotonic() - began - head_start, pace, len(compared)))
        trainer.train(self._following("training"))
        if before is None:
            return trainer, None
        after = Segmenter(trainer.model(), self.device, vocabulary=self.vocabulary)
        new_scores = self._scores(after, lambda case: not self._is_answered_before(case), "comparing", compared)
        report = write_report(
            self.plan,
            self.settings,
            minutes=trainer.seconds / 60,
            iterations=trainer.step,
            before=old_scores,
            after=new_scores,
            agreement=self._agreement(before, after),
            losses=read_losses(self.folder),
            left_out=self.given_unannotated - len(self.plan.unannotated),
        )
        return trainer, report

    @property
    def _validation(self) -> list[Case]:
        return [case for each in self.plan.lists for case in each.of("validation")]

    def _scores(
        self, segmenter: Segmenter, wanted: Callable[[Case], bool], phase: str, always: Collection[int] = ()
    ) -> list[Score]:
        """Scores of the validation cases that are wanted: of one, and of as many more as there is time for.

        Args:
            always: numbers of cases that are scored in any case.
        """
        cases, budget = self._validation, self.settings.budget_seconds
        order = spread([case.annotated for case in cases])
        kept = {id(cases[number]) for number in always}
        began, scored = time.monotonic(), []

        def is_scored(case: Case) -> bool:
            if id(case) in kept:
                return True
            in_time = budget is None or time.monotonic() - began < SCORING_SHARE * budget
            if not wanted(case) or not (in_time or not scored):
                return False
            scored.append(case)
            return True

        ordered = [cases[number] for number in order]
        scores = evaluate_cases(segmenter, ordered, reads=is_scored, progress=self._following(phase))
        return [replace(score, case=order[score.case]) for score in scores]

    def _is_read_before(self, case: Case) -> bool:
        """Whether the old model reads a case; of a new modality it has no answer to compare with."""
        known = (protocol.modality for protocol in self.plan.initial.manifest.protocols)
        return any(matches(modality, case.modality) for modality in known)

    def _is_answered_before(self, case: Case) -> bool:
        """Whether the old model can be scored on a case: new structures are none of its."""
        old = self.plan.initial.manifest.structures
        return self._is_read_before(case) and any(name in old for name in case.annotated)

    def _following(self, phase: str) -> Progress:
        return self.status.following(phase, self.progress)

    def _seconds_of_an_image(self, before: Segmenter) -> float:
        """How long the old model takes for one that it reads; 0 where there is none, or no budget asks for it."""
        read = [*filter(self._is_read_before, self._validation), *chain(*self._compared.values())]
        if self.settings.budget_seconds is None or not read:
            return 0.0
        began = time.monotonic()
        before.encode(load_case(read[0])[0], progress=self._following("preparing")).segment()
        return time.monotonic() - began

    def _left(self, spent: float, pace: float, scored: int) -> float | None:
        """Seconds that are left for training; None where no budget says when it ends."""
        budget = self.settings.budget_seconds
        if budget is None:
            return None
        new = sum(not self._is_answered_before(case) for case in self._validation)
        compared = sum(map(len, self._compared.values()))
        return left_for_training(budget, spent, pace, scored=scored, new=new, compared=compared)

    @property
    def _compared(self) -> dict[str, list[Case]]:
        """Where from -> the images on which old and new answers are compared."""
        training = [c for each in self.plan.lists for c in each.of("training") if self._is_read_before(c)]
        most = self.settings.images_compared
        kinds = {"update": training, "unlabelled": list(self.plan.unannotated)}
        return {where: cases[:: max(1, -(-len(cases) // most))] for where, cases in kinds.items()}

    def _agreement(self, before: Segmenter, after: Segmenter) -> list[Agreement]:
        budget, found = self.settings.budget_seconds, []
        for where, cases in self._compared.items():
            seconds = None if budget is None else COMPARING_SHARE / 2 * budget
            found += compare_answers(before, after, cases, where, self._following("comparing"), seconds)
        return found


def _unwritable(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"The store {folder.parent.parent} cannot be written to ({plain_reason(error)}); free some space, or choose a "
        "store that you may write to."
    )


def _run_id(folder: Path) -> str:
    """What tells the run that a folder was made for from every other, also from one of the same name."""
    path = folder / RUN
    said = path.read_text(encoding="utf-8") if path.exists() else ""
    if not said and is_first_process():
        said = secrets.token_hex(8)
        try:
            path.write_text(said, encoding="utf-8")
        except OSError as error:
            raise _unwritable(folder, error) from error
    return said


def _already_made(store: ModelStore, folder: Path, run_id: str) -> StoredVersion | None:
    """The version that an update made which was killed before it had tidied up; None where it still has to be made."""
    for version in store.sound_versions if run_id else ():
        if version.manifest.update.get("run") == run_id:
            if not are_several():  # who has not looked yet would begin the update again
                _tidy_up(folder)
            return version
    return None


def _tidy_up(folder: Path) -> None:
    """Remove an update's folder; what says that its version was made goes last, should this be interrupted."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != RUN:
            with suppress(OSError):
                path.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _write(part: Path, number: str, name: str, run_id: str, trainer: Trainer, report: dict[str, Any]) -> None:
    """The new version's folder: the model and, beside it, its report."""
    report = {**report, "version": number}
    kept = ("added", "taught", "cases", "minutes", "iterations", "validated", "scores", "agreement", "warnings")
    made = trainer.model()
    settings = trainer.plan.settings.model_dump(mode="json")
    record = {"name": name, "run": run_id, **{key: report[key] for key in kept}, "settings": settings}
    manifest = made.manifest.model_copy(update={"version": number, "update": record})
    save_model(Model(made.network, made.bank, manifest), part, write_card(manifest))
    (part / REPORT).parent.mkdir()
    (part / REPORT).write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (part / PAGE).write_text(write_page(report), encoding="utf-8")
