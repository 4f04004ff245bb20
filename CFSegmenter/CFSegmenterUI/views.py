"""What the slice views show: a map over a volume for a while, and then what the user had there again.

What was shown before is noted on the nodes themselves, so that it can be given back in a scene that was saved since.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from . import maps
from .provenance import PREFIX

BEFORE = PREFIX + "Before"
"""Attribute of a slice view with a map: opacities of foreground and labels before. Also begins the names of the roles
in which it refers to the volumes that it showed."""
BACKGROUND, FOREGROUND, LABEL = BEFORE + "Background", BEFORE + "Foreground", BEFORE + "Label"
FILLED = PREFIX + "Filled"
"""Attribute of a segmentation's display node: its segments were filled before the map."""


class ViewLayers(VTKObservationMixin):
    """ViewLayers lay a map over a volume in all slice views of a scene, and give back what was shown before.

    Meanwhile segments are outlines: filled, they would tint the map's colors, which stand for numbers. Over another
    frame of a sequence than the one that it was made of a map is hidden: it would say something of the wrong image.
    """

    def __init__(self, scene: Any, changed: Callable[[], None] = lambda: None):
        """Args: the MRML scene, and what to call when a map was hidden, or came back, since the frame is another."""
        super().__init__()
        self._scene = scene
        self._changed = changed
        self._volume: Any = None
        self._map: Any = None
        self._opacity = 0.0
        self._isHidden = False

    @property
    def isShowing(self) -> bool:
        """Whether there is something to restore."""
        return any(_isNoted(composite) for composite in self._composites())

    @property
    def seen(self) -> Any:
        """The map that can be seen; None where there is none, or while it is hidden."""
        return None if self._isHidden else self._map

    @property
    def whyHidden(self) -> str:
        """Why the map cannot be seen, and what to do about it; "" where it can."""
        if not self._isHidden:
            return ""
        return _(
            "This map was made of frame {frame} and is hidden while another one is shown; show frame {frame}, or make "
            "the map again."
        ).format(frame=maps.frameOf(self._map) + 1)

    def show(self, volumeNode: Any, mapNode: Any, opacity: float) -> None:
        """Show a map over its volume in every slice view, with an opacity of 0 to 1.

        What the views showed is noted when they first show a map, not when they go from one to another.
        """
        self._lay(volumeNode, mapNode, opacity)
        self.follow(volumeNode, mapNode, opacity)

    def follow(self, volumeNode: Any, mapNode: Any, opacity: float) -> None:
        """Hide a map that was shown whenever the frame is not its own; show it where it was lost with the views."""
        self._leave()
        self._volume, self._map, self._opacity = volumeNode, mapNode, opacity
        if not self.isShowing:  # their nodes are those of a scene that was added
            self._lay(volumeNode, mapNode, opacity)
        self.addObserver(volumeNode, vtk.vtkCommand.ModifiedEvent, self._onVolumeModified)
        self._onVolumeModified()

    def cleanup(self) -> None:
        """Let go of the volume; the views stay as they are."""
        self._leave()

    def showOutlines(self) -> None:
        """Show segments as outlines until `restore`; to be called again when there are new ones."""
        for display in self._displays():
            if display.GetVisibility2DFill():
                display.SetAttribute(FILLED, "1")
                display.SetVisibility2DFill(False)

    def setOpacity(self, mapNode: Any, opacity: float) -> None:
        """Change the opacity of the map that is shown."""
        self._opacity = opacity
        for composite in self._composites():
            if composite.GetLabelVolumeID() == mapNode.GetID():
                composite.SetLabelOpacity(opacity)
            elif composite.GetForegroundVolumeID() == mapNode.GetID():
                composite.SetForegroundOpacity(opacity)

    def restore(self) -> None:
        """Give every view back what it showed; a volume that has left the scene meanwhile leaves its layer empty."""
        self._leave()
        for composite in self._composites():
            if _isNoted(composite):
                _giveBack(composite)
        for display in self._displays():
            if display.GetAttribute(FILLED):
                display.RemoveAttribute(FILLED)
                display.SetVisibility2DFill(True)

    def forget(self) -> None:
        """Leave the views as they are: what they showed is gone, as when the scene was closed."""
        self._leave()
        for composite in self._composites():
            _forget(composite)

    def _lay(self, volumeNode: Any, mapNode: Any, opacity: float) -> None:
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

    def _hide(self) -> None:
        """Take the map out of every slice view; what there was before the first map stays noted."""
        for composite in self._composites():
            if composite.GetForegroundVolumeID() == self._map.GetID():
                composite.SetForegroundVolumeID(None)
            if composite.GetLabelVolumeID() == self._map.GetID():
                composite.SetLabelVolumeID(None)

    def _onVolumeModified(self, caller: Any = None, event: Any = None) -> None:
        if self._scene.GetNodeByID(self._map.GetID() or "") is not self._map:
            self._leave()
            return
        isHidden = maps.isOfAnotherFrame(self._map)
        if isHidden == self._isHidden:
            return
        self._isHidden = isHidden
        if isHidden:
            self._hide()
        else:
            self._lay(self._volume, self._map, self._opacity)
        self._changed()

    def _leave(self) -> None:
        """Follow no map any more."""
        self.removeObservers()
        self._volume, self._map, self._isHidden = None, None, False

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
