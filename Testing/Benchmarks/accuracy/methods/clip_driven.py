"""CLIP-Driven Universal Model: Liu et al., "CLIP-Driven Universal Model for Organ Segmentation and Tumor Detection",
ICCV 2023.

A controller makes the 153 weights of a head of 8, 8 and 1 channels for every structure from the pooled deepest feature
and the structure's text embedding. Each answer is a sigmoid with the threshold one half; structures that a patch does
not annotate get no gradient (masked back-propagation). A structure without a text embedding gets a random one.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from CFSegmenterLib.losses import Annotation, LossTerms
from CFSegmenterLib.planning import TrainingPlan

from .method import Method, Texts
from .rival import Deepest, RivalNetwork, binary_terms, dynamic_head, parameters_of

WIDTHS = (8, 8, 8, 1)
MIDDLE = 256
TEXT_LENGTH = 8.8
"""About the length of CLIP ViT-B/32 embeddings; those that stand in for missing ones get the same."""


class ClipDrivenNetwork(RivalNetwork):
    """The backbone with a head that texts make."""

    def __init__(self, plan: TrainingPlan, texts: Texts):
        super().__init__(plan)
        self.deepest = Deepest(self.backbone, self.stride)
        self.reduce = nn.Sequential(nn.GroupNorm(8, self.width), nn.ReLU(), nn.Conv3d(self.width, 8, 1))
        self.to_middle = nn.Linear(self.deepest.channels, MIDDLE)
        width = len(next(iter(texts.values()))) if texts else plan.bank.dimension
        self.text_to_middle = nn.Linear(width, MIDDLE)
        self.controller = nn.Linear(2 * MIDDLE, parameters_of(WIDTHS))
        random = np.random.default_rng(0)
        rows = []
        for name in plan.bank.names[1:]:
            drawn = random.standard_normal(width)
            rows.append(texts.get(name, drawn * (TEXT_LENGTH / np.linalg.norm(drawn))))
        self.register_buffer("texts", torch.tensor(np.array(rows), dtype=torch.float32))

    def answer(self, images: Tensor) -> Tensor:
        """One-against-all probabilities, and the threshold one half in the place of the background."""
        structures = torch.arange(1, self.classes, device=images.device)
        each = [self.logits(images[[i]], structures).sigmoid() for i in range(len(images))]
        threshold = each[0].new_full((1, each[0].shape[1]), 0.5)
        voxels = images.shape[2:]
        return torch.stack([torch.cat([threshold, found]).T.reshape(*voxels, self.classes) for found in each])

    def logits(self, image: Tensor, structures: Tensor) -> Tensor:
        """(1, 1, X, Y, Z), (M,) structures -> (M, N)"""
        features = self.reduce(self.backbone(image))[0].flatten(1).T.float()
        pooled = self.to_middle(self.deepest.pooled().float()).expand(len(structures), -1)
        text = self.text_to_middle(self.texts[structures - 1]).relu()
        head = self.controller(torch.cat([pooled, text], dim=1))
        return dynamic_head(features, head, WIDTHS)[..., 0]

    def loss(self, images: Tensor, labels: Tensor, said: Annotation) -> LossTerms:
        """Cross-entropy and Dice of the annotated structures."""
        structures = said.annotated.nonzero()[:, 0]
        cross_entropy, dice = binary_terms(self.logits(images, structures), labels, structures)
        return LossTerms(cross_entropy + dice, cross_entropy, dice, dice.new_zeros(()))


class ClipDriven(Method):
    """A head is made for each structure from its text."""

    name = "clip-driven"
    title = "CLIP-Driven Universal Model"
    paper = "Liu et al. 2023, CLIP-Driven Universal Model"

    def network(self, plan: TrainingPlan, prototypes: Tensor, texts: Texts) -> ClipDrivenNetwork:
        """The backbone with a head that texts make."""
        return ClipDrivenNetwork(plan, texts)
