"""The probe point: one point of the world that the user places in a view and drags about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from .observation import Observation

NODE_CLASS = "vtkMRMLMarkupsFiducialNode"
SETTLE_MILLISECONDS = 150
"""A dragged point moves with every event of the mouse; it is asked about at most this often."""


class ProbePoint(VTKObservationMixin):
    """A ProbePoint follows the last control point that is defined in a markups node."""

    def __init__(self, scene: Any, moved: Callable[[], None], placing: Callable[[bool], None]):
        """
        Args:
            scene: the MRML scene.
            moved: called, from the event loop, when the point was placed, moved or removed.
            placing: called with whether the next click in a view places the point.
        """
        super().__init__()
        self._scene = scene
        self._moved = moved
        self._placing = placing
        self._node = None
        self._points = Observation(self._onPointEvent)
        self._told: tuple[float, float, float] | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.setInterval(SETTLE_MILLISECONDS)
        self._timer.connect("timeout()", self._settle)
        for node, event in self._switches():
            self.addObserver(node, event, self._onPlaceMode)

    def setNode(self, node: Any | None) -> None:
        """Follow the points of another markups node; None follows nothing."""
        if node is self._node:
            return
        self._node = node
        self._told = self.position
        self._points.of(node, *self._events(node))
        self._onPlaceMode()

    def newNode(self) -> Any:
        """A markups node for the point, in the scene."""
        node = self._scene.AddNewNodeByClass(NODE_CLASS, self._scene.GenerateUniqueName(_("Probe")))
        node.CreateDefaultDisplayNodes()
        return node

    @property
    def position(self) -> tuple[float, float, float] | None:
        """In mm, RAS, in the world; None where no point is defined."""
        index = self._last()
        if index is None:
            return None
        ras = [0.0, 0.0, 0.0]
        self._node.GetNthControlPointPositionWorld(index, ras)
        return tuple(ras)

    def setLabel(self, text: str) -> None:
        """Write beside the point, in the views."""
        index = self._last()
        if index is not None and self._node.GetNthControlPointLabel(index) != text:
            self._node.SetNthControlPointLabel(index, text)

    @property
    def isPlacing(self) -> bool:
        """Whether the next click in a view places the point."""
        interaction, selection = self._interaction(), self._selection()
        if self._node is None or interaction is None or selection is None:
            return False
        isPlaceMode = interaction.GetCurrentInteractionMode() == interaction.Place
        return isPlaceMode and selection.GetActivePlaceNodeID() == self._node.GetID()

    def setPlacing(self, on: bool) -> None:
        """Let the next click in a view place the point, or no longer."""
        interaction, selection = self._interaction(), self._selection()
        if interaction is None or selection is None:
            return
        if on and self._node is not None:
            selection.SetReferenceActivePlaceNodeClassName(NODE_CLASS)
            selection.SetActivePlaceNodeID(self._node.GetID())
            interaction.SetPlaceModePersistence(0)
            interaction.SetCurrentInteractionMode(interaction.Place)
        elif self.isPlacing:
            interaction.SetCurrentInteractionMode(interaction.ViewTransform)

    def cleanup(self) -> None:
        """Let go of the nodes."""
        self._timer.stop()
        self.setPlacing(False)
        self.setNode(None)
        self.removeObservers()

    def _last(self) -> int | None:
        """Index of the control point that was defined last; a preview under the mouse is none."""
        defined = self._defined()
        return defined[-1] if defined else None

    def _defined(self) -> list[int]:
        node = self._node
        if node is None:
            return []
        every = range(node.GetNumberOfControlPoints())
        return [i for i in every if node.GetNthControlPointPositionStatus(i) == node.PositionDefined]

    def _settle(self) -> None:
        # From the event loop, because a view is still at work with the points when it tells of a new one.
        for index in reversed(self._defined()[:-1]):
            self._node.RemoveNthControlPoint(index)
        if self.position != self._told:  # a new label is an event too
            self._told = self.position
            self._moved()

    def _onPointEvent(self, caller: Any = None, event: Any = None) -> None:
        if not self._timer.active:
            self._timer.start()

    def _onPlaceMode(self, caller: Any = None, event: Any = None) -> None:
        self._placing(self.isPlacing)

    def _interaction(self) -> Any:
        return self._scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")

    def _selection(self) -> Any:
        return self._scene.GetNodeByID("vtkMRMLSelectionNodeSingleton")

    def _switches(self) -> list[tuple[Any, int]]:
        interaction, selection = self._interaction(), self._selection()
        if interaction is None or selection is None:
            return []
        return [
            (interaction, interaction.InteractionModeChangedEvent),
            (selection, selection.ActivePlaceNodeIDChangedEvent),
        ]

    @staticmethod
    def _events(node: Any | None) -> tuple[int, ...]:
        if node is None:
            return ()
        return (
            node.PointPositionDefinedEvent,
            node.PointPositionUndefinedEvent,
            node.PointModifiedEvent,
            node.PointRemovedEvent,
        )
