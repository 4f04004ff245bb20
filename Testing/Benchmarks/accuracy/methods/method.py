"""Method: where the compared methods differ; all else is the library's own training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from CFSegmenterLib.lesson import Lesson
from CFSegmenterLib.network import PrototypeNetwork
from CFSegmenterLib.planning import TrainingPlan
from CFSegmenterLib.settings import TrainingSettings

Texts = Mapping[str, np.ndarray]
"""Structure -> (D,) text embedding, where there is one."""


class Method:
    """A Method changes a training where it must; by itself it is ours, unchanged.

    Attributes:
        name: in the names of cells.
        title: in tables.
        paper: what it was written after.
        unlabelled: whether images of earlier steps come back without their annotation.
        at_once: whether it learns all steps together instead of one after another.
    """

    name = "ours"
    title = "ours"
    paper = "arXiv 2405.16328"
    unlabelled = False
    at_once = False

    def settings(self, settings: TrainingSettings) -> TrainingSettings:
        """The settings to train with."""
        return settings

    def plan(self, plan: TrainingPlan, texts: Texts) -> TrainingPlan:
        """The plan to train from, with other prototypes perhaps."""
        return plan

    def network(self, plan: TrainingPlan, prototypes: torch.Tensor, texts: Texts) -> PrototypeNetwork | None:
        """The network to train from nothing; None leaves it to the library."""
        return None

    def lesson(self, ours: Lesson) -> Lesson:
        """The lesson to learn, made of ours."""
        return ours
