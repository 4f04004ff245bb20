"""Masks as segments hold them: label maps cropped to their content, one for all segments that do not overlap.

A layer of a segmentation is a label map that several segments share, each under a value of its own. Slicer stores and
draws layer by layer, so few of them keep scenes small and views quick.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

Box = tuple[slice, slice, slice]

LATTICE_TOLERANCE = 0.05
"""Voxels that two grids may be apart at their far ends and still count as one."""


def representationName() -> str:
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def boxOf(mask: np.ndarray) -> Box | None:
    """The box around what is true in an (I, J, K) mask; None where nothing is."""
    box: list[slice] = []
    for axis in range(3):
        rest = tuple(other for other in range(3) if other != axis)
        # What was found along the axes before leaves less to look through.
        found = np.flatnonzero(mask[tuple(box)].any(axis=rest))
        if not found.size:
            return None
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    return tuple(box)


def imageOf(labels: np.ndarray, box: Box, affine: np.ndarray) -> Any:
    """A vtkOrientedImageData of (I, J, K) labels, uint8 or uint16, that lie at `box` of a grid with this affine."""
    image = slicer.vtkOrientedImageData()
    image.SetExtent(*(edge for side in box for edge in (side.start, side.stop - 1)))
    image.AllocateScalars(vtk.VTK_UNSIGNED_CHAR if labels.dtype.itemsize == 1 else vtk.VTK_UNSIGNED_SHORT, 1)
    image.SetImageToWorldMatrix(slicer.util.vtkMatrixFromArray(affine))
    arrayOf(image)[...] = labels
    return image


def arrayOf(image: Any) -> np.ndarray:
    """The voxels of an image, (I, J, K), not copied."""
    dimensions = image.GetDimensions()
    return numpy_support.vtk_to_numpy(image.GetPointData().GetScalars()).reshape(dimensions[::-1]).T


def placeOf(image: Any, affine: np.ndarray, shape: tuple[int, ...]) -> Box | None:
    """Where a label map lies on the grid of a volume; None where it is empty or its voxels are others.

    It may reach beyond the volume.
    """
    extent = image.GetExtent()
    if any(extent[2 * axis] > extent[2 * axis + 1] for axis in range(3)) or not image.GetPointData().GetScalars():
        return None
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    between = np.linalg.inv(affine) @ slicer.util.arrayFromVTKMatrix(matrix)
    offset = np.rint(between[:3, 3])
    apart = np.abs(between[:3, :3] - np.eye(3)) @ np.array(shape) + np.abs(between[:3, 3] - offset)
    if apart.max() > LATTICE_TOLERANCE:
        return None
    return tuple(
        slice(extent[2 * axis] + int(offset[axis]), extent[2 * axis + 1] + 1 + int(offset[axis])) for axis in range(3)
    )


def contentOf(segmentation: Any, segmentID: str) -> np.ndarray | None:
    """The mask of a segment, cropped to what it holds; None where that is nothing."""
    segment = segmentation.GetSegment(segmentID)
    image = segment.GetRepresentation(representationName())
    if image is None or image.GetPointData().GetScalars() is None:
        return None
    mask = arrayOf(image) == segment.GetLabelValue()
    box = boxOf(mask)
    return None if box is None else mask[box]


def digestOf(mask: np.ndarray) -> str:
    """A checksum of a cropped mask, wherever it lies."""
    digest = hashlib.sha256(repr(mask.shape).encode())
    digest.update(np.packbits(mask != 0))
    return digest.hexdigest()[:32]


def takeOut(segmentation: Any, segmentIDs: Iterable[str]) -> None:
    """Give segments an empty label map of their own. Nothing but their own voxels leaves the layers they were on."""
    leaving = set(segmentIDs)
    for image, members in _layersOf(segmentation):
        if leaving.isdisjoint(members) or leaving >= members.keys():
            continue
        array = arrayOf(image)
        array[np.isin(array, [value for member, value in members.items() if member in leaving])] = 0
        # Of the image itself Slicer would take it as a reason to throw all surfaces away.
        image.GetPointData().GetScalars().Modified()
    for segmentID in leaving:
        segment = segmentation.GetSegment(segmentID)
        segment.AddRepresentation(representationName(), slicer.vtkOrientedImageData())
        segment.SetLabelValue(1)


def shareLayers(
    segmentation: Any,
    written: Mapping[str, tuple[Box, np.ndarray]],
    own: Collection[str],
    affine: np.ndarray,
    shape: tuple[int, ...],
) -> None:
    """Bring segments that have just been written, each on a layer of its own, onto common ones.

    Args:
        written: segment ID -> (box, mask in the box).
        own: the segments whose layers may be joined; the layers of others stay as they are.
        affine, shape: of the grid that the boxes are in.
    """
    layers = [
        layer
        for image, members in _layersOf(segmentation)
        if members.keys() <= set(own)
        and members.keys().isdisjoint(written)
        and (layer := _layerOf(image, members, affine, shape)) is not None
    ]
    for segmentID, (box, mask) in written.items():
        layer = next((layer for layer in layers if layer.hasRoom(box, mask)), None)
        if layer is None:
            layer = _Layer()
            layers.append(layer)
        layer.add(segmentID, box, mask)
    for layer in layers:
        if layer.isChanged:
            layer.apply(segmentation, affine)


@dataclass
class _Layer:
    """A label map in the making: segment ID -> value, and what lies where (a mask's value, None for ready labels)."""

    values: dict[str, int] = field(default_factory=dict)
    parts: list[tuple[Box, np.ndarray, int | None]] = field(default_factory=list)
    isChanged: bool = False

    def hasRoom(self, box: Box, mask: np.ndarray) -> bool:
        for other, labels, _value in self.parts:
            common = tuple(slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, other))
            if any(side.start >= side.stop for side in common):
                continue
            if np.any((labels[_within(common, other)] != 0) & mask[_within(common, box)]):
                return False
        return True

    def add(self, segmentID: str, box: Box, mask: np.ndarray) -> None:
        value = max(self.values.values(), default=0) + 1
        self.isChanged = bool(self.values)  # alone it may stay where it is
        self.values[segmentID] = value
        self.parts.append((box, mask, value))

    def apply(self, segmentation: Any, affine: np.ndarray) -> None:
        sides = zip(*(box for box, _labels, _value in self.parts))
        whole = tuple(slice(min(s.start for s in side), max(s.stop for s in side)) for side in sides)
        dtype = np.uint8 if max(self.values.values()) < 256 else np.uint16
        joined = np.zeros([side.stop - side.start for side in whole], dtype)
        for box, labels, value in self.parts:
            np.copyto(joined[_within(box, whole)], labels if value is None else dtype(value), "unsafe", labels != 0)
        image = imageOf(joined, whole, affine)
        for segmentID, value in self.values.items():
            segment = segmentation.GetSegment(segmentID)
            segment.SetLabelValue(value)
            segment.AddRepresentation(representationName(), image)


def _layersOf(segmentation: Any) -> list[tuple[Any, dict[str, int]]]:
    """The label maps of a segmentation, each with its segments: ID -> value."""
    layers: dict[str, tuple[Any, dict[str, int]]] = {}
    for number in range(segmentation.GetNumberOfSegments()):
        segment = segmentation.GetNthSegment(number)
        image = segment.GetRepresentation(representationName())
        if image is not None:
            _image, members = layers.setdefault(image.GetAddressAsString(""), (image, {}))
            members[segmentation.GetNthSegmentID(number)] = segment.GetLabelValue()
    return list(layers.values())


def _layerOf(image: Any, members: dict[str, int], affine: np.ndarray, shape: tuple[int, ...]) -> _Layer | None:
    """A layer of the segmentation, to add segments to; None where it is not on the grid."""
    box = placeOf(image, affine, shape)
    return None if box is None else _Layer(dict(members), [(box, arrayOf(image), None)])


def _within(box: Box, outer: Box) -> Box:
    """A box of the grid as a box of what lies at `outer`."""
    return tuple(slice(a.start - b.start, a.stop - b.start) for a, b in zip(box, outer))
