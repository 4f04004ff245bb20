"""Feature geometry: how near the mean feature of each structure lies to every prototype."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from CFSegmenterLib.cases import Case
from CFSegmenterLib.model import Model
from CFSegmenterLib.prepared import load_case
from CFSegmenterLib.segmenter import Segmenter

CASES = 2
"""Validation cases of each source that are looked at."""


def feature_geometry(model: Model, cases: Sequence[Case]) -> dict[str, Any]:
    """Mean similarity of the voxels of each structure with every prototype.

    Returns:
        {"structures": row names, "prototypes": column names, "similarity": rows}; structures that no case looked at
        shows are left out.
    """
    segmenter = Segmenter(model)
    names = model.bank.names
    sums: dict[str, np.ndarray] = {}
    counts: dict[str, int] = {}
    for case in _some(cases):
        shown = [name for name in case.annotated if name in names]
        if not shown:
            continue
        volume, labels = load_case(case)
        encoding = segmenter.encode(volume)
        maps = np.stack([encoding.similarity(name) for name in names[1:]])
        for name in shown:
            mask = np.isin(labels, [value for value, meant in case.values.items() if meant == name])
            if mask.any():
                sums[name] = sums.get(name, 0) + maps[:, mask].sum(axis=1)
                counts[name] = counts.get(name, 0) + int(mask.sum())
    found = [name for name in names[1:] if name in sums]
    return {
        "structures": found,
        "prototypes": list(names[1:]),
        "similarity": [np.round(sums[name] / counts[name], 3).tolist() for name in found],
    }


def _some(cases: Sequence[Case]) -> list[Case]:
    by_source: dict[str, list[Case]] = {}
    for case in cases:
        by_source.setdefault(case.source, []).append(case)
    return [case for group in by_source.values() for case in group[:CASES]]
