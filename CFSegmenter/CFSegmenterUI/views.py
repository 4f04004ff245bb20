"""What the slice views show: a map over a volume for a while, and then the user's own layers again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import slicer


@dataclass(frozen=True)
class _Layers:
    """What a slice view showed: for each layer the volume, so that another one under its ID is not taken for it."""

    background: tuple[str, str] | None
    foreground: tuple[str, str] | None
    label: tuple[str, str] | None
    foregroundOpacity: float
    labelOpacity: float


class ViewLayers:
    """ViewLayers lay a map over a volume in all slice views of a scene, and give the user's layers back."""

    def __init__(self, scene: Any):
        self._scene = scene
        self._before: dict[tuple[str, str], _Layers] = {}
        self._isLabel = False

    @property
    def isShowing(self) -> bool:
        """Whether there is something to restore."""
        return bool(self._before)

    def show(self, volumeNode: Any, mapNode: Any, opacity: float) -> None:
        """Show a map over its volume in every slice view, with an opacity of 0 to 1.

        What the views showed is remembered when they first show a map, not when they go from one to another.
        """
        self._isLabel = mapNode.IsA("vtkMRMLLabelMapVolumeNode")
        for composite in self._composites():
            before = self._before.setdefault(_identityOf(composite), self._layersOf(composite))
            with slicer.util.NodeModify(composite):
                composite.SetBackgroundVolumeID(volumeNode.GetID())
                if self._isLabel:
                    composite.SetForegroundVolumeID(None)
                    composite.SetLabelVolumeID(mapNode.GetID())
                else:
                    composite.SetForegroundVolumeID(mapNode.GetID())
                    composite.SetLabelVolumeID(self._idOf(before.label))
                    composite.SetLabelOpacity(before.labelOpacity)
        self.setOpacity(opacity)

    def setOpacity(self, opacity: float) -> None:
        """Change the opacity of the map that is shown."""
        for composite in self._composites():
            if _identityOf(composite) not in self._before:
                continue
            if self._isLabel:
                composite.SetLabelOpacity(opacity)
            else:
                composite.SetForegroundOpacity(opacity)

    def restore(self) -> None:
        """Give every view back what it showed; a volume that has left the scene meanwhile leaves its layer empty."""
        for composite in self._composites():
            before = self._before.get(_identityOf(composite))
            if before is None:
                continue
            with slicer.util.NodeModify(composite):
                composite.SetBackgroundVolumeID(self._idOf(before.background))
                composite.SetForegroundVolumeID(self._idOf(before.foreground))
                composite.SetLabelVolumeID(self._idOf(before.label))
                composite.SetForegroundOpacity(before.foregroundOpacity)
                composite.SetLabelOpacity(before.labelOpacity)
        self._before.clear()

    def _composites(self) -> list[Any]:
        return slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", self._scene)

    def _layersOf(self, composite: Any) -> _Layers:
        shown = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetLabelVolumeID())
        volumes = [self._scene.GetNodeByID(volumeID) if volumeID else None for volumeID in shown]
        return _Layers(
            *(_identityOf(volume) if volume else None for volume in volumes),
            composite.GetForegroundOpacity(),
            composite.GetLabelOpacity(),
        )

    def _idOf(self, volume: tuple[str, str] | None) -> str | None:
        """The ID of a remembered volume that is still there."""
        node = self._scene.GetNodeByID(volume[0]) if volume else None
        return volume[0] if node is not None and _identityOf(node) == volume else None


def _identityOf(node: Any) -> tuple[str, str]:
    """Tells a node from all others without keeping it alive: an ID is given again after a scene was closed."""
    return node.GetID(), node.GetAddressAsString("")
