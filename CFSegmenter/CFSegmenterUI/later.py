"""Calls from the event loop, at once or a while later.

Slicer's own `QTimer.singleShot` keeps each timer, and all that its call holds, until the application ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import qt

Call = Callable[[], None]


class _Timer:
    """A timer that is used again and again: one must not be deleted while it calls."""

    def __init__(self):
        self._call: Call | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._onTimeout)

    def start(self, milliseconds: float, call: Call) -> None:
        self._call = call
        self._timer.start(int(milliseconds))

    def _onTimeout(self) -> None:
        call, self._call = self._call, None
        _idle.append(self)
        call()


_idle: list[_Timer] = []
_soon: deque[Call] = deque()


def soon(call: Call) -> None:
    """Call in the next turn of the event loop, in the order in which this was asked for."""
    _soon.append(call)
    if len(_soon) == 1:
        later(0, _nextOfSoon)


def later(milliseconds: float, call: Call) -> None:
    """Call after so many milliseconds."""
    timer = _idle.pop() if _idle else _Timer()
    timer.start(milliseconds, call)


def _nextOfSoon() -> None:
    # One call a turn: one that raises, or waits in an event loop of its own, must not hold up those behind it.
    call = _soon.popleft()
    if _soon:
        later(0, _nextOfSoon)
    call()
