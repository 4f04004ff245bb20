"""The first stage's loss: prototype contrast on what is annotated, and honesty about what is not.

Written after the method's description; s are cosines, q = softmax(s / tau) over the prototypes, A the structures that
a patch's source annotates, U the background and every structure that may hide behind the label 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property

import torch
from torch import Tensor

from .hierarchy import overlap_matrix, settled_by, told_apart
from .settings import LossSettings
from .structures import Vocabulary


@dataclass(frozen=True)
class Annotation:
    """An Annotation says what the labels of a patch mean, as masks over the K + 1 prototypes.

    Attributes:
        annotated: (K + 1,) bool, the structures in A; the background is never in it.
        ambiguous: (K + 1,) bool, U: what a voxel labelled 0 may be; the background always is.
        excluded: (K + 1, K + 1) bool, row c: structures left out of the softmax at a voxel labelled c, because
            they overlap c and are right about the same voxel. Those drawn beside c compete with it all the same.
    """

    annotated: Tensor
    ambiguous: Tensor
    excluded: Tensor

    @classmethod
    def of(
        cls,
        names: Sequence[str],
        annotated: Sequence[str],
        absent: Sequence[str],
        vocabulary: Vocabulary,
    ) -> Annotation:
        """Build the masks for prototypes `names` (background first).

        Args:
            annotated: the structures that the source declares to annotate.
            absent: structures that its field of view cannot contain; label 0 denies them as if annotated.
        """
        settled = settled_by(annotated, names, vocabulary) | set(absent)
        is_annotated = torch.tensor([n in set(annotated) for n in names])
        is_ambiguous = torch.tensor([i == 0 or n not in settled for i, n in enumerate(names)])
        excluded = torch.tensor(overlap_matrix(names, vocabulary, told_apart([annotated], vocabulary)))
        return cls(is_annotated, is_ambiguous, excluded)

    # A graphics card is waited for whenever one of these is found out, so each is found out once.

    @cached_property
    def says_anything(self) -> bool:
        """Whether any structure is annotated."""
        return bool(self.annotated.any())

    @cached_property
    def excludes_anything(self) -> bool:
        """Whether any structure overlaps another."""
        return bool(self.excluded.any())

    @cached_property
    def may_hide(self) -> Tensor:
        """(U,) int64, the members of U."""
        return self.ambiguous.nonzero()[:, 0]

    def to(self, device: torch.device) -> Annotation:
        """The same on another device."""
        return Annotation(self.annotated.to(device), self.ambiguous.to(device), self.excluded.to(device))


@dataclass(frozen=True)
class LossTerms:
    """One patch's loss and its terms, each a scalar tensor; `total` carries the gradient.

    Attributes:
        total: what is minimized.
        focal, dice, entropy: of the first stage, unweighted.
        answers, features: of the distillation, unweighted; 0 without a teacher.
    """

    total: Tensor
    focal: Tensor
    dice: Tensor
    entropy: Tensor
    answers: Tensor = field(default_factory=lambda: torch.tensor(0.0))
    features: Tensor = field(default_factory=lambda: torch.tensor(0.0))

    def detached(self) -> LossTerms:
        """The same numbers without their gradient."""
        return LossTerms(*(term.detach() for term in self._all()))

    def plus(self, other: LossTerms) -> LossTerms:
        """Term by term, without the other's gradient."""
        return LossTerms(*(mine + its.detach() for mine, its in zip(self._all(), other._all(), strict=True)))

    def over(self, count: int) -> LossTerms:
        """Each term divided by `count`."""
        return LossTerms(*(term / count for term in self._all()))

    def _all(self) -> tuple[Tensor, ...]:
        return tuple(getattr(self, each.name) for each in fields(self))


