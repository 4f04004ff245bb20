"""Maps: what a model sees at every voxel of a volume, as volumes with fixed colors beside it."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from CFSegmenterLib.structures import Vocabulary

from . import provenance, subjectHierarchy, volumes
from .provenance import Provenance

KIND, TITLE, CLASSES = "CFSegmenter.MapKind", "CFSegmenter.MapTitle", "CFSegmenter.Classes"
VOLUME_ROLE = "CFSegmenter.Volume"
FRAME = "CFSegmenter.Frame"
"""Attribute of a map: number of the frame that the volume showed when it was made."""

LEGEND_SIZE = (0.11, 0.4)
"""Width and height of a legend, as shares of the view: its texts grow with it."""
NAMES_WIDTH, NAME_HEIGHT, HIGHEST = 0.35, 0.06, 0.9
"""The same for a legend of class names: as wide as the longest needs to be read, higher with each name."""

SCALES = {
    # Blue is unlike, red is alike, and neither is pale: in between the scan below is to be seen.
    "similarity": (
        (-1.0, 0.05, 0.19, 0.58),
        (-0.5, 0.37, 0.60, 0.87),
        (0.0, 0.95, 0.95, 0.93),
        (0.5, 0.96, 0.58, 0.38),
        (1.0, 0.70, 0.04, 0.11),
    ),
    # Dark is unsure, bright is sure.
    "margin": ((0.0, 0.12, 0.03, 0.25), (0.33, 0.52, 0.13, 0.44), (0.67, 0.92, 0.44, 0.29), (1.0, 0.99, 0.95, 0.68)),
}
"""Kind of map -> (value, red, green, blue), from the least value shown to the greatest."""


def writeMap(
    volumeNode: Any, array: np.ndarray, title: str, kind: str, colors: Any = None, made: Provenance | None = None
) -> Any:
    """Show an array as a map of the volume, in the place of one of the same title and kind.

    Args:
        array: (I, J, K) on the volume's grid.
        kind: "similarity" (-1 to 1), "margin" (0 to 1) or "best" (whole numbers).
        colors: the color node of a "best" map, see `classColors`.
        made: what made it; None is nobody that one would want to know.

    Returns:
        A scalar volume node of float32, for "best" a label map node of int16.
    """
    isLabels = kind == "best"
    node = next((m for m in mapsOf(volumeNode) if kindOf(m) == kind and titleOf(m) == title), None)
    if node is None:
        node = _newMap(volumeNode, title, kind, "vtkMRMLLabelMapVolumeNode" if isLabels else "vtkMRMLScalarVolumeNode")
    with slicer.util.NodeModify(node):
        # A transposed float32 array is copied into the node directly.
        slicer.util.updateVolumeFromArray(node, np.asarray(array, np.int16 if isLabels else np.float32).T)
        node.CopyOrientation(volumeNode)
        node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
        if node.GetDisplayNode() is None:
            node.CreateDefaultDisplayNodes()
        _color(node, kind, colors)
        frame = volumes.shownFrame(volumeNode)
        node.SetAttribute(FRAME, None if frame is None else str(frame))
        provenance.writeOn(node, made or Provenance("", "", ""))
    return node


def classColors(scene: Any, names: Sequence[str], vocabulary: Vocabulary) -> Any:
    """A color node in which the value i has the color of the structure `names[i]`, and the first one is not seen."""
    known = [vocabulary.get(name) for name in names]
    colors = [[part / 255 for part in each.color] if each else [0.5, 0.5, 0.5] for each in known]
    # Two models may give one name different colors.
    told = hashlib.sha256("\n".join(f"{name} {color}" for name, color in zip(names, colors)).encode()).hexdigest()[:16]
    for node in slicer.util.getNodesByClass("vtkMRMLColorTableNode", scene):
        if node.GetAttribute(CLASSES) == told:
            return node
    node = scene.AddNewNodeByClass("vtkMRMLColorTableNode", scene.GenerateUniqueName(_("CFSegmenter classes")))
    node.SetAttribute(CLASSES, told)
    node.SetTypeToUser()
    node.SetNumberOfColors(len(names))
    for value, (name, color) in enumerate(zip(names, colors)):
        node.SetColor(value, name, *color, 1.0 if value else 0.0)
    return node


def occurring(array: np.ndarray, names: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Number anew the classes of a "best" map that occur in it, so that its legend shows them and no others.

    Args:
        array: (I, J, K) whole numbers, each of which says which of `names` it is; the first one is the background.

    Returns:
        The array with the new numbers, and their names, the background still the first.
    """
    isThere = np.bincount(array.ravel(order="K"), minlength=len(names)) > 0
    isThere[0] = True
    numbers = np.cumsum(isThere) - 1
    return numbers.astype(np.int16)[array], [name for name, there in zip(names, isThere) if there]


def mapsOf(volumeNode: Any) -> list[Any]:
    """The maps of a volume."""
    scene = volumeNode.GetScene()
    found = mapsIn(scene) if scene else []
    return [node for node in found if volumeOf(node) is volumeNode]


def mapsIn(scene: Any) -> list[Any]:
    """The maps of all volumes."""
    return [node for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene) if kindOf(node)]


