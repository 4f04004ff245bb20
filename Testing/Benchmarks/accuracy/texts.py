"""Text embeddings that are at hand for measuring: CLIP ViT-B/32, "A computerized tomography of a {}"."""

from __future__ import annotations

from pathlib import Path

import numpy as np

FILE = Path("text_embeddings") / "clip_vitb32_universal32.npy"

STRUCTURES = (
    "spleen", "right kidney", "left kidney", "gallbladder", "esophagus", "liver", "stomach", "aorta",
    "inferior vena cava", "portal vein and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland",
    "duodenum",
)  # fmt: skip
"""The first rows of the file, by our names; the others are of structures that no source here annotates."""


def text_embeddings(data: Path) -> dict[str, np.ndarray]:
    """Structure -> (512,) text embedding; empty where the file is not there."""
    path = data / FILE
    if not path.exists():
        return {}
    rows = np.load(path, allow_pickle=False).astype(np.float64)
    return dict(zip(STRUCTURES, rows, strict=False))
