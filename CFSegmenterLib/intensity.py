"""Intensity rules: how the voxels of a modality become numbers that the network was trained on."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator


class WindowRule(BaseModel):
    """A window on an absolute scale, such as Hounsfield units: `low`..`high` becomes -2..2, the rest is clipped."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["window"] = "window"
    low: float
    high: float

    @model_validator(mode="after")
    def _has_a_width(self) -> WindowRule:
        if not self.low < self.high:
            raise ValueError("the window's low must lie below its high")
        return self

    def apply(self, array: np.ndarray) -> np.ndarray:
        """(I, J, K) any real dtype -> float32 of the same shape, in -2..2."""
        center, half = (self.high + self.low) / 2, (self.high - self.low) / 2
        scaled = array.astype(np.float32)
        scaled -= center
        scaled *= 2 / half
        return np.clip(scaled, -2, 2, out=scaled)


class ForegroundZScoreRule(BaseModel):
    """Zero mean and unit deviation over the foreground, for modalities without an absolute scale (MR).

    The foreground is what is brighter than a tenth of the way from the darkest voxel to the `upper` percentile: it
    leaves out air and a skull-stripped surround, so that it depends little on how much of either the scan contains.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Literal["foreground-zscore"] = "foreground-zscore"
    upper: float = Field(default=99.5, gt=0, le=100)
    limit: float = Field(default=5.0, gt=0)

    def apply(self, array: np.ndarray) -> np.ndarray:
        """(I, J, K) any real dtype -> float32 of the same shape, in -limit..limit."""
        scaled = array.astype(np.float32)
        low, high = float(scaled.min()), float(np.percentile(scaled, self.upper))
        np.minimum(scaled, high, out=scaled)
        foreground = scaled[scaled > low + 0.1 * (high - low)]
        if foreground.size == 0:
            foreground = scaled.ravel()
        # In float64, so that neither the order of the voxels nor very large values show in the result.
        mean, deviation = float(foreground.mean(dtype=np.float64)), float(foreground.std(dtype=np.float64))
        scaled -= mean
        scaled /= max(deviation, 1e-6)
        return np.clip(scaled, -self.limit, self.limit, out=scaled)


IntensityRule = Annotated[WindowRule | ForegroundZScoreRule, Field(discriminator="kind")]

CT_WINDOW = WindowRule(low=-200, high=400)


def default_rule(modality: str) -> IntensityRule:
    """The rule for a modality that no setting speaks of: a soft-tissue and bone window for CT, a z-score else."""
    return CT_WINDOW if modality.startswith("ct") else ForegroundZScoreRule()
