"""What containing one another means for labels: which structures overlap, and what an annotation settles."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from itertools import combinations

import numpy as np

from .structures import Vocabulary

Pair = tuple[str, str]


def overlap_matrix(names: Sequence[str], vocabulary: Vocabulary, apart: Iterable[Pair] = ()) -> np.ndarray:
    """(K + 1, K + 1) bool: which two different structures overlap; names that nobody knows overlap nothing.

    Args:
        apart: pairs that do not, whatever the vocabulary says (see `told_apart`).
    """
    exclusive = {frozenset(pair) for pair in apart}

    def overlap(a: str, b: str) -> bool:
        return a != b and vocabulary.overlaps(a, b) and frozenset((a, b)) not in exclusive

    return np.array([[overlap(a, b) for b in names] for a in names], dtype=bool)


def told_apart(annotations: Iterable[Collection[str]], vocabulary: Vocabulary) -> tuple[Pair, ...]:
    """The pairs of overlapping structures that label maps draw beside each other.

    A label map in which liver and tumor of the liver are both complete says of a voxel labelled liver that it is no
    tumor, and the other way round: its liver is what is left of the organ.

    Args:
        annotations: of each label map the structures that are drawn completely.
    """
    pairs = {
        (a, b): None
        for annotated in annotations
        for a, b in combinations(sorted(annotated), 2)
        if vocabulary.overlaps(a, b)
    }
    return tuple(pairs)


def complete_divisions(whole: str, vocabulary: Vocabulary) -> tuple[tuple[str, ...], ...]:
    """The ways in which a structure is the union of its parts; each holds the preferred names of the parts.

    The cysts, tumors and pelves of a kidney are parts of it too, but together they are no kidney.
    """
    divisions: dict[str, list[str]] = {}
    for part in vocabulary.parts_of(whole) if whole in vocabulary else ():
        divisions.setdefault(part.division, []).append(part.name)
    return tuple(tuple(parts) for division, parts in divisions.items() if vocabulary.fills(division, whole))


def settled_by(annotated: Sequence[str], names: Sequence[str], vocabulary: Vocabulary) -> set[str]:
    """The structures of `names` that a voxel labelled 0 cannot belong to, once `annotated` is complete.

    The annotated ones, what lies inside one of them, and what lies inside a whole all of whose parts of one
    division are annotated: where anterior and posterior hippocampus are drawn, label 0 denies the left one too.
    """
    wholes = set(annotated)
    grown = True
    while grown:
        grown = False
        for whole in {s.part_of for n in wholes if (s := vocabulary.get(n)) is not None and s.part_of}:
            filled = any(set(parts) <= wholes for parts in complete_divisions(whole, vocabulary))
            if filled and whole not in wholes:
                wholes.add(whole)
                grown = True
    return {n for n in names if n in wholes or any(vocabulary.contains(w, n) for w in wholes)}
