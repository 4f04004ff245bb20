"""Training: one network, on all sources at once, each annotating only some structures; from nothing or as an update."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .aiming import aimed, read_out
from .checkpoint import TrainingState, load_checkpoint, save_checkpoint
from .errors import Cancelled, UserError
from .evaluation import evaluate_cases, summarize
from .hierarchy import overlap_matrix
from .lesson import FirstLesson, IncrementalLesson, Lesson, what_is_said
from .losses import LossTerms
from .model import Manifest, Model, save_model
from .model_card import write_card
from .network import PrototypeNetwork, load_weights, weights_of
from .patch_loading import patch_loader, prepared_patches
from .patches import Patch
from .planning import TrainingPlan
from .precision import autocast, choose_device, choose_precision, keep_freed_memory, layout
from .processes import agreed, all_or_none, ending_together, interrupts_noted, launch, uninterrupted
from .progress import Progress, silent
from .resuming import CHECKPOINT, find_training, fingerprint
from .schedule import Schedule, duration
from .segmenter import Segmenter
from .structures import Vocabulary
from .training_log import TrainingLog
from .training_record import of_one_piece, training_manifest

GRADIENT_LIMIT = 12.0
SKIPS_ALLOWED = 10
AIM_SHARE = 0.1
"""Of the time budget, at most, for the head start of an update's new structures."""


