"""The decision: which structure a voxel belongs to, given its similarities to all prototypes.

Every known prototype competes, whether it was asked for or not. A voxel of the right kidney resembles neither the left
kidney nor the background; left out of the contest, it would be given to one of them by chance. It also makes answers
independent of each other: asking for one structure more never changes another one's mask.

Structures that were taught only in other kinds of scan are guests: in this kind of scan nobody ever told them what they
are not. They take what the structures at home here leave to the background, and nothing of theirs, so that a structure
taught in CT cannot take an organ's place in MR.

Structures that overlap (a whole and its parts, parts by different divisions) do not compete, so a voxel belongs to a
structure where that is more similar than everything that it excludes. Structures that exclude each other are decided
together, in layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """A contest: `members` are decided here; `rivals`, background and members included, compete with them.

    A structure that overlaps some of the members is no rival to them but still excludes the others: it stands in
    `objections`, pairs of members and what only these have to beat besides the rivals. Where anterior and left
    hippocampus are both known, the amygdala is decided with the anterior one and must not take what is left
    hippocampus. All hold indices of prototypes in ascending order.
    """

    members: tuple[int, ...]
    rivals: tuple[int, ...]
    objections: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = ()


def plan_layers(overlaps: np.ndarray) -> tuple[Layer, ...]:
    """Share prototypes out among as few layers as their overlaps allow, in order.

    Args:
        overlaps: (K + 1, K + 1) bool, which prototypes overlap, background first (see `hierarchy.overlap_matrix`).
    """
    groups: list[list[int]] = []
    for index in range(1, len(overlaps)):
        home = next((g for g in groups if not overlaps[index, g].any()), None)
        if home is None:
            groups.append([index])
        else:
            home.append(index)
    return tuple(_layer(group, overlaps) for group in groups)


def _layer(group: list[int], overlaps: np.ndarray) -> Layer:
    everyone = range(len(overlaps))
    rivals = tuple(i for i in everyone if i in group or not overlaps[i, group].any())
    others = [i for i in everyone if i not in rivals]
    beside: dict[tuple[int, ...], list[int]] = {}
    for member in group:
        beside.setdefault(tuple(i for i in others if not overlaps[i, member]), []).append(member)
    return Layer(tuple(group), rivals, tuple((tuple(m), against) for against, m in beside.items() if against))


def with_guests_last(similarities: Tensor, guests: Sequence[int], overlaps: np.ndarray) -> Tensor:
    """Similarities in which a guest has none where a structure at home that excludes it beats the background.

    Args:
        similarities: (N, K + 1), left as they are.
        guests: indices of prototypes.
        overlaps: as in `plan_layers`.
    """
    hosts = np.setdiff1d(np.arange(1, len(overlaps)), guests)
    result = similarities.clone()
    by_hosts: dict[bytes, list[int]] = {}
    for guest in guests:
        by_hosts.setdefault(overlaps[guest, hosts].tobytes(), []).append(guest)
    for group in by_hosts.values():
        excluding = hosts[~overlaps[group[0], hosts]]
        if len(excluding):
            taken = _columns(similarities, tuple(excluding)).amax(dim=1) > similarities[:, 0]
            result[:, group] = similarities[:, group].masked_fill(taken[:, None], -torch.inf)
    return result


def winners(similarities: Tensor, layer: Layer) -> np.ndarray:
    """(N, K + 1) similarities -> (N,) uint16 index of the winning member; 0 where anything else is more similar."""
    members = set(layer.members)
    answers = np.array([rival if rival in members else 0 for rival in layer.rivals], dtype=np.uint16)
    # `max` finds the index twice as fast as `argmax` does, and the same one.
    best = _columns(similarities, layer.rivals).max(dim=1)
    found = answers[best.indices.numpy()]
    for concerned, against in layer.objections:
        is_concerned = np.zeros(similarities.shape[1], dtype=bool)
        is_concerned[list(concerned)] = True
        beaten = (_columns(similarities, against).amax(dim=1) > best.values).numpy()
        found[beaten & is_concerned[found]] = 0
    return found


def margins(similarities: Tensor, overlaps: np.ndarray) -> np.ndarray:
    """(N, K + 1) similarities -> (N,) float32 lead of the best over the best that it excludes: how sure the choice is.

    Args:
        overlaps: as in `plan_layers`.
    """
    best = similarities.max(dim=1, keepdim=True)
    others = similarities.scatter(1, best.indices, -torch.inf)
    if overlaps.any():
        others = others.masked_fill(torch.from_numpy(overlaps)[best.indices[:, 0]], -torch.inf)
    return (best.values[:, 0] - others.amax(dim=1)).numpy()


def _columns(similarities: Tensor, indices: tuple[int, ...]) -> Tensor:
    """Some of the columns in their order; a view where these are all."""
    return similarities if len(indices) == similarities.shape[1] else similarities[:, list(indices)]
