"""Plain softmax classifier: a 1x1x1 convolution to the classes, cross-entropy and Dice, label 0 is background.

What most segmentation networks do; the network's last layer has the number of classes in its shape.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from CFSegmenterLib.losses import Annotation, LossTerms, first_stage_loss
from CFSegmenterLib.planning import TrainingPlan

from .method import Method, Texts
from .naive import closed, cross_entropy_and_dice
from .rival import RivalNetwork


class SoftmaxNetwork(RivalNetwork):
    """The backbone with a softmax head."""

    def __init__(self, plan: TrainingPlan):
        super().__init__(plan)
        self.head = nn.Conv3d(self.width, self.classes, 1)

    def answer(self, images: Tensor) -> Tensor:
        """Probabilities."""
        return self.logits(images).softmax(dim=-1)

    def logits(self, images: Tensor) -> Tensor:
        """(B, X, Y, Z, K + 1)"""
        return self.head(self.backbone(images)).permute(0, 2, 3, 4, 1).float()

    def loss(self, images: Tensor, labels: Tensor, said: Annotation) -> LossTerms:
        """Cross-entropy and Dice; what is not drawn is not there."""
        plain = closed(said)
        plain = Annotation(plain.annotated, plain.ambiguous, torch.zeros_like(plain.excluded))
        logits = self.logits(images)[0].flatten(0, 2)
        return first_stage_loss(logits, labels, plain, cross_entropy_and_dice(temperature=1.0))


class SoftmaxClassifier(Method):
    """It takes label 0 for background, also where a structure was only not drawn."""

    name = "softmax"
    title = "plain softmax classifier"
    paper = "none"

    def network(self, plan: TrainingPlan, prototypes: Tensor, texts: Texts) -> SoftmaxNetwork:
        """The backbone with a softmax head."""
        return SoftmaxNetwork(plan)
