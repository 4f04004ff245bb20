"""What the slice views show: a map over a volume for a while, and then what the user had there again.

What was shown before is noted on the nodes themselves, so that it can be given back in a scene that was saved since.
"""

from __future__ import annotations

from typing import Any

import slicer

from .provenance import PREFIX

BEFORE = PREFIX + "Before"
"""Attribute of a slice view with a map: opacities of foreground and labels before. Also begins the names of the roles
in which it refers to the volumes that it showed."""
BACKGROUND, FOREGROUND, LABEL = BEFORE + "Background", BEFORE + "Foreground", BEFORE + "Label"
FILLED = PREFIX + "Filled"
"""Attribute of a segmentation's display node: its segments were filled before the map."""


class ViewLayers:
    """ViewLayers lay a map over a volume in all slice views of a scene, and give back what was shown before.

    Meanwhile segments are outlines: filled, they would tint the map's colors, which stand for numbers.
    """

    def __init__(self, scene: Any):
        self._scene = scene

    @property
    def isShowing(self) -> bool:
        """Whether there is something to restore."""
        return any(_isNoted(composite) for composite in self._composites())

    def show(self, volumeNode: Any, mapNode: Any, opacity: float) -> None:
        """Show a map over its volume in every slice view, with an opacity of 0 to 1.

        What the views showed is noted when they first show a map, not when they go from one to another.
        """
        isLabel = mapNode.IsA("vtkMRMLLabelMapVolumeNode")
        for composite in self._composites():
            if not _isNoted(composite):
                _note(composite)
            with slicer.util.NodeModify(composite):
                composite.SetBackgroundVolumeID(volumeNode.GetID())
                if isLabel:
                    composite.SetForegroundVolumeID(None)
                    composite.SetLabelVolumeID(mapNode.GetID())
                else:
                    composite.SetForegroundVolumeID(mapNode.GetID())
                    composite.SetLabelVolumeID(_noted(composite, LABEL))
                    composite.SetLabelOpacity(_opacities(composite)[1])
        self.setOpacity(mapNode, opacity)
        self.showOutlines()

    def showOutlines(self) -> None:
        """Show segments as outlines until `restore`; to be called again when there are new ones."""
        for display in self._displays():
            if display.GetVisibility2DFill():
                display.SetAttribute(FILLED, "1")
                display.SetVisibility2DFill(False)

    def setOpacity(self, mapNode: Any, opacity: float) -> None:
        """Change the opacity of the map that is shown."""
        for composite in self._composites():
            if composite.GetLabelVolumeID() == mapNode.GetID():
                composite.SetLabelOpacity(opacity)
            elif composite.GetForegroundVolumeID() == mapNode.GetID():
                composite.SetForegroundOpacity(opacity)

    def restore(self) -> None:
        """Give every view back what it showed; a volume that has left the scene meanwhile leaves its layer empty."""
        for composite in self._composites():
            if _isNoted(composite):
                _giveBack(composite)
        for display in self._displays():
            if display.GetAttribute(FILLED):
                display.RemoveAttribute(FILLED)
                display.SetVisibility2DFill(True)

    def forget(self) -> None:
        """Leave the views as they are: what they showed is gone, as when the scene was closed."""
        for composite in self._composites():
            _forget(composite)

    def _composites(self) -> list[Any]:
        return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", self._scene)

    def _displays(self) -> list[Any]:
        return slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode", self._scene)


def _isNoted(composite: Any) -> bool:
    return composite.GetAttribute(BEFORE) is not None


def _note(composite: Any) -> None:
    composite.SetAttribute(BEFORE, f"{composite.GetForegroundOpacity()} {composite.GetLabelOpacity()}")
    composite.SetNodeReferenceID(BACKGROUND, composite.GetBackgroundVolumeID())
    composite.SetNodeReferenceID(FOREGROUND, composite.GetForegroundVolumeID())
    composite.SetNodeReferenceID(LABEL, composite.GetLabelVolumeID())


def _giveBack(composite: Any) -> None:
    foreground, label = _opacities(composite)
    with slicer.util.NodeModify(composite):
        composite.SetBackgroundVolumeID(_noted(composite, BACKGROUND))
        composite.SetForegroundVolumeID(_noted(composite, FOREGROUND))
        composite.SetLabelVolumeID(_noted(composite, LABEL))
        composite.SetForegroundOpacity(foreground)
        composite.SetLabelOpacity(label)
        _forget(composite)


def _forget(composite: Any) -> None:
    composite.RemoveAttribute(BEFORE)
    for role in (BACKGROUND, FOREGROUND, LABEL):
        composite.RemoveNodeReferenceIDs(role)


def _noted(composite: Any, role: str) -> str | None:
    """The ID of a noted volume that is still there."""
    node = composite.GetNodeReference(role)
    return node.GetID() if node is not None else None


def _opacities(composite: Any) -> tuple[float, float]:
    foreground, label = composite.GetAttribute(BEFORE).split()
    return float(foreground), float(label)
