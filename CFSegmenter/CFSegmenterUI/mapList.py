"""The list of the maps that were made of a volume, the one in the views selected."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt

from . import maps


class MapList:
    """A MapList shows the maps of one volume at a time, and tells which one the user selects."""

    def __init__(self, widget: qt.QListWidget, scene: Any, selected: Callable[[Any], None]):
        """Args: the list to fill, the MRML scene, and what to call with the map that the user selects."""
        self._widget = widget
        self._scene = scene
        self._selected = selected
        self._listed: list[tuple[str, str]] = []
        widget.connect("itemSelectionChanged()", self._onSelected)

    def show(self, volumeNode: Any, shownMap: Any) -> None:
        """List the maps of a volume, none for None, and select the one that is shown."""
        nodes = maps.mapsOf(volumeNode) if volumeNode is not None else []
        listed = [(maps.titleOf(mapNode), mapNode.GetID()) for mapNode in nodes]
        self._widget.blockSignals(True)
        if listed != self._listed:
            self._widget.clear()
            for row, (title, identity) in enumerate(listed):
                self._widget.addItem(title)
                self._widget.item(row).setData(qt.Qt.UserRole, identity)
            self._listed = listed
        for row, mapNode in enumerate(nodes):
            self._widget.item(row).setSelected(mapNode is shownMap)
        self._widget.blockSignals(False)

    def _onSelected(self) -> None:
        selected = self._widget.selectedItems()
        mapNode = self._scene.GetNodeByID(selected[0].data(qt.Qt.UserRole)) if selected else None
        if mapNode is not None:
            self._selected(mapNode)
