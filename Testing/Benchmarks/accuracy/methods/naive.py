"""Naive fine-tuning: the network goes on learning, and label 0 is background, whatever it knew before."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from CFSegmenterLib.lesson import IncrementalLesson, Lesson
from CFSegmenterLib.losses import Annotation, LossTerms, first_stage_loss
from CFSegmenterLib.network import FoldedCosine
from CFSegmenterLib.patches import Patch
from CFSegmenterLib.settings import LossSettings

from .method import Method


def cross_entropy_and_dice(temperature: float) -> LossSettings:
    """The loss of the methods that were published with cross-entropy; Dice is added, as everybody's here has it."""
    return LossSettings(
        temperature=temperature, gamma=0.0, balance=0.0, hidden=1.0, dice=1.0, entropy=0.0, entropy_unannotated=0.0
    )


def closed(said: Annotation) -> Annotation:
    """The same annotation, where a voxel labelled 0 is nothing but background."""
    only_background = torch.zeros_like(said.ambiguous)
    only_background[0] = True
    return replace(said, ambiguous=only_background)


class NaiveLesson:
    """Cross-entropy and Dice of the new labels, without a word about the old ones."""

    def __init__(self, ours: IncrementalLesson):
        self.first = ours.first
        self.loss = cross_entropy_and_dice(ours.first.settings.temperature)

    def __call__(self, image: Tensor, features: Tensor, cosine: FoldedCosine, patch: Patch) -> LossTerms:
        """The loss of a patch; see `lesson.Lesson`."""
        return self.of(cosine.similarities(features, self.first.prototypes), patch)

    def of(self, similarities: Tensor, patch: Patch) -> LossTerms:
        """The same, of (N, K + 1) similarities."""
        labels = patch.labels.flatten().to(similarities.device)
        return first_stage_loss(similarities, labels, closed(self.first.annotation(patch)), self.loss)


class FineTuning(Method):
    """Nothing is done against forgetting."""

    name = "naive"
    title = "naive fine-tuning"
    paper = "none"

    def lesson(self, ours: Lesson) -> Lesson:
        """The naive one, in an update."""
        return NaiveLesson(ours) if isinstance(ours, IncrementalLesson) else ours
