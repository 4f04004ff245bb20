"""Pieces: which structures are drawn as one connected piece, and what is kept of a mask that fell into several.

A network that sees a window at a time may take far tissue for an organ. Where every annotation of a structure is one
piece, the smaller pieces of a mask are such mistakes. The similarity map still shows them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

import numpy as np

TOUCHING = np.ones((3, 3, 3), dtype=bool)
"""Voxels that share a corner are connected: a thin structure may run diagonally."""

SHARE = 0.9
"""Of a structure's voxels that the largest piece holds in each annotation, for it to count as being of one piece."""


def bounding_boxes(labels: np.ndarray) -> dict[int, tuple[slice, ...]]:
    """Label value -> the box around its voxels, of an (X, Y, Z) label map; one pass for all of them."""
    from scipy import ndimage

    boxes = ndimage.find_objects(labels)
    return {value: box for value, box in enumerate(boxes, start=1) if box is not None}


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """(X, Y, Z) bool -> the same with only the largest of its connected pieces."""
    from scipy import ndimage

    pieces, count = ndimage.label(mask, TOUCHING)
    if count < 2:
        return mask
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return pieces == sizes.argmax()


def drawn_in_one_piece(drawn: Iterable[tuple[np.ndarray, Collection[str]]], names: Sequence[str]) -> dict[str, bool]:
    """Structure -> whether it is one piece wherever it is drawn; what is drawn nowhere is not among them.

    Args:
        drawn: label maps (X, Y, Z) of indices into `names`, each with the structures that it shows completely.
        names: of the prototypes, background first.
    """
    whole: dict[int, bool] = {}
    for labels, complete in drawn:
        for value, box in bounding_boxes(labels).items():
            if names[value] not in complete:
                continue
            mask = np.asarray(labels[box]) == value
            share = np.count_nonzero(largest_piece(mask)) / np.count_nonzero(mask)
            whole[value] = whole.get(value, True) and share >= SHARE
    return {name: whole[value] for value, name in enumerate(names) if value in whole}
