"""Lessons: what the network is to learn from a patch, by itself or beside a frozen teacher."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from .cases import Case
from .distillation import background_aware_distillation, feature_distillation, frozen, plain_distillation
from .losses import Annotation, LossTerms, first_stage_loss
from .network import FoldedCosine, PrototypeNetwork
from .patches import Patch
from .planning import TrainingPlan
from .settings import DistillationSettings, LossSettings
from .structures import Vocabulary

WhatIsSaid = Mapping[tuple[str, tuple[str, ...]], Annotation]
"""By source and what is annotated, which may differ from case to case: what the labels mean."""


def what_is_said(plan: TrainingPlan, cases: Iterable[Case], vocabulary: Vocabulary) -> WhatIsSaid:
    """What the labels of every case mean: what is annotated, and what its field of view cannot show."""
    one_of_each = {(case.source, case.annotated): case for case in cases}
    return {key: _annotation(plan, case, vocabulary) for key, case in one_of_each.items()}


def _annotation(plan: TrainingPlan, case: Case, vocabulary: Vocabulary) -> Annotation:
    source = plan.settings.sources.get(case.source)
    absent = []
    if source is not None and source.field_of_view is not None:
        for name in plan.bank.names[1:]:
            known = vocabulary.get(name)
            listed = any(name in each.structures for each in plan.lists if each.source == case.source)
            if known is not None and not listed and known.region not in source.field_of_view:
                absent.append(name)
    return Annotation.of(plan.bank.names, case.annotated, absent, vocabulary)


class Lesson(Protocol):
    """A Lesson turns what the network answers for a patch into a loss."""

    def __call__(self, image: Tensor, features: Tensor, cosine: FoldedCosine, patch: Patch) -> LossTerms:
        """
        Args:
            image: (1, 1, X, Y, Z), as the network saw it.
            features: (N, C) of its N voxels; gradients flow through them and through `cosine`.
        """


class FirstLesson:
    """The first stage: contrast with the prototypes, as far as the annotation says what a voxel is."""

    def __init__(self, cases: Sequence[Case], said: WhatIsSaid, prototypes: Tensor, settings: LossSettings):
        """`prototypes`: (K + 1, D), background first; all on the device of the training."""
        self.cases = cases
        self.said = said
        self.prototypes = prototypes
        self.settings = settings

    def __call__(self, image: Tensor, features: Tensor, cosine: FoldedCosine, patch: Patch) -> LossTerms:
        """Focal, Dice and entropy of a patch."""
        similarities = cosine.similarities(features, self.prototypes)
        labels = patch.labels.flatten().to(similarities.device)
        return first_stage_loss(similarities, labels, self.annotation(patch), self.settings)

    def annotation(self, patch: Patch) -> Annotation:
        """What the labels of a patch mean."""
        case = self.cases[patch.case]
        return self.said[case.source, case.annotated]


@dataclass(frozen=True)
class TeacherAnswer:
    """What the teacher says of N voxels: (N, C) features, (N, K + 1) similarities, and (N,) which is the largest."""

    features: Tensor
    similarities: Tensor
    best: Tensor


class IncrementalLesson:
    """An update: the first stage's loss where something is annotated anew, the teacher's answers everywhere else.

    The annotation is right where it contradicts the teacher: voxels that are labelled, and voxels labelled 0 of which
    the teacher says what the annotation denies, are not distilled.
    """

    def __init__(
        self,
        first: FirstLesson,
        teacher: PrototypeNetwork,
        known: int,
        overlaps: Tensor,
        settings: DistillationSettings,
        precision: AbstractContextManager,
        annotated_share: float = 1.0,
    ):
        """
        Args:
            teacher: copied and frozen.
            known: how many of the prototypes, background included, the teacher was taught.
            overlaps: (K' + 1, K' + 1) bool, which structures overlap.
            precision: the context in which the teacher's pass runs.
            annotated_share: of a step's patches. A step takes the mean over all its patches; what is newly annotated
                shall weigh in it as much as it would without the images that only remind.
        """
        self.first = first
        self.teacher = frozen(teacher)
        self.known = known
        self.overlaps = overlaps
        self.settings = settings
        self._precision = precision
        self._annotated_share = annotated_share
        self._cosine = self.teacher.cosine()

    def __call__(self, image: Tensor, features: Tensor, cosine: FoldedCosine, patch: Patch) -> LossTerms:
        """The first stage's terms, and how far the student is from its teacher."""
        said = self.first.annotation(patch)
        labels = patch.labels.flatten().to(features.device)
        answer = self.answer(image)
        similarities = cosine.similarities(features, self.first.prototypes)
        trusted = (labels == 0) & ~self._denied(said)[answer.best]
        if self.settings.pseudo_labels:
            labels, said = self._with_pseudo_labels(labels, said, answer, trusted)
        if said.says_anything:
            terms = first_stage_loss(similarities, labels, said, self.first.settings)
        else:  # nothing is said: such an image only reminds
            zero = similarities.new_zeros(())
            terms = LossTerms(zero, zero, zero, zero)
        weights = self._weights(trusted, answer)
        kept = self._answers(similarities, answer, weights)
        near = feature_distillation(features, answer.features, cosine, self._cosine, weights)
        new = terms.total / self._annotated_share
        total = new + self.settings.answers * kept + self.settings.features * near
        return replace(terms, total=total, answers=kept, features=near)

    @torch.no_grad()
    def answer(self, image: Tensor) -> TeacherAnswer:
        """What the teacher says of a (1, 1, X, Y, Z) image."""
        with self._precision:
            features = self.teacher(image)[0].flatten(0, 2)
        similarities = self._cosine.similarities(features, self.first.prototypes[: self.known])
        return TeacherAnswer(features, similarities, similarities.argmax(dim=1))

    def _denied(self, said: Annotation) -> Tensor:
        """(K + 1,) bool over the teacher's prototypes: what label 0 says that a voxel is not."""
        return ~said.ambiguous[: self.known]

    def _weights(self, trusted: Tensor, answer: TeacherAnswer) -> Tensor:
        weights = trusted.to(answer.similarities.dtype)
        if self.settings.similarity_weighted:
            weights = weights * answer.similarities.amax(dim=1).clamp(min=0)
        return weights

    def _answers(self, similarities: Tensor, answer: TeacherAnswer, weights: Tensor) -> Tensor:
        temperature = self.first.settings.temperature
        if not self.settings.background_aware:
            return plain_distillation(similarities, answer.similarities, temperature, weights)
        overlaps = self.overlaps if bool(self.overlaps[: self.known, self.known :].any()) else None
        return background_aware_distillation(similarities, answer.similarities, temperature, overlaps, weights)

    def _with_pseudo_labels(
        self, labels: Tensor, said: Annotation, answer: TeacherAnswer, trusted: Tensor
    ) -> tuple[Tensor, Annotation]:
        """Labels that also hold what the teacher is sure of, and an annotation that counts it as drawn."""
        top = answer.similarities.topk(2, dim=1).values
        sure = torch.softmax(answer.similarities / self.first.settings.temperature, dim=1).amax(dim=1)
        enough = (sure >= self.settings.confidence) & (top[:, 0] - top[:, 1] >= self.settings.margin)
        taken = trusted & enough & (answer.best > 0)
        annotated = said.annotated.clone()
        annotated[answer.best[taken]] = True
        return torch.where(taken, answer.best, labels), replace(said, annotated=annotated)
