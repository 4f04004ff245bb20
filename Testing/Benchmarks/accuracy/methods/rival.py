"""Rival networks: our backbone with another head, whose answers the library's own inference can carry.

A rival answers with a number in 0..1 for the background and every structure. Windows, averaging, the way back to the
scan's grid, the decision and its scores are then those of our method: what is averaged is not a unit feature but the
answer, and each "prototype" picks one of its numbers.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from CFSegmenterLib.losses import Annotation, LossTerms
from CFSegmenterLib.network import build_backbone
from CFSegmenterLib.planning import TrainingPlan


class Answers:
    """What stands for the folded cosine of a network that answers by itself."""

    def __init__(self, classes: int, device: torch.device):
        self.projection = torch.zeros(1, device=device)
        self.classes = classes

    def queries(self, prototypes: Tensor) -> Tensor:
        """(K + 1, K + 1): structure k is answer k, whatever its prototype."""
        return torch.eye(self.classes, device=self.projection.device)

    def unit(self, answers: Tensor) -> Tensor:
        """The answers as they are."""
        return answers.float()


class RivalNetwork(nn.Module):
    """A RivalNetwork gives every voxel an answer to each of K structures and the background, trained by its own loss.

    Called with an image it answers (B, X, Y, Z, K + 1); called with labels, too, it gives the loss.
    """

    def __init__(self, plan: TrainingPlan):
        super().__init__()
        backbone = plan.settings.backbone
        self.width = backbone.features
        self.backbone, self.stride = build_backbone(backbone.name, backbone.features, **backbone.options)
        self.classes = len(plan.bank)

    @property
    def features(self) -> int:
        """How many numbers a voxel's answer has."""
        return self.classes

    @property
    def projection(self) -> Tensor:
        """Any parameter; it says on which device the network is."""
        return next(self.parameters())

    def cosine(self) -> Answers:
        """What the library's inference multiplies answers with."""
        return Answers(self.classes, self.projection.device)

    def forward(self, images: Tensor, labels: Tensor | None = None, *said: Tensor):
        """Answers to (B, 1, X, Y, Z) images; or the terms of the loss of one image with its (N,) labels.

        `said`: the masks of an `Annotation`, which says what the labels mean.
        """
        if labels is None:
            return self.answer(images)
        terms = self.loss(images, labels, Annotation(*said))
        return terms.total, terms.focal, terms.dice, terms.entropy

    def answer(self, images: Tensor) -> Tensor:
        """(B, 1, X, Y, Z) -> (B, X, Y, Z, K + 1) in 0..1; the largest wins."""
        raise NotImplementedError

    def loss(self, images: Tensor, labels: Tensor, said: Annotation) -> LossTerms:
        """The loss of one image."""
        raise NotImplementedError


class Deepest:
    """The deepest feature map of a backbone: what the module with the fewest voxels gave last.

    Which one that is is found out by the first pass, so that any backbone will do.
    """

    def __init__(self, backbone: nn.Module, stride: tuple[int, int, int]):
        smallest: list[tuple[int, str, int]] = []
        hooks = []
        for name, module in backbone.named_modules():
            if not list(module.children()):
                hooks.append(module.register_forward_hook(_noting(name, smallest)))
        was_training = backbone.training
        with torch.no_grad():
            backbone.eval()(torch.zeros(1, 1, *(2 * side for side in stride)))
        backbone.train(was_training)
        for hook in hooks:
            hook.remove()
        fewest = min(voxels for voxels, _, _ in smallest)
        _, self.name, self.channels = [each for each in smallest if each[0] == fewest][-1]
        self.output: Tensor | None = None
        backbone.get_submodule(self.name).register_forward_hook(self._keep)

    def pooled(self) -> Tensor:
        """(B, channels): its mean over voxels, of the last pass."""
        return self.output.mean(dim=(2, 3, 4))

    def _keep(self, module: nn.Module, inputs: tuple, output: Tensor) -> None:
        self.output = output

    def __deepcopy__(self, memo: dict) -> Deepest:
        """A network's copy keeps its own feature maps, and none of the original's."""
        copied = object.__new__(Deepest)
        memo[id(self)] = copied
        copied.name, copied.channels, copied.output = self.name, self.channels, None
        return copied


def _noting(name: str, into: list):
    def note(module: nn.Module, inputs: tuple, output: Tensor) -> None:
        if isinstance(output, Tensor) and output.ndim == 5:
            into.append((output[0, 0].numel(), name, output.shape[1]))

    return note


def binary_terms(logits: Tensor, labels: Tensor, structures: Tensor) -> tuple[Tensor, Tensor]:
    """(cross-entropy, 1 - Dice) of one-against-all answers, each the mean over the structures.

    Args:
        logits: (M, N) of M structures at N voxels.
        labels: (N,) int64.
        structures: (M,) their labels.
    """
    wanted = (labels[None] == structures[:, None]).to(logits.dtype)
    cross_entropy = nn.functional.binary_cross_entropy_with_logits(logits, wanted)
    answers = logits.sigmoid()
    overlap = 2 * (answers * wanted).sum(dim=1) + 1e-5
    dice = overlap / (answers.sum(dim=1) + wanted.sum(dim=1) + 1e-5)
    present = wanted.any(dim=1)
    # As in our loss: without a voxel in the patch the Dice of a structure is 0 whatever the network does.
    return cross_entropy, (1 - dice[present]).mean() if bool(present.any()) else logits.new_zeros(())


def dynamic_head(features: Tensor, parameters: Tensor, widths: tuple[int, ...]) -> Tensor:
    """1x1x1 convolutions whose weights are an input, with ReLU between.

    Args:
        features: (N, widths[0]).
        parameters: (M, P), a head each: of every layer the weights, then of every layer the biases.
        widths: of the input and of each layer's output.

    Returns:
        (M, N, widths[-1])
    """
    layers = list(pairwise(widths))
    sizes = [*(a * b for a, b in layers), *(b for _, b in layers)]
    pieces = parameters.split(sizes, dim=1)
    out = features[None]
    for number, (a, b) in enumerate(layers):
        weight = pieces[number].reshape(-1, a, b)
        bias = pieces[len(layers) + number][:, None]
        out = out @ weight + bias
        if number < len(layers) - 1:
            out = out.relu()
    return out


def parameters_of(widths: tuple[int, ...]) -> int:
    """How many parameters a dynamic head of these widths takes."""
    return sum(a * b + b for a, b in pairwise(widths))