def first_stage_loss(similarities: Tensor, labels: Tensor, annotation: Annotation, settings: LossSettings) -> LossTerms:
    """Focal, Dice and entropy of one patch.

    Args:
        similarities: (N, K + 1) float32 cosines of N voxels.
        labels: (N,) int64 index of the structure that was drawn, completely or in part; 0 where none was.
        annotation: what the labels mean.
    """
    logits = similarities / settings.temperature
    if annotation.excludes_anything and bool(annotation.excluded[_drawn(labels, annotation)].any()):
        logits = logits.masked_fill(annotation.excluded[labels], -torch.inf)
    log_q = torch.log_softmax(logits, dim=1)
    hidden = hidden_log_probability(log_q, annotation.may_hide, settings.hidden)
    target = torch.where(labels == 0, hidden, log_q.gather(1, labels[:, None])[:, 0])
    weights = balancing_weights(labels, settings.balance) if settings.balance else None
    focal = focal_term(target, settings.gamma, weights)
    q = log_q.exp()
    dice = dice_term(q, hidden.exp(), labels, annotation)
    finite = log_q.masked_fill(q == 0, 0.0)
    entropy = -(q * finite).sum(dim=1).mean()
    weight = settings.entropy if annotation.says_anything else settings.entropy_unannotated
    total = focal + settings.dice * dice + weight * entropy
    return LossTerms(total, focal, dice, entropy)


def hidden_log_probability(log_q: Tensor, may_hide: Tensor, weight: float = 1.0) -> Tensor:
    """(N, K + 1) log q, (U,) members of U -> (N,) log Q_U, in which each structure of U counts `weight` times."""
    # The gradient of an indexing that might name a column twice is several times slower.
    chosen = log_q.index_select(1, may_hide)
    if weight == 1.0:
        return torch.logsumexp(chosen, dim=1)
    return torch.logsumexp(chosen + (may_hide > 0) * math.log(weight), dim=1)


def focal_term(log_probability: Tensor, gamma: float, weights: Tensor | None = None) -> Tensor:
    """Mean of -(1 - p)^gamma log p over (N,) log p, or the sum weighted with (N,) `weights`."""
    log_probability = log_probability.clamp(max=0.0)
    losses = -log_probability
    if gamma != 0:
        # Where nothing is missed the slope of miss**gamma is infinite for gamma < 1, and infinity times 0 is not a
        # number.
        losses = (-torch.expm1(log_probability).clamp(max=-1e-12)) ** gamma * losses
    return losses.mean() if weights is None else (losses * weights).sum()


def balancing_weights(labels: Tensor, balance: float) -> Tensor:
    """(N,) labels -> (N,) weights that sum to 1; a label's n voxels share a weight proportional to n^(1 - balance)."""
    counts = torch.bincount(labels).to(torch.float32)
    of_label = torch.where(counts > 0, counts.clamp(min=1) ** -balance, 0.0)
    return of_label[labels] / (counts * of_label).sum()


def dice_term(q: Tensor, hidden: Tensor, labels: Tensor, annotation: Annotation) -> Tensor:
    """1 - soft Dice, mean over the merged channels that occur in the patch.

    The merged channels are each annotated structure, and U as one against the voxels labelled 0, or as a structure of
    U that was drawn in part. A structure without a voxel in the patch is left to the focal term: its Dice is 0 whatever
    the network does.

    Args:
        q: (N, K + 1) probabilities.
        hidden: (N,) probability of U.
        labels: (N,) int64.
    """
    present = (_drawn(labels, annotation) & annotation.annotated).nonzero()[:, 0]
    predicted = torch.cat([hidden[:, None], q.index_select(1, present)], dim=1)
    wanted = torch.cat([annotation.ambiguous[labels][:, None], labels[:, None] == present], dim=1).to(q.dtype)
    overlap = (predicted * wanted).sum(dim=0)
    size = predicted.sum(dim=0) + wanted.sum(dim=0)
    return (1 - (2 * overlap + 1e-5) / (size + 1e-5)).mean()


def _drawn(labels: Tensor, annotation: Annotation) -> Tensor:
    """(K + 1,) bool, which labels occur among (N,) `labels`."""
    return torch.bincount(labels, minlength=len(annotation.annotated)) > 0
