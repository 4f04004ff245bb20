"""How long a run will take and what it needs, before it starts.

Most of it is counted: the windows that the network will see, and the arrays that will be held. How fast the network
is on this machine is a careful guess until one run has been measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from CFSegmenterLib.grid import ModelGrid

OVERLAP = 0.5
"""Share of a window that its neighbor covers too: `CFSegmenterLib.windows` has it, but would import torch here."""

GUESSED_SPEEDS = {
    ("cuda", "bf16-mixed"): 1e7,
    ("cuda", "32-true"): 5e6,
    ("cpu", "bf16-mixed"): 1e6,
    ("cpu", "32-true"): 4e5,
}
"""Voxels a second through the network, by device and precision: slow machines of each kind, so as not to promise."""

WINDOW_COPIES = 5
"""What a window takes on its way through the network, in arrays of float32 features at full resolution; measured."""
SEGMENT_SHARE = 0.05
"""Of the volume that the box around a structure takes; Slicer stores a segment in its box."""
VOLUME_BYTES = 14
"""A voxel of the volume in the worker: as sent (4), as float32 and resampled (8), and its decision (2)."""


@dataclass(frozen=True)
class Estimate:
    """What a run will take.

    Attributes:
        seconds: of the pass through the network; 0 where the encoding is there.
        workerBytes: in the worker at its worst moment.
        sceneBytes: in the scene, of the segments.
        enoughMemory: whether what is free is enough, or how much is free is not known.
        text: the same as one line for the panel.
    """

    seconds: float
    workerBytes: int
    sceneBytes: int
    enoughMemory: bool
    text: str


def estimateRun(
    shape: Sequence[int],
    spacing: Sequence[float],
    protocol: Mapping[str, Any],
    features: int,
    structures: int,
    machine: Mapping[str, Any] | None,
    speed: float | None = None,
    *,
    affine: np.ndarray | None = None,
    isEncoded: bool = False,
) -> Estimate:
    """Estimate a run on a volume.

    Args:
        shape, spacing: (3,) voxels and mm along I, J, K.
        protocol: of the manifest: `spacing` in mm and `patch` in voxels along R, A, S.
        features: numbers that an encoding holds for each voxel.
        structures: how many are asked for.
        machine: what the worker said of itself; None before it has.
        speed: as `measuredSpeed` gave it for the device; None takes a careful guess.
        affine: (4, 4) IJK -> RAS of a volume whose axes do not run along R, A, S in this order.
        isEncoded: the volume has been through the network already.
    """
    grid, windows = _pass(shape, spacing, protocol, affine)
    voxels, patch = math.prod(int(n) for n in shape), protocol["patch"]
    sceneBytes = round(voxels * (2 + SEGMENT_SHARE * structures))  # label maps as they come, and the segments
    free = machine.get("memory_free") if machine else None
    if isEncoded:
        text = _("The scan is encoded already: answers at once.")
        return Estimate(0.0, 4 * voxels, sceneBytes, free is None or free > 4 * voxels + sceneBytes, text)
    device = (machine.get("device", "cpu"), machine.get("precision", "32-true")) if machine else ("cpu", "32-true")
    seconds = windows * math.prod(patch) / (speed or GUESSED_SPEEDS.get(device, min(GUESSED_SPEEDS.values())))
    encoding = math.prod(grid) * (2 * features + 8)  # float16 features, and the image twice while it is padded
    slab = 4 * (features + 1) * patch[0] * max(grid[1], patch[1]) * max(grid[2], patch[2])
    window = 4 * features * WINDOW_COPIES * math.prod(patch)
    workerBytes = VOLUME_BYTES * voxels + encoding + slab + window
    needed = workerBytes + sceneBytes
    enough = free is None or needed <= free
    return Estimate(seconds, workerBytes, sceneBytes, enough, _line(seconds, needed, free, enough))


def machineFor(machine: Mapping[str, Any] | None, device: str) -> Mapping[str, Any] | None:
    """What the worker said of itself, as it is with the device that was asked for: "auto" leaves it to the worker."""
    if machine is None or device in ("auto", machine.get("device")):
        return machine
    # How precisely it would compute there it has not said: the slower way is the careful guess.
    return {**machine, "device": device, "precision": "32-true"}


def measuredSpeed(
    shape: Sequence[int],
    spacing: Sequence[float],
    protocol: Mapping[str, Any],
    seconds: float,
    affine: np.ndarray | None = None,
) -> float:
    """Voxels a second through the network, from the time that encoding a volume took; for the next estimate."""
    _grid, windows = _pass(shape, spacing, protocol, affine)
    return windows * math.prod(protocol["patch"]) / max(seconds, 1e-3)


def windowCount(length: int, side: int) -> int:
    """How many windows of `side` voxels cover an axis of `length`, overlapping by at least OVERLAP."""
    return math.ceil((max(length, side) - side) / max(1.0, side * (1 - OVERLAP))) + 1


def _pass(shape, spacing, protocol, affine) -> tuple[tuple[int, int, int], int]:
    """Voxels of the model's grid over a volume, and the number of windows on it."""
    if affine is None:
        affine = np.diag([*spacing, 1.0])
    grid = ModelGrid.fit(tuple(int(n) for n in shape), affine, protocol["spacing"]).shape
    return grid, math.prod(windowCount(n, side) for n, side in zip(grid, protocol["patch"]))


def _line(seconds: float, needed: int, free: int | None, enough: bool) -> str:
    if not enough:
        return _("This needs about {needed}, {free} are free: crop the volume or close other programs.").format(
            needed=_size(needed), free=_size(free)
        )
    said = {"time": _duration(seconds), "needed": _size(needed)}
    if free is None:
        return _("About {time} and {needed}").format(**said)
    return _("About {time} and {needed} ({free} free)").format(**said, free=_size(free))


def _duration(seconds: float) -> str:
    """In words as exact as a guess deserves."""
    if seconds < 10:
        return _("{n} s").format(n=max(1, math.ceil(seconds)))
    if seconds < 100:
        return _("{n} s").format(n=5 * math.ceil(seconds / 5))
    if seconds < 100 * 60:
        return _("{n} min").format(n=math.ceil(seconds / 60))
    return _("{n} h").format(n=math.ceil(seconds / 3600))


def _size(amount: int) -> str:
    if amount < 950e6:
        return _("{n} MB").format(n=f"{10 * math.ceil(amount / 1e7)}")
    return _("{n} GB").format(n=f"{amount / 1e9:.1f}" if amount < 9.95e9 else f"{amount / 1e9:.0f}")
