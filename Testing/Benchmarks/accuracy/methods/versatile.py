"""Versatile: Chen et al., "Versatile Medical Image Segmentation Learned from Multi-Source Datasets via Model
Self-Disambiguation", CVPR 2024.

A softmax classifier that knows that label 0 is ambiguous: there the probabilities of all that may hide behind it are
summed, in a focal and a Dice term, and the entropy asks for a decision, three times as much where nothing is drawn.
Our first stage has the same terms, with cosines in place of logits, so the library's function computes them.
"""

from __future__ import annotations

from torch import Tensor

from CFSegmenterLib.losses import Annotation, LossTerms, first_stage_loss
from CFSegmenterLib.planning import TrainingPlan
from CFSegmenterLib.settings import LossSettings

from .method import Method, Texts
from .softmax import SoftmaxNetwork

LOSS = LossSettings(temperature=1.0, gamma=2.0, balance=0.0, hidden=1.0, dice=1.0, entropy=1.0, entropy_unannotated=3.0)


class VersatileNetwork(SoftmaxNetwork):
    """The backbone with a softmax head and an ambiguity-aware loss."""

    def __init__(self, plan: TrainingPlan, settings: LossSettings = LOSS):
        super().__init__(plan)
        self.settings = settings

    def loss(self, images: Tensor, labels: Tensor, said: Annotation) -> LossTerms:
        """Ambiguity-aware focal and Dice, and entropy."""
        return first_stage_loss(self.logits(images)[0].flatten(0, 2), labels, said, self.settings)


class Versatile(Method):
    """The first author's earlier answer to incomplete annotation, with the weights of its paper."""

    name = "versatile"
    title = "Versatile"
    paper = "Chen et al. 2024, Model Self-Disambiguation"

    def network(self, plan: TrainingPlan, prototypes: Tensor, texts: Texts) -> VersatileNetwork:
        """The backbone with a softmax head and an ambiguity-aware loss."""
        return VersatileNetwork(plan)