class Trainer:
    """A Trainer trains one network from a plan, in a folder that it can be resumed from.

    The folder holds `checkpoint.safetensors`, `log.csv`, `validation.csv`, the prepared cases in `cache`, and the
    model folders `best` and `last`. Under torchrun every process runs the same Trainer and takes its share of each
    step's patches.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        folder: str | Path,
        *,
        device: str = "auto",
        command: str = "",
        vocabulary: Vocabulary | None = None,
        progress: Progress = silent,
    ):
        """
        Args:
            command: recorded in the model.

        Raises:
            UserError: a case or the device cannot be used.
            Cancelled: as `progress` asked while cases were prepared.
        """
        keep_freed_memory()
        self.plan = plan
        self.folder = Path(folder)
        self.command = command
        self.vocabulary = vocabulary or Vocabulary.load()
        settings = plan.settings
        chosen = choose_device(device)
        self.precision = choose_precision(chosen) if settings.precision == "auto" else settings.precision
        self.fabric = launch(chosen, self.precision)
        self._check_shares(settings.patches_per_step)
        self.end_within(settings.budget_seconds)
        self.cases = (*(case for each in plan.lists for case in each.of("training")), *plan.unannotated)
        with ending_together(progress):
            self.patches = prepared_patches(
                plan, self.cases, self.folder / "cache", self.fabric, self.vocabulary, progress
            )
        self._check_shares(self.patches.per_step)
        self.state, self.network = self._state()
        self.lesson = self._lesson()
        self.step, self.validated, self.best, self.seconds = 0, 0, -math.inf, 0.0
        self._skipped, self._is_whole = 0, True
        with ending_together(progress):
            with all_or_none(self.fabric):
                resumed = self._resume()
            self._check_that_all_resumed()
            if not resumed and plan.teaches and settings.aim:
                self._aim(progress if self.fabric.is_global_zero else silent)

    def end_within(self, budget: float | None) -> None:
        """Set the seconds that the training may take; all processes take those of the first."""
        if budget is not None and self.fabric.world_size > 1:
            budget = self.fabric.broadcast(budget)
        self.schedule = Schedule.of(self.plan.settings, budget)

    def train(self, progress: Progress = silent, until: int | None = None) -> Manifest:
        """Train to the last iteration and write the models; what was learned until anything else ends it is kept, too.

        Args:
            until: step to stop at before, with a checkpoint; the learning rate falls as if there were no such stop.

        Raises:
            Cancelled: as `progress` asked, after a checkpoint was written.
        """
        settings = self.plan.settings
        last = min(settings.iterations, until or settings.iterations)
        first = self.step
        if not first:
            self.schedule = replace(self.schedule, begun=self.seconds)
        log = TrainingLog(self.folder, first) if self.fabric.is_global_zero else None
        shown = progress if self.fabric.is_global_zero else silent
        try:
            with interrupts_noted() as interrupts:
                self._go_on(last, log, lambda *said: shown(*said) and not interrupts)
        except BaseException as error:
            asked = isinstance(error, Cancelled | KeyboardInterrupt)
            with ending_together(progress, self.step, last):
                # One that has learned nothing would only keep other settings out of the folder.
                if self._is_whole and (asked or self.step > first):
                    with uninterrupted(forgetting=True):
                        self._checkpoint()
                raise
        finally:
            if log:
                log.close()
        return self._save("last")

    def _go_on(self, last: int, log: TrainingLog | None, progress: Progress) -> None:
        """Take the steps that are left, and validate and write checkpoints as they are due."""
        loader = iter(patch_loader(self.patches, self.fabric, self.step, self.plan.settings.iterations))
        started = saved = time.monotonic()
        before, first, whole = self.seconds, self.step, last
        asked = False  # to end: of several processes, each sees one more step through with the others
        if self._owes_validation:  # a training that was interrupted before it
            asked = self._validate(log, self._validating(progress, whole), last)
        while self._is_short_of(last):
            patches = [next(loader) for _ in range(self._patches_here)]
            rate = self.schedule.rate(self.step, self.seconds)
            with uninterrupted():
                terms = self.take_step(patches)
                self.step += 1
                self._is_whole = True
                self.seconds, ending = agreed(self.fabric, before + time.monotonic() - started, asked)
                if log:
                    log.step(self.step, terms, rate, self.seconds)
            pace = (self.seconds - before) / (self.step - first)
            whole, left = self.schedule.foreseen(self.step, self.seconds, pace, last)
            loss = f"loss {log.average:.3f}, " if log else ""
            asked = not progress(self.step, whole, f"{loss}{duration(left)} left")
            if ending or (asked and self.fabric.world_size == 1):
                raise Cancelled("stopping")
            if self._owes_validation:
                asked |= self._validate(log, self._validating(progress, whole), last)
            due = time.monotonic() - saved > 60 * self.plan.settings.checkpoint_minutes
            if due or not self._is_short_of(last):
                self._checkpoint()
                saved = time.monotonic()

    def _is_short_of(self, last: int) -> bool:
        return self.step < last and not self.schedule.is_spent(self.seconds)

    def take_step(self, patches: Sequence[Patch]) -> LossTerms:
        """One optimizer step on this process's patches; the gradient is the mean over all processes' patches."""
        optimizer = self.state.optimizer
        for group in optimizer.param_groups:
            group["lr"] = self.schedule.rate(self.step, self.seconds)
        mean = None
        for number, patch in enumerate(patches):
            last = number == len(patches) - 1
            with self.fabric.no_backward_sync(self.network, enabled=not last):
                terms = self.loss(patch)
                self.fabric.backward(terms.total / len(patches))
            mean = terms.detached() if mean is None else mean.plus(terms)
        norm = self.fabric.clip_gradients(self.network, optimizer, max_norm=GRADIENT_LIMIT, error_if_nonfinite=False)
        if bool(torch.isfinite(norm)):
            self._is_whole = False  # until the average has followed and the step is counted
            optimizer.step()
            self._skipped = 0
        else:
            # One overflow in low precision must not end hours of work; many in a row are a defect.
            self._skipped += 1
            if self._skipped > SKIPS_ALLOWED:
                raise UserError(
                    f"The gradient was not finite {self._skipped} times in a row, so nothing can be learned; "
                    "train with precision '32-true', without 'compile', or with a lower learning rate."
                )
        optimizer.zero_grad()
        self._average()
        return mean.over(len(patches))

    def loss(self, patch: Patch) -> LossTerms:
        """The lesson's loss of one patch."""
        image = self._on_device(patch.image)
        features = self.network(image)[0].flatten(0, 2)
        return self.lesson(image, features, self.state.network.cosine(), patch)

    @cached_property
    def _one_piece(self) -> tuple[str, ...]:
        return of_one_piece(self.plan, self.cases, self.patches.prepared)

    @property
    def _patches_here(self) -> int:
        return self.patches.per_step // self.fabric.world_size

    def _check_shares(self, patches: int) -> None:
        if patches % self.fabric.world_size:
            raise UserError(
                f"{patches} patches a step cannot be shared among {self.fabric.world_size} processes; set "
                "patches_per_step to a multiple of their number."
            )

    def _lesson(self) -> Lesson:
        plan, device = self.plan, self.fabric.device
        said = {key: each.to(device) for key, each in what_is_said(plan, self.cases, self.vocabulary).items()}
        first = FirstLesson(self.cases, said, self._prototypes, plan.settings.loss)
        self._annotation = first.annotation
        if not plan.teaches:
            return first
        teacher = plan.initial.network.to(device, memory_format=layout(device))
        overlaps = self._overlaps.to(device)
        known = len(plan.initial.bank)
        precision = autocast(device, self.precision)
        share = plan.settings.patches_per_step / self.patches.per_step
        return IncrementalLesson(first, teacher, known, overlaps, plan.settings.distillation, precision, share)

    def _state(self) -> tuple[TrainingState, Any]:
        settings = self.plan.settings
        torch.manual_seed(settings.seed)
        prototypes = torch.from_numpy(self.plan.bank.as_float32())
        device = self.fabric.device
        network = self._network(prototypes).to(device, memory_format=layout(device))
        self._prototypes = prototypes.to(device)
        averaged = copy.deepcopy(network).eval()
        if settings.compile:
            limit = "recompile_limit" if hasattr(torch._dynamo.config, "recompile_limit") else "cache_size_limit"
            setattr(torch._dynamo.config, limit, 64)
            network.backbone.compile(dynamic=False)
        optimizer = torch.optim.AdamW(
            network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True
        )
        wrapped, optimizer = self.fabric.setup(network, optimizer)
        return TrainingState(network, averaged, optimizer), wrapped

    def _network(self, prototypes: torch.Tensor) -> PrototypeNetwork:
        """The network before its first step; a comparison may put another one here."""
        settings, backbone = self.plan.settings, self.plan.settings.backbone
        network = PrototypeNetwork(backbone.name, backbone.features, settings.dimension, **backbone.options)
        if self.plan.initial is None:
            network.aim_at(prototypes)
        else:
            load_weights(network, weights_of(self.plan.initial.network))
        return network

    def _resume(self) -> bool:
        """Go on from the folder's checkpoint; False where it holds none."""
        record = find_training(self.folder, self.plan)
        if record is None:
            return False
        load_checkpoint(self.folder / CHECKPOINT, self.state)
        self.step, self.best, self.seconds = record["step"], record["best"], record["seconds"]
        self.validated = record["validated"]
        return True

    def _check_that_all_resumed(self) -> None:
        steps = self.fabric.all_gather(torch.tensor(self.step, device=self.fabric.device))
        if int(steps.min()) != int(steps.max()):
            raise UserError(
                f"The processes do not find the same checkpoint in {self.folder}; train in a folder that all machines "
                "share."
            )

    @torch.no_grad()
    def _aim(self, progress: Progress) -> None:
        """Give an update's new structures a head start: turn the projection to where their voxels lie already."""
        began = time.monotonic()
        projection, new = self.state.network.projection, range(len(self.plan.initial.bank), len(self.plan.bank))
        seconds = AIM_SHARE * (self.schedule.budget or math.inf)
        with all_or_none(self.fabric):
            readouts = read_out(new, self.patches, self._unit_features, self._annotation, seconds, progress)
        for k, readout in readouts.items():
            direction = readout.direction()
            if direction is not None:
                projection.copy_(aimed(projection, self._prototypes[k], direction.to(projection.device)))
        # Every process computes the same; on unlike processors nearly the same, and they must be one network.
        projection.copy_(self.fabric.broadcast(projection.detach().cpu()))
        self.state.averaged.projection.copy_(projection)
        self.seconds, _ = agreed(self.fabric, time.monotonic() - began, ending=False)

    def _unit_features(self, patch: Patch) -> torch.Tensor:
        """(N, C) float32 unit features of a patch by the running average, in the computer's memory."""
        with autocast(self.fabric.device, self.precision):
            features = self.state.averaged(self._on_device(patch.image))[0].flatten(0, 2)
        return self.state.averaged.cosine().unit(features).cpu()

    @cached_property
    def _overlaps(self) -> torch.Tensor:
        """(K + 1, K + 1) bool, which structures overlap."""
        return torch.tensor(overlap_matrix(self.plan.bank.names, self.vocabulary))

    def _on_device(self, image: torch.Tensor) -> torch.Tensor:
        """(1, X, Y, Z) of a patch -> (1, 1, X, Y, Z) as the network takes it."""
        device = self.fabric.device
        return image[None].to(device).contiguous(memory_format=layout(device))

    @torch.no_grad()
    def _average(self) -> None:
        """Follow the weights with their running average; early on it follows faster, so it never lags behind noise."""
        decay = min(self.plan.settings.average, (1 + self.step) / (10 + self.step))
        kept, new = list(self.state.averaged.parameters()), list(self.state.network.parameters())
        torch._foreach_lerp_(kept, new, 1 - decay)

    @property
    def _owes_validation(self) -> bool:
        settings = self.plan.settings
        ended = self.step == settings.iterations or self.schedule.is_spent(self.seconds)
        due = self.step % settings.validate_every == 0 or ended
        return due and self.step > self.validated

    def _validating(self, progress: Progress, whole: int) -> Progress:
        """The progress of a validation, which is still that of its step."""
        return lambda done, total, message: progress(self.step, whole, f"validating, {message}")

    def _validate(self, log: TrainingLog | None, progress: Progress = silent, last: int = 0) -> bool:
        """Validate, on the first process; True where that was cancelled while the others are in the next step already.

        Raises:
            Cancelled: as `progress` asked, where nobody goes on to a next step.
        """
        settings = self.plan.settings
        try:
            if log and settings.validation_cases:
                self._validate_on(log, settings.validation_cases, progress)
        except Cancelled:
            if self.fabric.world_size == 1 or not self._is_short_of(last):
                raise
            return True
        self.validated = self.step
        return False

    def _validate_on(self, log: TrainingLog, count: int, progress: Progress) -> None:
        cases = [case for each in self.plan.lists for case in each.of("validation")[:count]]
        if not cases:
            return
        segmenter = Segmenter(self.model(), device=self.fabric.device.type, vocabulary=self.vocabulary)
        summary = summarize(evaluate_cases(segmenter, cases, distances=False, progress=progress))
        log.validation(self.step, summary)
        score = float(np.mean([row["dice"] for row in summary["sources"].values()]))
        if score > self.best:
            if not (self.folder / CHECKPOINT).exists():  # or a kill would leave a model that nothing can go on from
                self._checkpoint()
            self.best = score
            self._save("best")

    def model(self) -> Model:
        """What was learned so far: the running average of the weights."""
        return Model(copy.deepcopy(self.state.averaged).eval(), self.plan.bank, self._manifest())

    def _manifest(self) -> Manifest:
        return training_manifest(
            self.plan,
            self._one_piece,
            self.vocabulary,
            iterations=self.step,
            seconds=self.seconds,
            processes=self.fabric.world_size,
            precision=self.precision,
            command=self.command,
        )

    def _save(self, name: str) -> Manifest:
        model = self.model()
        if not self.fabric.is_global_zero:
            return model.manifest
        return save_model(model, self.folder / name, write_card(model.manifest))

    def _checkpoint(self) -> None:
        if self.fabric.is_global_zero:
            record = {
                "step": self.step,
                "validated": self.validated,
                "best": self.best,
                "seconds": self.seconds,
                **fingerprint(self.plan),
            }
            save_checkpoint(self.folder / CHECKPOINT, self.state, record)
            self._save("last")
