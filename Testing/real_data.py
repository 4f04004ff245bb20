"""Real scans and text vectors, which are no part of this repository: tests do without them, or with something drawn."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(os.environ.get("CFSEGMENTER_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
"""A folder with one folder for each source, as the benchmarks take it; may not be there."""

CLIP_VECTORS = DATA / "text_embeddings" / "clip_vitb32_universal32.npy"
"""(32, 512) CLIP ViT-B/32 vectors of the names of organs."""
