"""The decision: which structure a voxel belongs to, given its similarities to all prototypes.

Every known prototype competes, whether it was asked for or not. A voxel of the right kidney resembles neither the left
kidney nor the background; left out of the contest, it would be given to one of them by chance. It also makes answers
independent of each other: asking for one structure more never changes another one's mask.

Structures that overlap (a whole and its parts, parts by different divisions) do not compete; they are decided in
layers, each a contest among structures that exclude each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .hierarchy import overlap_matrix
from .structures import Vocabulary


@dataclass(frozen=True)
class Layer:
    """A contest: `members` are decided here; `rivals`, background and members included, compete with them.

    Both hold indices of prototypes in ascending order.
    """

    members: tuple[int, ...]
    rivals: tuple[int, ...]


def plan_layers(names: Sequence[str], vocabulary: Vocabulary) -> tuple[Layer, ...]:
    """Share prototypes `names` (background first) out among as few layers as their overlaps allow, in order."""
    overlaps = overlap_matrix(names, vocabulary)
    groups: list[list[int]] = []
    for index in range(1, len(names)):
        home = next((g for g in groups if not overlaps[index, g].any()), None)
        if home is None:
            groups.append([index])
        else:
            home.append(index)
    layers = []
    for group in groups:
        rivals = [i for i in range(len(names)) if i in group or not overlaps[i, group].any()]
        layers.append(Layer(tuple(group), tuple(rivals)))
    return tuple(layers)


def winners(similarities: Tensor, layer: Layer) -> np.ndarray:
    """(N, K + 1) similarities -> (N,) uint16 index of the winning member; 0 where a rival or the background won."""
    members = set(layer.members)
    answers = np.array([rival if rival in members else 0 for rival in layer.rivals], dtype=np.uint16)
    # `max` finds the index twice as fast as `argmax` does, and the same one.
    return answers[_of_rivals(similarities, layer).max(dim=1).indices.numpy()]


def margins(similarities: Tensor, layer: Layer) -> np.ndarray:
    """(N, K + 1) similarities -> (N,) float32 lead of the best rival over the second, the certainty of the choice."""
    rivals = _of_rivals(similarities, layer)
    best = rivals.max(dim=1, keepdim=True)
    second = rivals.scatter(1, best.indices, -torch.inf).amax(dim=1)
    return (best.values[:, 0] - second).numpy()


def _of_rivals(similarities: Tensor, layer: Layer) -> Tensor:
    """The columns of a layer's rivals; a view where these are all."""
    return similarities if len(layer.rivals) == similarities.shape[1] else similarities[:, list(layer.rivals)]
