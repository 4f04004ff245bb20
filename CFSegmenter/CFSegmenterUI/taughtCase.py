"""A case to be taught: a volume of the scene and what was painted on it, as one label map on the volume's own grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.structures import Vocabulary

from . import segmentations, volumes
from .segmentMeaning import ownEntryOf, termOf

CASE = "CFSegmenter.Case"
"""Attribute of a volume node: number and folder of the case that was made of it."""


@dataclass(frozen=True)
class MappedSegment:
    """A segment, and the structure that the user says it is.

    Attributes:
        name: of the segment, for sentences.
        structure: preferred name, or a new one.
        isComplete: all of the structure that the scan shows was painted.
        term: the terminology entry that was chosen for it, serialized; "" where it is the segment's own.
    """

    segmentID: str
    name: str
    structure: str
    isComplete: bool
    term: str = ""


@dataclass(frozen=True, eq=False)
class TaughtCase:
    """What the worker's `case_add` takes.

    Attributes:
        image: (I, J, K), the volume in its own number type.
        affine: (4, 4) IJK to mm RAS.
        labels: (I, J, K) uint8 or uint16 on the same grid.
        values: label value -> structure.
        annotated: the structures that were drawn completely.
        ownStructures: entries of those that the vocabulary does not know: code, color and region.
    """

    image: np.ndarray = field(repr=False)
    affine: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    values: dict[int, str]
    annotated: tuple[str, ...]
    ownStructures: tuple[dict[str, Any], ...] = ()


def caseOf(
    volumeNode: Any, segmentationNode: Any, mapped: Sequence[MappedSegment], vocabulary: Vocabulary
) -> TaughtCase:
    """Read a case from the scene. Several segments of one structure become one.

    A label map holds one structure a voxel. Where a part lies inside its whole, the part is written over it: nothing
    is lost, since the whole is known to contain it.

    Raises:
        UserError: there is nothing to teach, a segment has no structure, or two overlap that do not contain another.
    """
    data = volumes.readVolume(volumeNode)
    if segmentationNode is None:
        raise UserError(_("No segmentation is chosen; choose the one that was painted on this volume."))
    if not mapped:
        raise UserError(_("No segment is checked; check those that the model is to learn."))
    for segment in mapped:
        if not segment.structure:
            said = _('It is not said what "{segment}" is; name its structure, or uncheck it.')
            raise UserError(said.format(segment=segment.name))
    names = tuple(dict.fromkeys(segment.structure for segment in mapped))
    values = {number: name for number, name in enumerate(names, 1)}
    labels = np.zeros(data.array.shape, np.uint8 if len(names) < 256 else np.uint16)
    for number, name in sorted(values.items(), key=lambda item: _depthOf(item[1], names, vocabulary)):
        mask = _maskOf(volumeNode, segmentationNode, name, mapped)
        _checkOverlap(labels, mask, name, values, vocabulary)
        labels[mask] = number
    if not labels.any():
        said = _("Nothing is painted inside {volume}; choose the segmentation that belongs to it.")
        raise UserError(said.format(volume=volumeNode.GetName()))
    annotated = tuple(name for name in names if all(s.isComplete for s in mapped if s.structure == name))
    own = tuple(_ownEntry(segmentationNode, name, mapped, vocabulary) for name in names if name not in vocabulary)
    return TaughtCase(data.array, data.affine, labels, values, annotated, own)


def markAsCase(volumeNode: Any, number: int, folder: str) -> None:
    """Note on a volume which case was made of it."""
    volumeNode.SetAttribute(CASE, f"{number} {folder}")


def caseNumberOf(volumeNode: Any, folder: str) -> int | None:
    """The number of the case in `folder` that was made of a volume; None where none was."""
    number, _space, where = (volumeNode.GetAttribute(CASE) or "").partition(" ")
    return int(number) if where == folder and number.isdecimal() else None


def _ownEntry(
    segmentationNode: Any, name: str, mapped: Sequence[MappedSegment], vocabulary: Vocabulary
) -> dict[str, Any]:
    """What the segments of a new structure say of it: the first of them that has a code, else the first."""
    entries = []
    for each in mapped:
        if each.structure == name:
            segment = segmentationNode.GetSegmentation().GetSegment(each.segmentID)
            entries.append(ownEntryOf(name, segment.GetColor(), each.term or termOf(segment), vocabulary))
    return next((entry for entry in entries if "type" in entry), entries[0])


def _maskOf(volumeNode: Any, segmentationNode: Any, name: str, mapped: Sequence[MappedSegment]) -> np.ndarray:
    mask = None
    for segment in mapped:
        if segment.structure == name:
            own = segmentations.maskOf(segmentationNode, segment.segmentID, volumeNode)
            mask = own if mask is None else mask | own
    return mask


def _depthOf(name: str, names: Sequence[str], vocabulary: Vocabulary) -> int:
    """In how many of the others it lies: what lies deeper is written later."""
    return sum(vocabulary.contains(other, name) for other in names)


def _checkOverlap(
    labels: np.ndarray, mask: np.ndarray, name: str, values: dict[int, str], vocabulary: Vocabulary
) -> None:
    counts = np.bincount(labels[mask])
    for number in np.flatnonzero(counts[1:]) + 1:
        other = values[int(number)]
        if vocabulary.contains(other, name):
            continue
        raise UserError(
            _(
                "{first} and {second} overlap in {count} voxels, and a case holds one structure a voxel, so one of "
                "them would be lost. Correct them in the Segment Editor, or uncheck one and add it as a second case."
            ).format(first=other, second=name, count=int(counts[number]))
        )
