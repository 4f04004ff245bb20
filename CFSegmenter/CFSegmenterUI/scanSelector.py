"""A selector of volumes that offers scans: the maps that were made of them are volumes too."""

from __future__ import annotations

from typing import Any

import slicer
from slicer.util import VTKObservationMixin

from . import maps


class ScanSelector(VTKObservationMixin):
    """A ScanSelector leaves our maps out of a node selector, which itself can only ask for an attribute to be there."""

    def __init__(self, selector: slicer.qMRMLNodeComboBox, scene: Any):
        super().__init__()
        self._selector = selector
        self._scene = scene
        # The ID of a map that is gone may be a scan's by now.
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self._onNode)
        for event in (scene.EndImportEvent, scene.EndCloseEvent, scene.EndBatchProcessEvent):
            self.addObserver(scene, event, self._update)
        self._update()

    def cleanup(self) -> None:
        """Let go of the scene."""
        self.removeObservers()

    def _onNode(self, caller: Any = None, event: Any = None) -> None:
        if not self._scene.IsBatchProcessing():
            self._update()

    def _update(self, caller: Any = None, event: Any = None) -> None:
        self._selector.sortFilterProxyModel().hiddenNodeIDs = [node.GetID() for node in maps.mapsIn(self._scene)]
