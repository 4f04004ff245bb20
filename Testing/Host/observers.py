"""What a stand-in widget observes in the scene."""

from __future__ import annotations

import weakref

import vtk


class Observers:
    """Calls a widget's methods at events of VTK objects, for as long as the widget lives."""

    def __init__(self, widget):
        observations = self._observations = []

        def end():
            _removeAll(observations)

        widget.destroyed.connect(end)

    def add(self, subject, event, method) -> None:
        """Call `method()` at an event."""
        reference = weakref.WeakMethod(method)  # else VTK would keep the widget alive

        def notify(caller, event):
            living = reference()
            if living is not None:
                living()

        self._observations.append((subject, subject.AddObserver(event, notify)))

    def addWithNode(self, subject, event, method) -> None:
        """Call `method(node)` at an event that comes with a node."""
        reference = weakref.WeakMethod(method)

        @vtk.calldata_type(vtk.VTK_OBJECT)
        def notify(caller, event, node):
            living = reference()
            if living is not None:
                living(node)

        self._observations.append((subject, subject.AddObserver(event, notify)))

    def clear(self) -> None:
        """End all observations."""
        _removeAll(self._observations)


def _removeAll(observations: list) -> None:
    for subject, tag in observations:
        subject.RemoveObserver(tag)
    observations.clear()
