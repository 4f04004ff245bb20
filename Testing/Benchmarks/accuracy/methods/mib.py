"""MiB: Cermelli et al., "Modeling the Background for Incremental Learning in Semantic Segmentation", CVPR 2020.

Published for a softmax classifier. Here it works on our prototypes, so that only the losses differ: the unbiased
cross-entropy, in which a voxel labelled 0 may be background or any old structure, and the unbiased distillation, in
which the teacher's background may be background or any new structure.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from CFSegmenterLib.distillation import background_aware_distillation
from CFSegmenterLib.lesson import IncrementalLesson, Lesson
from CFSegmenterLib.losses import Annotation, LossTerms, first_stage_loss
from CFSegmenterLib.network import FoldedCosine
from CFSegmenterLib.patches import Patch

from .lwf import WEIGHT
from .method import Method
from .naive import cross_entropy_and_dice


def open_to_old(said: Annotation, known: int) -> Annotation:
    """The same annotation, where a voxel labelled 0 is background or one of the `known - 1` old structures.

    Old structures that are annotated anew are drawn wherever they are, so label 0 denies them.
    """
    ambiguous = torch.zeros_like(said.ambiguous)
    ambiguous[:known] = said.ambiguous[:known]
    return replace(said, ambiguous=ambiguous)


class MibLesson:
    """The unbiased cross-entropy with Dice, and the unbiased distillation at every voxel."""

    def __init__(self, ours: IncrementalLesson):
        self.ours = ours
        self.loss = cross_entropy_and_dice(ours.first.settings.temperature)

    def __call__(self, image: Tensor, features: Tensor, cosine: FoldedCosine, patch: Patch) -> LossTerms:
        """The loss of a patch; see `lesson.Lesson`."""
        first = self.ours.first
        similarities = cosine.similarities(features, first.prototypes)
        labels = patch.labels.flatten().to(similarities.device)
        said = open_to_old(first.annotation(patch), self.ours.known)
        terms = first_stage_loss(similarities, labels, said, self.loss)
        teacher = self.ours.answer(image).similarities
        kept = background_aware_distillation(similarities, teacher, first.settings.temperature)
        return replace(terms, total=terms.total + WEIGHT * kept, answers=kept)


class ModelingTheBackground(Method):
    """Old answers are distilled, and the background is known to hold old structures now and new ones then."""

    name = "mib"
    title = "MiB"
    paper = "Cermelli et al. 2020, Modeling the Background"

    def lesson(self, ours: Lesson) -> Lesson:
        """MiB's, in an update."""
        return MibLesson(ours) if isinstance(ours, IncrementalLesson) else ours
