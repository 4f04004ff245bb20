"""Masks into segments and back: those that we made are replaced, those of the user are never touched."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.own_structures import color_of_name
from CFSegmenterLib.structures import Vocabulary

from . import compat, foundIn, labelmaps, provenance, subjectHierarchy
from .provenance import Provenance
from .terminology import entryOf
from .volumes import frameNode, ijkToRas

STRUCTURE_TAG, PROMPT_TAG = provenance.PREFIX + "Structure", provenance.PREFIX + "Prompt"
"""The first makes a segment one of ours: without it, it is the user's. The second says what was asked for."""

VOXELS_TAG = provenance.PREFIX + "Voxels"
"""A checksum of what was written: what another one has, the user changed."""


@dataclass(frozen=True)
class Written:
    """What became of masks.

    Attributes:
        segments: structure -> segment ID, of those that were written.
        kept: structures whose segment the user has changed since we made it; it was left as it is.
    """

    segments: dict[str, str]
    kept: tuple[str, ...]


def segmentIdOf(structure: str) -> str:
    """The ID that the segment of a structure has in every segmentation, where the user has not taken it."""
    return "CFSegmenter_" + re.sub(r"\W+", "_", structure.strip())


def newSegmentation(scene: Any, volumeNode: Any) -> Any:
    """An empty segmentation on the grid of a volume, beside it and under the same transform."""
    name = scene.GenerateUniqueName(_("{volume} segmentation").format(volume=volumeNode.GetName()))
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    _prepare(node, volumeNode, ())
    return node


