"""The compared trainer: the library's own, with a method's network and lesson in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch

from CFSegmenterLib.lesson import Lesson
from CFSegmenterLib.losses import LossTerms
from CFSegmenterLib.network import PrototypeNetwork
from CFSegmenterLib.patches import Patch
from CFSegmenterLib.planning import TrainingPlan
from CFSegmenterLib.progress import Progress, silent
from CFSegmenterLib.training import Trainer

from .methods.method import Method, Texts
from .methods.rival import RivalNetwork


class ComparedTrainer(Trainer):
    """A ComparedTrainer differs from a Trainer in what the method says and in nothing else.

    Patches, sampling, augmentation, optimizer, learning rate, averaging and checkpoints are the library's.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        folder: Path,
        method: Method,
        texts: Texts,
        cache: Path,
        progress: Progress = silent,
    ):
        """`cache`: prepared cases, which all trainings share."""
        self.method, self.texts = method, texts
        folder.mkdir(parents=True, exist_ok=True)
        _shared(folder / "cache", cache)
        super().__init__(plan, folder, progress=progress)
        self.cpu_seconds, self.steps_timed = 0.0, 0

    def take_step(self, patches: list[Patch]) -> LossTerms:
        """One step, timed: CPU time over all threads hardly changes when other work shares the machine."""
        began = time.process_time()
        terms = super().take_step(patches)
        self.cpu_seconds += time.process_time() - began
        self.steps_timed += 1
        return terms

    def loss(self, patch: Patch) -> LossTerms:
        """The loss of one patch: a rival's own, or the lesson's."""
        if not isinstance(self.state.network, RivalNetwork):
            return super().loss(patch)
        image, labels = self._on_device(patch.image), patch.labels.flatten().to(self.fabric.device)
        said = self.lesson.annotation(patch)
        # Fabric looks into what it hands on, and may not look into a frozen dataclass.
        return LossTerms(*self.network(image, labels, said.annotated, said.ambiguous, said.excluded))

    def _network(self, prototypes: torch.Tensor) -> PrototypeNetwork:
        chosen = self.method.network(self.plan, prototypes, self.texts) if self.plan.initial is None else None
        return chosen or super()._network(prototypes)

    def _lesson(self) -> Lesson:
        return self.method.lesson(super()._lesson())


def _shared(link: Path, folder: Path) -> None:
    """Let a training's cache be the one that all share; its files' names are checksums of what they were made of."""
    folder.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        os.symlink(folder.resolve(), link, target_is_directory=True)
