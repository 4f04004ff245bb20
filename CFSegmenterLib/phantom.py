"""Phantoms: drawn scans whose truth is known, so that the demo and the tests need no patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

NAMES = {1: "liver", 2: "right kidney", 3: "left kidney", 4: "spleen"}
LIVER, RIGHT_KIDNEY, LEFT_KIDNEY, SPLEEN = NAMES


@dataclass(frozen=True)
class Phantom:
    """A drawn scan and the truth about it.

    Attributes:
        image: int16, (I, J, K), axes right, anterior, superior; arbitrary units, 0 to about 1000.
        labels: uint8, the same shape; 0 is background, the others are the keys of `names`.
        names: label value to the name of the structure.
        affine: float64, (4, 4), voxel index to RAS millimeters.
    """

    image: np.ndarray
    labels: np.ndarray
    names: dict[int, str]
    affine: np.ndarray


def draw_small(seed: int) -> Phantom:
    """Draw an easy abdomen of 32 x 32 x 24 voxels of 4 mm, for tests that train a model within seconds.

    Bright ellipsoids stand in a dim body, on the correct sides, each structure with a brightness of its own.
    """
    rng = np.random.default_rng(seed)
    shape, step = (32, 32, 24), 4.0
    axes = [(np.arange(n, dtype=np.float32) - (n - 1) / 2) * step for n in shape]
    x, y, z = np.meshgrid(*axes, indexing="ij", sparse=True)

    def ellipsoid(center: tuple[float, float, float], radii: tuple[float, float, float]) -> np.ndarray:
        cx, cy, cz = np.asarray(center) + rng.uniform(-2, 2, 3)
        rx, ry, rz = np.asarray(radii) * rng.uniform(0.92, 1.08, 3)
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < 1

    image = np.zeros(shape, dtype=np.float32)
    labels = np.zeros(shape, dtype=np.uint8)
    image[ellipsoid((0, 0, 0), (60, 50, 90))] = 150
    for label, center, radii, brightness in (
        (LIVER, (28, 10, 18), (24, 26, 22), 350),
        (SPLEEN, (-36, -14, 22), (14, 18, 18), 600),
        (RIGHT_KIDNEY, (24, -22, -22), (12, 12, 18), 850),
        (LEFT_KIDNEY, (-24, -22, -18), (12, 12, 18), 850),
    ):
        inside = ellipsoid(center, radii) & (labels == 0)
        labels[inside] = label
        image[inside] = brightness
    image = np.hypot(image + rng.normal(0, 15, shape), rng.normal(0, 15, shape))
    affine = np.diag([step, step, step, 1.0])
    affine[:3, 3] = [axis[0] for axis in axes]
    return Phantom(np.round(image).astype(np.int16), labels, dict(NAMES), affine)
