"""Files of ITK and DICOM speak LPS, the library speaks RAS; the conversion happens here and nowhere else."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def affine_from_lps(
    origin: Sequence[float], spacing: Sequence[float], direction: Sequence[float] | np.ndarray
) -> np.ndarray:
    """(4, 4) IJK to RAS from ITK's geometry in LPS: origin (3), spacing (3), direction (9 or 3 x 3); mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(direction, (3, 3)) * np.asarray(spacing, dtype=np.float64)
    affine[:3, 3] = origin
    return flipped(affine)


def lps_from_affine(affine: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Origin (3), spacing (3) and row-major direction (9) in LPS of a (4, 4) affine from IJK to RAS."""
    lps = flipped(affine)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    return tuple(lps[:3, 3].tolist()), tuple(spacing.tolist()), tuple(direction.ravel().tolist())


def flipped(affine: np.ndarray) -> np.ndarray:
    """RAS to LPS or back; adding 0 turns -0 into 0, which would look odd in a header."""
    return _RAS_FROM_LPS @ np.asarray(affine, dtype=np.float64) + 0.0
