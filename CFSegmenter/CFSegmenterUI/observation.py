"""What a panel listens to, one object at a time.

The observations of `slicer.util.VTKObservationMixin` are for what lives as long as who listens, as a scene does: it
keeps an object, and all that this holds, for as long as it listens to anything at all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Observation:
    """An Observation listens to one object at a time, and keeps no other alive."""

    def __init__(self, callback: Callable[..., None]):
        """Args: what to call, with the object and the event."""
        self._callback = callback
        self._subject: Any = None
        self._tags: list[int] = []

    def of(self, subject: Any, *events: Any) -> None:
        """Listen to events of an object, and no longer to those of the one before; None is no object.

        VTK's own events may be given by name; of another name, as that of an event of Slicer's, nothing is ever heard.
        """
        for tag in self._tags:
            self._subject.RemoveObserver(tag)
        self._subject, self._tags = subject, []
        if subject is not None:
            self._tags = [subject.AddObserver(event, self._callback) for event in events]

    @property
    def subject(self) -> Any:
        """What is listened to."""
        return self._subject

    def end(self) -> None:
        """Listen to nothing."""
        self.of(None)
