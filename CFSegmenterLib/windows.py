"""Sliding windows: unit features of a whole image, each voxel the Gaussian-weighted mean of the windows over it.

A similarity is linear in the unit feature, so averaging features here is averaging every similarity map at once:
the network passes over an image a single time, whatever is asked of it later.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import product

import numpy as np
import torch

from .network import FoldedCosine, PrototypeNetwork
from .precision import autocast, layout
from .progress import Progress, advance, silent

OVERLAP = 0.5
VOXELS_AT_ONCE = 2**20
"""Voxels of the windows that a graphics card is given at once: one window of 64 a side leaves most of it idle."""

Allocate = Callable[[tuple[int, int, int, int]], np.ndarray]


def unit_features(
    network: PrototypeNetwork,
    image: np.ndarray,
    patch: Sequence[int],
    *,
    precision: str = "32-true",
    overlap: float = OVERLAP,
    allocate: Allocate | None = None,
    progress: Progress = silent,
    gathering: torch.device | None = None,
) -> np.ndarray:
    """Pass a network over an image, window by window.

    Only a slab as thick as one window is held in full precision; it moves along the first axis and leaves finished
    rows behind.

    Args:
        image: (X, Y, Z) float32 on the model's grid, already in the network's numbers.
        patch: voxels of a window.
        precision: "32-true" or "bf16-mixed".
        overlap: share of a window that its neighbour covers too.
        allocate: makes the float16 array for the result, a memory-mapped one where it is large.
        gathering: the device that holds the slab; None takes the network's. Where it is another, the network's has
            little memory, and windows are passed one by one.

    Returns:
        (X, Y, Z, C) float16.

    Raises:
        Cancelled: as `progress` asked.
    """
    padded, inside = pad_to(image, patch)
    starts = [window_starts(length, side, overlap) for length, side in zip(padded.shape, patch, strict=True)]
    device = network.projection.device
    gathering = device if gathering is None else gathering
    weight = gaussian(patch).to(gathering)
    shape = (*image.shape, network.features)
    result = np.empty(shape, dtype=np.float16) if allocate is None else allocate(shape)
    total = math.prod(len(s) for s in starts)
    cosine = network.cosine()
    slab = torch.zeros((patch[0], *padded.shape[1:], network.features), device=gathering)
    mass = torch.zeros((patch[0], *padded.shape[1:], 1), device=gathering)
    at_once = max(1, VOXELS_AT_ONCE // math.prod(patch)) if gathering.type == "cuda" else 1
    corners = list(product(starts[1], starts[2]))
    done = 0
    with torch.inference_mode():
        for row, start in enumerate(starts[0]):
            for first in range(0, len(corners), at_once):
                advance(progress, done, total, f"window {done + 1} of {total}")
                places = [(slice(y, y + patch[1]), slice(z, z + patch[2])) for y, z in corners[first : first + at_once]]
                boxes = [torch.from_numpy(padded[start : start + patch[0], y, z]) for y, z in places]
                windows = torch.stack(boxes)[:, None].to(device)
                with autocast(device, precision):
                    features = network(windows.contiguous(memory_format=layout(device)))
                for (y, z), each in zip(places, features, strict=True):
                    _add_unit(slab[:, y, z], each, weight, cosine)
                    mass[:, y, z] += weight
                done += len(places)
            following = starts[0][row + 1] if row + 1 < len(starts[0]) else padded.shape[0]
            finished = min(following - start, patch[0])
            _write_rows(result, slab[:finished], mass[:finished], start, inside)
            for buffer in (slab, mass):
                _move_up(buffer, finished)
    advance(progress, total, total, "all windows done")
    return result


def window_starts(length: int, side: int, overlap: float) -> list[int]:
    """First voxels of windows of `side` spread evenly over `length` >= side, overlapping by at least `overlap`."""
    count = math.ceil((length - side) / max(1.0, side * (1 - overlap))) + 1
    return [round(i * (length - side) / max(1, count - 1)) for i in range(count)]


def gaussian(patch: Sequence[int]) -> torch.Tensor:
    """(X, Y, Z, 1) float32 weights, largest at the window's centre, with a deviation of an eighth of its side."""
    axes = []
    for side in patch:
        away = (torch.arange(side) - (side - 1) / 2) / (side / 8)
        axes.append(torch.exp(-0.5 * away.square()).clamp(min=1e-3))
    return (axes[0][:, None, None] * axes[1][None, :, None] * axes[2][None, None, :])[..., None]


def pad_to(image: np.ndarray, patch: Sequence[int]) -> tuple[np.ndarray, tuple[slice, slice, slice]]:
    """Pad an image with its darkest value until a window fits, evenly on both sides.

    Returns:
        The padded image, and where the image lies in it.
    """
    margins = [max(0, side - length) for length, side in zip(image.shape, patch, strict=True)]
    before = [margin // 2 for margin in margins]
    inside = tuple(slice(b, b + n) for b, n in zip(before, image.shape, strict=True))
    if not any(margins):
        return np.ascontiguousarray(image, dtype=np.float32), inside
    padding = [(b, margin - b) for b, margin in zip(before, margins, strict=True)]
    return np.pad(image, padding, constant_values=image.min()).astype(np.float32), inside


def _add_unit(slab: torch.Tensor, features: torch.Tensor, weight: torch.Tensor, cosine: FoldedCosine) -> None:
    """Add the weighted unit features of a window to its place in the slab, both (X, Y, Z, C)."""
    # A plane and all that is computed of it fit the cache of a CPU, a window does not.
    step = len(features) if features.is_cuda else 1
    for first in range(0, len(features), step):
        part = slice(first, first + step)
        slab[part].addcmul_(cosine.unit(features[part]).to(slab.device), weight[part])


def _write_rows(
    result: np.ndarray, sums: torch.Tensor, mass: torch.Tensor, start: int, inside: tuple[slice, slice, slice]
) -> None:
    """Write the means of finished rows, which begin at `start` of the padded image, to where they lie in the result."""
    for row, place in enumerate(range(start - inside[0].start, start - inside[0].start + len(sums))):
        if 0 <= place < len(result):
            mean = sums[row, inside[1], inside[2]] / mass[row, inside[1], inside[2]]
            result[place] = mean.half().cpu().numpy()


def _move_up(buffer: torch.Tensor, count: int) -> None:
    """Move the rows of a buffer `count` places towards its start, without a copy of it, and clear what is left."""
    for first in range(0, len(buffer) - count, count):
        rows = buffer[first + count : first + 2 * count]
        buffer[first : first + len(rows)] = rows
    buffer[len(buffer) - count :] = 0
