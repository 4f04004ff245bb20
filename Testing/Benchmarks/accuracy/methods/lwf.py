"""LwF: Li and Hoiem, "Learning without Forgetting", ECCV 2016.

Published for a classifier with a head a task. Here it works on our prototypes, so that only the losses differ: the new
labels as in naive fine-tuning, and the student's answer among the old classes held near its teacher's.
"""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from CFSegmenterLib.distillation import plain_distillation
from CFSegmenterLib.lesson import IncrementalLesson, Lesson
from CFSegmenterLib.losses import LossTerms
from CFSegmenterLib.network import FoldedCosine
from CFSegmenterLib.patches import Patch

from .method import Method
from .naive import NaiveLesson

WEIGHT = 10.0
"""Of the distillation, the same for every method that distils answers."""


class LwfLesson:
    """The naive lesson, and plain distillation at every voxel."""

    def __init__(self, ours: IncrementalLesson):
        self.ours = ours
        self.naive = NaiveLesson(ours)

    def __call__(self, image: Tensor, features: Tensor, cosine: FoldedCosine, patch: Patch) -> LossTerms:
        """The loss of a patch; see `lesson.Lesson`."""
        similarities = cosine.similarities(features, self.ours.first.prototypes)
        terms = self.naive.of(similarities, patch)
        teacher = self.ours.answer(image).similarities
        kept = plain_distillation(similarities, teacher, self.ours.first.settings.temperature)
        return replace(terms, total=terms.total + WEIGHT * kept, answers=kept)


class LearningWithoutForgetting(Method):
    """Old answers are distilled among old classes; that new ones may stand in the old background is not known."""

    name = "lwf"
    title = "LwF"
    paper = "Li and Hoiem 2016, Learning without Forgetting"

    def lesson(self, ours: Lesson) -> Lesson:
        """LwF's, in an update."""
        return LwfLesson(ours) if isinstance(ours, IncrementalLesson) else ours
