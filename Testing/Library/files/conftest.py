from __future__ import annotations

import numpy as np
import pytest

from Testing.Library.files.scans import SHAPE


@pytest.fixture
def voxels() -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, size=SHAPE).astype(np.int16)


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 4, size=SHAPE).astype(np.uint8)
