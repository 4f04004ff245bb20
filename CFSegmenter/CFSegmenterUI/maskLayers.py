"""Masks as the worker sends them: label maps that several structures share, where they do not overlap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np


class MaskLayers(Mapping):
    """MaskLayers are structure -> (I, J, K) bool, each made when it is asked for.

    Together, a hundred masks of a large scan would take ten gigabytes.
    """

    def __init__(self, places: Sequence[Mapping[str, Any]], arrays: Mapping[str, np.ndarray]):
        """Args: for each structure its "name", "layer" and "value" there; the layers, as "layer0" and so on."""
        self._places = {place["name"]: (f"layer{place['layer']}", place["value"]) for place in places}
        self._arrays = arrays

    def __getitem__(self, structure: str) -> np.ndarray:
        layer, value = self._places[structure]
        return self._arrays[layer] == value

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)
