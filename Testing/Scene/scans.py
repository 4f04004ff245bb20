"""Volume nodes as scanners and users leave them: oblique, flipped, under transforms."""

from __future__ import annotations

import numpy as np
import slicer
import vtk

SHAPE = (9, 8, 7)


def rotation(angle: float, axis: int) -> np.ndarray:
    """(3, 3), about a coordinate axis."""
    first, second = [other for other in range(3) if other != axis]
    turned = np.eye(3)
    turned[[first, first, second, second], [first, second, first, second]] = (
        np.cos(angle),
        -np.sin(angle),
        np.sin(angle),
        np.cos(angle),
    )
    return turned


def grid(directions: np.ndarray, spacing=(0.7, 0.8, 2.5), origin=(30.0, -20.0, 60.0)) -> np.ndarray:
    """(4, 4) IJK to RAS."""
    affine = np.eye(4)
    affine[:3, :3] = directions @ np.diag(spacing)
    affine[:3, 3] = origin
    return affine


GEOMETRIES = {
    "axial": grid(np.diag([-1.0, -1.0, 1.0])),
    "oblique": grid(np.diag([-1.0, -1.0, 1.0]) @ rotation(0.4, 0) @ rotation(-0.3, 2)),
    "flipped and permuted": grid(np.array([[0.0, 0, 1], [1, 0, 0], [0, -1, 0]]) @ np.diag([-1.0, 1, 1])),
    "left-handed": grid(np.diag([1.0, -1.0, 1.0]) @ rotation(0.2, 1)),
}

TRANSFORMS = ("none", "linear", "nested", "non-linear")


def addVolume(scene, array=None, affine=GEOMETRIES["axial"], name="scan"):
    """A scalar volume node of an (I, J, K) array; without one of a ramp."""
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) if array is None else array
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, array.T)
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(affine))
    return node


def addSequence(scene, *frames):
    """A volume node that shows the first of several frames, each given as `addVolume` takes it, and its browser."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    sequence.SetIndexName("time")
    for number, each in enumerate(frames):
        frame = addVolume(scene, name="cine", **each)
        sequence.SetDataNodeAtValue(frame, str(number * 20))
        scene.RemoveNode(frame)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateAllProxyNodes()
    return browser.GetProxyNode(sequence), browser


def showFrame(browser, number: int) -> None:
    """Move the slider of a sequence browser."""
    browser.SetSelectedItemNumber(number)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)


def addTransform(scene, kind: str):
    """A transform node, under another one where it is nested; None for "none"."""
    if kind == "none":
        return None
    node = scene.AddNewNodeByClass("vtkMRMLTransformNode", kind)
    if kind == "non-linear":
        node.SetAndObserveTransformToParent(_bending())
        return node
    turned = np.eye(4)
    turned[:3, :3], turned[:3, 3] = rotation(0.5, 1), (10.0, -5.0, 3.0)
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(turned))
    if kind == "nested":
        above = addTransform(scene, "linear")
        node.SetAndObserveTransformNodeID(above.GetID())
    return node


def put(node, transform) -> None:
    """Put a node under a transform, or under none."""
    node.SetAndObserveTransformNodeID(transform.GetID() if transform else None)


def toWorld(node, ijk) -> np.ndarray:
    """Where a voxel of a volume is in the world, in mm RAS, as Slicer has it."""
    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    place = [0.0, 0.0, 0.0]
    node.TransformPointToWorld(matrix.MultiplyPoint((*ijk, 1))[:3], place)
    return np.array(place)


def _bending():
    still = [(x, y, z) for x in (0, 60) for y in (-60, 0) for z in (40, 90)]
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point in (*still, (30, -20, 65)):
        source.InsertNextPoint(point)
        target.InsertNextPoint(point)
    target.SetPoint(len(still), 36, -17, 63)
    bending = vtk.vtkThinPlateSplineTransform()
    bending.SetBasisToR()
    bending.SetSourceLandmarks(source)
    bending.SetTargetLandmarks(target)
    return bending
