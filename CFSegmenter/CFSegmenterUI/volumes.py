"""Volume nodes as what a model reads: an array, where it lies, what made it; and the frames of a sequence."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _

from CFSegmenterLib.errors import UserError

from . import subjectHierarchy

SHEAR_TOLERANCE = 1e-3
"""Cosine between two voxel axes from which on a transform is not followed; the library refuses such grids."""

HOUNSFIELD = ("UCUM", "[hnsf'U]")


@dataclass(frozen=True, eq=False)
class VolumeData:
    """What a volume node holds.

    Attributes:
        array: (I, J, K), a copy in the volume's own number type.
        affine: (4, 4) IJK to mm RAS: of the world where the node's transforms are linear and keep right angles, of
            the node itself otherwise.
        modality: "ct", "mr", ...; None where the scene does not tell.
        key: see `volumeKey`.
    """

    array: np.ndarray
    affine: np.ndarray
    modality: str | None
    key: str


def readVolume(node: Any, frame: int | None = None) -> VolumeData:
    """Read a scalar volume; `frame` reads an item of its sequence without selecting it.

    Raises:
        UserError: there is nothing in the node that can be segmented.
    """
    source = frameNode(node, frame)
    _check(source)
    array = np.array(slicer.util.arrayFromVolume(source).T, order="C")
    return VolumeData(array, _affineOf(source, node), modalityOf(node), _keyOf(source, node))


def volumeKey(node: Any, frame: int | None = None) -> str:
    """What an encoding of the volume is kept under: another one as soon as voxels, geometry or transform change.

    It costs no pass over the voxels, and tells nothing of the patient or of the node's name. Changes to the voxels are
    noticed where VTK is told of them (`arrayFromVolumeModified`). That of a `frame` lasts, whichever is shown.

    Raises:
        UserError: as `readVolume`.
    """
    source = frameNode(node, frame)
    _check(source)
    return _keyOf(source, node)


def worldToVolume(node: Any, ras: Sequence[float]) -> tuple[float, float, float]:
    """A point of the world, in mm RAS, in the frame that `VolumeData.affine` leads to."""
    if _followedToWorld(node, node) is not None:
        return tuple(float(value) for value in ras)
    fromWorld = vtk.vtkGeneralTransform()
    node.GetParentTransformNode().GetTransformFromWorld(fromWorld)
    return tuple(fromWorld.TransformPoint(*ras))


def modalityOf(node: Any) -> str | None:
    """What made a scan: "ct", "mr", ...; None where the scene does not tell."""
    told = subjectHierarchy.modalityOf(node)
    if told:
        return told.strip().lower()
    units = node.GetVoxelValueUnits()
    isHounsfield = units is not None and (units.GetCodingSchemeDesignator(), units.GetCodeValue()) == HOUNSFIELD
    return "ct" if isHounsfield else None


def ijkToRas(node: Any) -> np.ndarray:
    """(4, 4) IJK to mm RAS of the node itself, its transforms left out."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def frameCount(node: Any) -> int:
    """How many frames the sequence has that the node shows one of; 1 for a volume that is in none."""
    browser = _browserOf(node)
    return browser.GetNumberOfItems() if browser else 1


def shownFrame(node: Any) -> int | None:
    """Which frame of its sequence the node shows; None for a volume that is in none."""
    browser = _browserOf(node)
    return browser.GetSelectedItemNumber() if browser else None


def frameNode(node: Any, frame: int | None) -> Any:
    """What holds the voxels of a frame, whichever is shown: an item of the sequence; for None the node itself.

    Raises:
        UserError: there is no such frame.
    """
    if frame is None:
        return node
    browser = _browserOf(node)
    count = browser.GetNumberOfItems() if browser else 1
    if not 0 <= frame < count:
        raise UserError(
            _("There is no frame {frame}, since {name} has {count}; choose another.").format(
                frame=frame + 1, name=node.GetName(), count=count
            )
        )
    if browser is None:
        return node
    value = browser.GetMasterSequenceNode().GetNthIndexValue(frame)
    return browser.GetSequenceNode(node).GetDataNodeAtValue(value, False)


def _browserOf(node: Any) -> Any:
    scene = node.GetScene() if node is not None else None
    if scene is None:
        return None
    browsers = slicer.util.getNodesByClass("vtkMRMLSequenceBrowserNode", scene)
    return next((browser for browser in browsers if browser.GetSequenceNode(node)), None)


def _check(node: Any) -> None:
    """Raises UserError for whatever is not an image with one number a voxel."""
    if node is None:
        raise UserError(_("No volume is chosen; load a scan and choose it."))
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise UserError(_("{name} is not a volume; choose a scan.").format(name=node.GetName()))
    if node.IsA("vtkMRMLLabelMapVolumeNode"):
        raise UserError(
            _("{name} holds labels, not the brightness of a scan; choose the scan.").format(name=node.GetName())
        )
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or 0 in image.GetDimensions():
        raise UserError(_("{name} holds no voxels; load it again.").format(name=node.GetName()))
    if image.GetNumberOfScalarComponents() != 1:
        raise UserError(
            _("{name} has several values a voxel, as color images have; choose a scan with one.").format(
                name=node.GetName()
            )
        )


def _affineOf(source: Any, node: Any) -> np.ndarray:
    affine = ijkToRas(source)
    toWorld = _followedToWorld(source, node)
    return affine if toWorld is None else toWorld @ affine


def _followedToWorld(source: Any, node: Any) -> np.ndarray | None:
    """(4, 4) from the node's frame to the world; None where the transforms would bend or shear the grid."""
    parent = node.GetParentTransformNode()
    if parent is None:
        return np.eye(4)
    matrix = vtk.vtkMatrix4x4()
    if not parent.IsTransformToWorldLinear() or not parent.GetMatrixTransformToWorld(matrix):
        return None
    toWorld = slicer.util.arrayFromVTKMatrix(matrix)
    axes = (toWorld @ ijkToRas(source))[:3, :3]
    lengths = np.linalg.norm(axes, axis=0)
    if not lengths.all():
        return None
    cosines = (axes / lengths).T @ (axes / lengths)
    return toWorld if np.abs(cosines - np.eye(3)).max() <= SHEAR_TOLERANCE else None


def _keyOf(source: Any, node: Any) -> str:
    image = source.GetImageData()
    scalars = image.GetPointData().GetScalars()
    parts = (
        # VTK counts all modifications of the process with one counter; the address tells copies of one age apart.
        image.GetAddressAsString("vtkImageData"),
        str(max(image.GetMTime(), scalars.GetMTime())),
        _affineOf(source, node).tobytes().hex(),
        modalityOf(node) or "",
    )
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]
