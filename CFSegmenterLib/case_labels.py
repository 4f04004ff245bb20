"""A label map that somebody drew: what its values stand for, and which structures it shows completely."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .errors import UserError
from .structures import Vocabulary

HIGHEST = int(np.iinfo(np.uint16).max)


NO_NAMES = ("", "background", "all")
"""Of no structure: the last two are asked for by these words."""


@dataclass(frozen=True, eq=False)
class CaseLabels:
    """CaseLabels are voxels and their meaning, checked against each other.

    Attributes:
        array: (I, J, K) of the smallest unsigned type; holds 0 and `values` only, and not 0 alone.
        values: label value -> structure, by preferred name.
        annotated: those of them that are drawn completely, at least one.
    """

    array: np.ndarray
    values: dict[int, str]
    annotated: tuple[str, ...]

    @classmethod
    def checked(
        cls,
        labels: np.ndarray,
        shape: tuple[int, ...],
        values: Mapping[int, str],
        annotated: Iterable[str],
        vocabulary: Vocabulary,
    ) -> CaseLabels:
        """Check what the caller says.

        Args:
            labels: whole numbers or booleans.
            shape: of the image.
            values: label value -> structure, by any of its names, for every value but 0.
            annotated: names of those that are drawn completely.

        Raises:
            UserError: something does not fit together, or is missing.
        """
        named = _named(values, vocabulary)
        complete = _complete(annotated, named, vocabulary)
        return cls(_checked_array(labels, shape, named), named, complete)

    @property
    def partly(self) -> tuple[str, ...]:
        """The structures that are not drawn completely."""
        return tuple(dict.fromkeys(name for name in self.values.values() if name not in self.annotated))


def _named(values: Mapping[int, str], vocabulary: Vocabulary) -> dict[int, str]:
    named: dict[int, str] = {}
    for value, name in values.items():
        if not str(value).isdecimal() or not 1 <= int(value) <= HIGHEST:
            raise UserError(f"The label value {value} is not 1 to {HIGHEST}; 0 is for what is not drawn.")
        named[int(value)] = _preferred(name, vocabulary)
        if named[int(value)] in NO_NAMES:
            raise UserError(f"The label value {value} has no structure; name what it stands for.")
    if not named:
        raise UserError("Nobody said what the label values stand for; name a structure for each.")
    return dict(sorted(named.items()))


def _complete(annotated: Iterable[str], named: Mapping[int, str], vocabulary: Vocabulary) -> tuple[str, ...]:
    complete = tuple(dict.fromkeys(_preferred(name, vocabulary) for name in annotated))
    unknown = [name for name in complete if name not in named.values()]
    if unknown:
        raise UserError(
            f"'{unknown[0]}' is said to be drawn completely, but no label value stands for it; the labels are "
            f"{', '.join(dict.fromkeys(named.values()))}."
        )
    if not complete:
        raise UserError(
            "No structure is said to be drawn completely, and parts alone do not say where a structure ends: finish at "
            "least one, and say so."
        )
    return complete


def _preferred(name: str, vocabulary: Vocabulary) -> str:
    """The vocabulary's name of a structure, or its own in lower case, as case lists have it."""
    found = vocabulary.get(name)
    return found.name if found else " ".join(name.lower().split())


def _checked_array(labels: np.ndarray, shape: tuple[int, ...], named: Mapping[int, str]) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != shape:
        sizes = [" x ".join(str(n) for n in each) for each in (labels.shape, shape)]
        raise UserError(
            f"The labels have {sizes[0]} voxels and the image has {sizes[1]}; give labels on the image's own grid."
        )
    if labels.dtype.kind not in "bui":
        raise UserError("The labels are no whole numbers; give a label map in which every voxel is 0 or a value.")
    low, high = int(labels.min()), int(labels.max())
    if low == high == 0:
        raise UserError("Nothing is drawn: every label is 0. Draw at least one of the structures.")
    strange = [each for each in (low, high) if not 0 <= each <= HIGHEST] or sorted(_found(labels) - {0, *named})
    if strange:
        raise UserError(f"The labels hold the value {strange[0]}, which no structure was named for; name it.")
    return labels.astype(np.uint8 if max(named) <= np.iinfo(np.uint8).max else np.uint16)


def _found(labels: np.ndarray) -> set[int]:
    """The values of 0 to `HIGHEST` that a label map holds, without sorting its voxels."""
    present = np.zeros(HIGHEST + 1, dtype=bool)
    for plane in labels.T if labels.flags.f_contiguous else labels:
        present[plane.astype(np.uint16)] = True
    return set(np.flatnonzero(present).tolist())