def scansIn(scene: Any) -> list[Any]:
    """The volumes that may be segmented, as the selector lists them: no label map, no colors, no map of ours."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode", scene)
    return [
        node
        for node in nodes
        if node.GetClassName() == "vtkMRMLScalarVolumeNode" and not node.GetHideFromEditors() and kindOf(node) is None
    ]


def volumeOf(mapNode: Any) -> Any:
    """The volume that a map is of; None where it is gone."""
    return mapNode.GetNodeReference(VOLUME_ROLE)


def titleOf(mapNode: Any) -> str:
    """What the map is of, "" for a volume that is no map."""
    return mapNode.GetAttribute(TITLE) or ""


def kindOf(mapNode: Any) -> str | None:
    """One of "similarity", "margin" and "best"; None for a volume that is no map."""
    return mapNode.GetAttribute(KIND)


def frameOf(mapNode: Any) -> int | None:
    """Which frame of its volume's sequence a map was made of; None where the volume was in none."""
    frame = mapNode.GetAttribute(FRAME)
    return None if frame is None else int(frame)


def isOfAnotherFrame(mapNode: Any) -> bool:
    """Whether what a map shows is not of the frame that its volume shows."""
    frame = frameOf(mapNode)
    return frame is not None and frame != volumes.shownFrame(volumeOf(mapNode))


def showThreshold(mapNode: Any, value: float | None) -> None:
    """Show of a similarity or margin map only what is at least `value`; None shows all."""
    display = mapNode.GetDisplayNode()
    if kindOf(mapNode) not in SCALES or display is None:
        return
    with slicer.util.NodeModify(display):
        display.AutoThresholdOff()
        # A loaded display node says that it applies a threshold, and does not before it is switched off and on.
        display.SetApplyThreshold(False)
        if value is not None:
            display.SetThreshold(value, max(value, mapNode.GetImageData().GetScalarRange()[1]))
            display.SetApplyThreshold(True)


def showLegend(mapNode: Any) -> None:
    """Show what the map's colors stand for."""
    logic = _colorsLogic()
    if logic is None:
        return
    isNew = logic.GetColorLegendDisplayNode(mapNode) is None
    legend = logic.AddDefaultColorLegendDisplayNode(mapNode)
    with slicer.util.NodeModify(legend):
        if isNew:  # from then on its looks are the user's
            colors = mapNode.GetDisplayNode().GetColorNode()
            _style(legend, kindOf(mapNode), titleOf(mapNode), colors.GetNumberOfColors())
        legend.SetVisibility(True)


def hideLegends(scene: Any) -> None:
    """Hide the legends of all our maps; those of other volumes stay."""
    logic = _colorsLogic()
    for node in mapsIn(scene) if logic else ():
        legend = logic.GetColorLegendDisplayNode(node)
        if legend is not None:
            legend.SetVisibility(False)


def _style(legend: Any, kind: str | None, title: str, classes: int) -> None:
    legend.SetTitleText(_("similarity\n{title}").format(title=title) if kind == "similarity" else title)
    if kind == "best":
        legend.SetUseColorNamesForLabels(True)
        legend.SetLabelFormat("%s")
        legend.SetSize(NAMES_WIDTH, min(HIGHEST, NAME_HEIGHT * classes))
    else:
        legend.SetNumberOfLabels(5)
        legend.SetSize(*LEGEND_SIZE)


def _colorsLogic() -> Any:
    module = getattr(slicer.modules, "colors", None)
    logic = module.logic() if module else None
    return logic if hasattr(logic, "AddDefaultColorLegendDisplayNode") else None


def _newMap(volumeNode: Any, title: str, kind: str, className: str) -> Any:
    pattern = _("{title} similarity ({volume})") if kind == "similarity" else _("{title} ({volume})")
    scene = volumeNode.GetScene()
    node = scene.CreateNodeByClass(className)
    node.UnRegister(None)
    node.SetName(pattern.format(title=title, volume=volumeNode.GetName()))
    node.SetAttribute(KIND, kind)
    node.SetAttribute(TITLE, title)
    node = scene.AddNode(node)  # who hears of it may ask what it is
    node.SetNodeReferenceID(VOLUME_ROLE, volumeNode.GetID())
    folder = _("CFSegmenter maps of {volume}").format(volume=volumeNode.GetName())
    subjectHierarchy.placeInFolder(node, volumeNode, folder)
    return node


def _color(node: Any, kind: str, colors: Any) -> None:
    display = node.GetDisplayNode()
    with slicer.util.NodeModify(display):
        if kind == "best":
            if colors is not None:
                display.SetAndObserveColorNodeID(colors.GetID())
            return
        scale = SCALES[kind]
        display.SetAndObserveColorNodeID(_scaleNode(node.GetScene(), kind).GetID())
        display.AutoWindowLevelOff()
        display.SetWindowLevelMinMax(scale[0][0], scale[-1][0])
        display.SetInterpolate(True)


def _scaleNode(scene: Any, kind: str) -> Any:
    """The color node of a kind of map: one in a scene, saved with it."""
    tag = f"CFSegmenter{kind.capitalize()}"
    node = scene.GetSingletonNode(tag, "vtkMRMLProceduralColorNode")
    if node is None:
        node = scene.CreateNodeByClass("vtkMRMLProceduralColorNode")
        node.UnRegister(None)
        node.SetSingletonTag(tag)
        node.SetName(_("CFSegmenter similarity") if kind == "similarity" else _("CFSegmenter margin"))
        node.SetHideFromEditors(False)
        node = scene.AddNode(node)
    function = node.GetColorTransferFunction()
    if function.GetSize() != len(SCALES[kind]):  # new, or emptied when the scene was closed
        function.RemoveAllPoints()
        for point in SCALES[kind]:
            function.AddRGBPoint(*point)
    return node