def segmentationOf(volumeNode: Any) -> Any:
    """The segmentation with what we found in a volume last; None where there is none."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", volumeNode.GetScene())
    return next((node for node in reversed(nodes) if ownSegments(node, volumeNode)), None)


def ownSegments(segmentationNode: Any, volumeNode: Any = None) -> dict[str, str]:
    """Structure -> ID of the segment that we made of it, of those that were found in a volume where one is given."""
    segmentation = segmentationNode.GetSegmentation()
    own: dict[str, str] = {}
    for number in range(segmentation.GetNumberOfSegments()):
        segment, segmentID = segmentation.GetNthSegment(number), segmentation.GetNthSegmentID(number)
        structure = _tagOf(segment, STRUCTURE_TAG)
        if not structure or (volumeNode is not None and not foundIn.isOf(segment, segmentationNode, volumeNode)):
            continue
        # A copy that the user has made of a segment has our tags, but not our ID.
        if structure not in own or segmentID == segmentIdOf(structure):
            own[structure] = segmentID
    return own


def _isChanged(segmentation: Any, segmentID: str) -> bool:
    """Whether the user has changed a segment of ours; one that was emptied holds nothing to lose."""
    said, content = (
        _tagOf(segmentation.GetSegment(segmentID), VOXELS_TAG),
        labelmaps.contentOf(segmentation, segmentID),
    )
    return bool(said) and content is not None and labelmaps.digestOf(content) != said


def writeSegments(
    segmentationNode: Any,
    volumeNode: Any,
    masks: Mapping[str, np.ndarray],
    made: Provenance,
    vocabulary: Vocabulary,
    prompts: Mapping[str, str] | None = None,
    frame: int | None = None,
) -> Written:
    """Write masks as segments, in the place of those that we made of the same structures in the same volume before.

    Name, color and terminology are set when a segment is made and are the user's from then on, and so is all of it once
    its voxels were changed. A structure whose mask is empty has no segment afterwards.

    Args:
        masks: structure -> (I, J, K) bool on the volume's grid.
        prompts: structure -> what was asked for, where it is not the structure's name.
        frame: of the volume's sequence, that the masks are of; None is what the volume shows.

    Raises:
        UserError: the masks are not the volume's, or the segmentation cannot take them without moving what is in it.
    """
    grid = frameNode(volumeNode, frame)
    shape = grid.GetImageData().GetDimensions()
    if any(mask.shape != shape for mask in itertools.islice(masks.values(), 1)):  # the others are of the same volume
        raise UserError(_("{volume} has changed since it was read; start again.").format(volume=volumeNode.GetName()))
    with slicer.util.NodeModify(segmentationNode):
        segmentation, own = segmentationNode.GetSegmentation(), ownSegments(segmentationNode, volumeNode)
        had = {structure: own[structure] for structure in masks if structure in own}
        kept = tuple(structure for structure, segmentID in had.items() if _isChanged(segmentation, segmentID))
        replaced = {structure: segmentID for structure, segmentID in had.items() if structure not in kept}
        _prepare(segmentationNode, volumeNode, replaced.values(), grid)
        labelmaps.takeOut(segmentation, replaced.values())
        affine = ijkToRas(grid)
        written: dict[str, str] = {}
        content = {}
        for structure in (each for each in masks if each not in kept):
            mask = masks[structure]
            box = labelmaps.boxOf(mask)
            if box is None:
                if structure in replaced:
                    segmentation.RemoveSegment(replaced[structure])
                continue
            segmentID = replaced.get(structure) or _addSegment(segmentation, structure, vocabulary)
            segment = segmentation.GetSegment(segmentID)
            _tag(segment, structure, made, (prompts or {}).get(structure, structure))
            # In a whole layer of its own it is written without a look at any other segment.
            labels = mask[box].astype(np.uint8)
            foundIn.write(segment, segmentationNode, volumeNode)
            segment.SetTag(VOXELS_TAG, labelmaps.digestOf(labels))
            _write(segmentationNode, segmentID, labelmaps.imageOf(labels, box, affine))
            content[segmentID] = box, labels
            written[structure] = segmentID
        labelmaps.shareLayers(segmentation, content, ownSegments(segmentationNode).values(), affine, shape)
    return Written(written, kept)


def maskOf(segmentationNode: Any, segmentID: str, volumeNode: Any) -> np.ndarray:
    """(I, J, K) bool, the segment on the grid of the volume: voxel for voxel where it was painted or written there.

    Raises:
        UserError: there is no such segment, or it cannot be turned into voxels.
    """
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetSegment(segmentID) is None:
        raise UserError(
            _("The segment is no longer in {name}; choose another.").format(name=segmentationNode.GetName())
        )
    image = slicer.vtkOrientedImageData()
    if not (
        segmentationNode.CreateBinaryLabelmapRepresentation()
        and segmentationNode.GetBinaryLabelmapRepresentation(segmentID, image)
    ):
        raise UserError(
            _("The segment cannot be turned into voxels; open {name} in the Segment Editor first.").format(
                name=segmentationNode.GetName()
            )
        )
    shape, affine = volumeNode.GetImageData().GetDimensions(), ijkToRas(volumeNode)
    mask = np.zeros(shape, dtype=bool)
    box = None
    if segmentationNode.GetParentTransformNode() is volumeNode.GetParentTransformNode():
        box = labelmaps.placeOf(image, affine, shape)
    if box is None:
        image = _resampled(image, segmentationNode, volumeNode, shape, affine)
        box = labelmaps.placeOf(image, affine, shape)
    if box is not None:
        inside = tuple(slice(max(0, side.start), min(n, side.stop)) for side, n in zip(box, shape))
        if all(side.start < side.stop for side in inside):
            taken = tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(inside, box))
            mask[inside] = labelmaps.arrayOf(image)[taken] != 0
    return mask


def _prepare(segmentationNode: Any, volumeNode: Any, replaced: Collection[str], grid: Any = None) -> None:
    """Make the segmentation ready for voxels of the volume, on the grid of one of its frames where one is given.

    Raises:
        UserError: what is in it besides `replaced` would have to be moved or converted.
    """
    segmentation = segmentationNode.GetSegmentation()
    isEmpty = segmentation.GetNumberOfSegments() == 0
    mayMove = segmentation.GetNumberOfSegments() == len(replaced)
    names = {"segmentation": segmentationNode.GetName(), "volume": volumeNode.GetName()}
    if isEmpty:
        segmentationNode.SetSourceRepresentationToBinaryLabelmap()
        subjectHierarchy.placeBeside(segmentationNode, volumeNode)
    elif segmentation.GetSourceRepresentationName() != labelmaps.representationName():
        raise UserError(
            _("{segmentation} consists of surfaces, not of voxels; choose another segmentation.").format(**names)
        )
    if segmentationNode.GetParentTransformNode() is not volumeNode.GetParentTransformNode():
        if not mayMove:
            raise UserError(
                _(
                    "{segmentation} is not under the same transform as {volume}, and its segments would move; put "
                    "both under the same one, or choose another segmentation."
                ).format(**names)
            )
        segmentationNode.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    # The user's segments keep the grid that they were painted on.
    role = segmentationNode.GetReferenceImageGeometryReferenceRole()
    if mayMove or segmentationNode.GetNodeReference(role) is None:
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(grid or volumeNode)
        segmentationNode.SetNodeReferenceID(role, volumeNode.GetID())
    if segmentationNode.GetDisplayNode() is None:
        segmentationNode.CreateDefaultDisplayNodes()


def _addSegment(segmentation: Any, structure: str, vocabulary: Vocabulary) -> str:
    known = vocabulary.get(structure)
    segmentID = segmentation.GenerateUniqueSegmentID(segmentIdOf(structure))
    color = [value / 255 for value in (known.color if known else color_of_name(structure))]
    segmentID = segmentation.AddEmptySegment(segmentID, structure, color)
    labelmaps.takeOut(segmentation, [segmentID])  # Slicer begins on the layer of the first segment
    if known and known.type:
        compat.setTerminology(segmentation.GetSegment(segmentID), entryOf(known))
    return segmentID


def _tag(segment: Any, structure: str, made: Provenance, prompt: str) -> None:
    segment.SetTag(STRUCTURE_TAG, structure)
    segment.SetTag(PROMPT_TAG, prompt)
    segment.SetTag(provenance.MODEL, made.model)
    segment.SetTag(provenance.VERSION, made.version)
    segment.SetTag(provenance.DATE, made.date)


def _tagOf(segment: Any, tag: str) -> str:
    value = vtk.reference("")
    return str(value) if segment.GetTag(tag, value) else ""


def _write(segmentationNode: Any, segmentID: str, image: Any) -> None:
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    if not logic.SetBinaryLabelmapToSegment(image, segmentationNode, segmentID, logic.MODE_REPLACE):
        raise RuntimeError(f"Slicer did not take the voxels of segment {segmentID}.")


def _resampled(image: Any, segmentationNode: Any, volumeNode: Any, shape: tuple[int, ...], affine: np.ndarray) -> Any:
    """A label map on another grid or under another transform, on the volume's, by the nearest voxel."""
    reference = slicer.vtkOrientedImageData()
    reference.SetDimensions(*shape)
    reference.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
    toVolume = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(
        segmentationNode.GetParentTransformNode(), volumeNode.GetParentTransformNode(), toVolume
    )
    result = slicer.vtkOrientedImageData()
    slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage(
        image, reference, result, False, False, toVolume
    )
    return result
