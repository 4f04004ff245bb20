"""Aiming: a head start for new structures, before the first step of an update.

A new prototype is at right angles to nearly all that the projection reaches, so at first no voxel resembles it, and a
short update would spend its first part on turning the projection there. How far the features of the model at hand tell
the new structure apart already is read off in closed form: ridge regression of "this voxel is of the structure" on the
unit feature. The result is added along the new prototype alone. Prototypes are at right angles to each other, so the
numerators of all other similarities stay exactly as they were, and with them the order of the old structures at every
voxel: only a new one can come before them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Collection

import torch
from torch import Tensor

from .losses import Annotation
from .patches import Patch, PatchSequence
from .progress import Progress, advance, silent

PATCHES, PATCHES_IN_ALL = 12, 128
"""That are looked at for each new structure, and for all of them together."""

RIDGE = 1e-3
"""Relative to the mean square of a feature's channel."""


class Readout:
    """A Readout gathers unit features inside and outside a structure, and answers with what tells them apart.

    Both sides weigh the same, however few voxels lie inside. Only second moments are kept, so it may see any number.
    """

    def __init__(self, channels: int):
        """`channels`: C, the width of a feature."""
        nothing = torch.zeros(channels, channels, dtype=torch.float64)
        self._squares = {True: nothing, False: nothing}
        self._counts = {True: 0, False: 0}
        self._sum = nothing[0]

    def see(self, inside: Tensor, outside: Tensor) -> None:
        """Add (N, C) unit features of voxels of the structure, and (M, C) of others."""
        for side, features in ((True, inside.double()), (False, outside.double())):
            self._squares[side] = self._squares[side] + features.T @ features
            self._counts[side] += len(features)
        self._sum = self._sum + inside.double().sum(dim=0)

    def direction(self) -> Tensor | None:
        """(C,) float64 whose product with a unit feature tells inside from outside; None where it saw only one of them.

        The regression is scaled by the share of the variance that it explains, 0 where the features say nothing and 1
        where they say all: a head start that is mostly wrong has to be unlearned, and does harm in scans that nobody
        looks at.
        """
        if not all(self._counts.values()):
            return None
        inside, outside = (self._squares[side] / self._counts[side] for side in (True, False))
        moments = inside + outside
        ridge = RIDGE * moments.diagonal().mean() * torch.eye(len(moments)).to(moments)
        mean = self._sum / self._counts[True]
        direction = torch.linalg.solve(moments + ridge, mean)
        explained = 2 * float(direction @ mean) - 1
        return direction * max(0.0, explained)


def aimed(projection: Tensor, prototype: Tensor, direction: Tensor) -> Tensor:
    """The projection that answers a unit feature u with `direction @ u` along a new prototype.

    Args:
        projection: (D, C).
        prototype: (D,) of length 1, at right angles to the other prototypes.
        direction: (C,).

    Returns:
        (D, C) in the projection's precision. A voxel's embedding has no longer length 1, as every similarity sees to.
    """
    exact, along = projection.double(), prototype.double()
    change = torch.outer(along, direction.to(exact) - exact.T @ along)
    return (exact + change).to(projection)


def read_out(
    new: Collection[int],
    patches: PatchSequence,
    unit_features: Callable[[Patch], Tensor],
    annotation: Callable[[Patch], Annotation],
    seconds: float,
    progress: Progress = silent,
) -> dict[int, Readout]:
    """What the features at hand tell of new structures, on the first annotated patches.

    Args:
        new: numbers of their prototypes.
        unit_features: patch -> (N, C) of its N voxels.
        annotation: patch -> what its labels mean; they say nothing of a structure that overlaps the one drawn there.
        seconds: after which no further patch is looked at.

    Raises:
        Cancelled: as `progress` asked.
    """
    readouts: dict[int, Readout] = {}
    count = min(PATCHES * len(new), PATCHES_IN_ALL)
    annotated = filter(patches.is_annotated, itertools.count())
    began = time.monotonic()
    for looked_at, number in enumerate(itertools.islice(annotated, count)):
        advance(progress, looked_at, count, f"looking at new structures, patch {looked_at + 1} of {count}")
        patch = patches[number]
        units, labels, said = unit_features(patch), patch.labels.flatten(), annotation(patch)
        for k in new:
            if said.annotated[k]:
                inside, open_to = labels == k, said.excluded[k].to(labels.device)[labels]
                readout = readouts.setdefault(k, Readout(units.shape[1]))
                readout.see(units[inside], units[~inside & ~open_to])
        if time.monotonic() - began > seconds:
            break
    return readouts
