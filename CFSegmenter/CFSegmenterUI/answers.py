"""What the session answers that is no node: a direction of the model's, and what became of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Query:
    """A direction to compare every voxel with, as the worker's `probe` and `prototype` answer it."""

    name: str
    arrays: dict[str, np.ndarray] = field(repr=False)


@dataclass(frozen=True)
class SegmentResult:
    """What a run gave.

    Attributes:
        node: the segmentation that was written.
        segments: structure -> segment ID, of those that were found.
        milliliters: structure -> volume, of the same.
        missing: asked for, and nowhere in the volume.
        kept: asked for, but the segment that there was had been changed by hand and was left as it is.
        seconds: from the request to the segments.
        encoded: whether the volume had to pass through the network.
        protocol: kind of scan that it was read as, by the model's name for it.
        caveats: sentences of the worker's on what to know before trusting the answer.
    """

    node: Any
    segments: dict[str, str]
    milliliters: dict[str, float]
    missing: tuple[str, ...]
    kept: tuple[str, ...]
    seconds: float
    encoded: bool
    protocol: str
    caveats: tuple[str, ...] = ()
