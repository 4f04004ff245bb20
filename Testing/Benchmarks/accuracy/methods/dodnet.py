"""DoDNet: Zhang et al., "DoDNet: Learning to segment multi-organ and tumors from multiple partially labeled
datasets", CVPR 2021.

A controller makes the 162 weights of a head of 8, 8 and 2 channels from the pooled deepest feature and a one-hot task.
A task was an organ with its tumor there; here it is a structure, and the two channels are what is not it and it. Only
the tasks that a patch annotates are trained. Every structure takes a head pass of its own.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from CFSegmenterLib.losses import Annotation, LossTerms
from CFSegmenterLib.planning import TrainingPlan

from .method import Method, Texts
from .rival import Deepest, RivalNetwork, binary_terms, dynamic_head, parameters_of

WIDTHS = (8, 8, 8, 2)


class DoDNetNetwork(RivalNetwork):
    """The backbone with a dynamic head."""

    def __init__(self, plan: TrainingPlan):
        super().__init__(plan)
        self.deepest = Deepest(self.backbone, self.stride)
        self.reduce = nn.Sequential(nn.GroupNorm(8, self.width), nn.ReLU(), nn.Conv3d(self.width, 8, 1))
        self.controller = nn.Linear(self.deepest.channels + self.classes - 1, parameters_of(WIDTHS))

    def answer(self, images: Tensor) -> Tensor:
        """One-against-all probabilities, and one half for the background: it wins where no structure has more."""
        tasks = torch.arange(1, self.classes, device=images.device)
        each = [self.logits(images[[i]], tasks).sigmoid() for i in range(len(images))]
        background = each[0].new_full((1, each[0].shape[1]), 0.5)
        voxels = images.shape[2:]
        return torch.stack([torch.cat([background, found]).T.reshape(*voxels, self.classes) for found in each])

    def logits(self, image: Tensor, tasks: Tensor) -> Tensor:
        """(1, 1, X, Y, Z), (M,) structures -> (M, N) how much more likely each is than not."""
        features = self.reduce(self.backbone(image))[0].flatten(1).T.float()
        code = nn.functional.one_hot(tasks - 1, self.classes - 1).to(features.dtype)
        pooled = self.deepest.pooled().float().expand(len(tasks), -1)
        head = self.controller(torch.cat([pooled, code], dim=1))
        two = dynamic_head(features, head, WIDTHS)
        return two[..., 1] - two[..., 0]  # the sigmoid of it is the softmax of the two

    def loss(self, images: Tensor, labels: Tensor, said: Annotation) -> LossTerms:
        """Cross-entropy and Dice of the annotated tasks."""
        tasks = said.annotated.nonzero()[:, 0]
        cross_entropy, dice = binary_terms(self.logits(images, tasks), labels, tasks)
        return LossTerms(cross_entropy + dice, cross_entropy, dice, dice.new_zeros(()))


class DoDNet(Method):
    """A head is made for each task."""

    name = "dodnet"
    title = "DoDNet"
    paper = "Zhang et al. 2021, DoDNet"

    def network(self, plan: TrainingPlan, prototypes: Tensor, texts: Texts) -> DoDNetNetwork:
        """The backbone with a dynamic head."""
        return DoDNetNetwork(plan)
