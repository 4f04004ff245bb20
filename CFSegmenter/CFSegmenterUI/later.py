"""Calls from the event loop, at once or a while later.

Slicer's own `QTimer.singleShot` keeps each timer, and all that its call holds, until the application ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

import qt

Call = Callable[[], None]


class _Timers:
    """Timers that are used again: one must not be deleted while it calls."""

    def __init__(self):
        self._idle: list[_Timer] = []

    def start(self, call: Call, milliseconds: int) -> None:
        timer = self._idle.pop() if self._idle else _Timer(self._idle.append)
        timer.start(call, milliseconds)


class _Timer:
    def __init__(self, done: Callable[[_Timer], None]):
        self._done = done
        self._call: Call | None = None
        self._timer = qt.QTimer()
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._onTimeout)

    def start(self, call: Call, milliseconds: int) -> None:
        self._call = call
        self._timer.start(milliseconds)

    def _onTimeout(self) -> None:
        call, self._call = self._call, None
        self._done(self)
        call()


_timers = _Timers()
_soon: deque[Call] = deque()


def soon(call: Call) -> None:
    """Call in the next turn of the event loop, in the order in which this was asked for."""
    _soon.append(call)
    if len(_soon) == 1:
        _timers.start(_nextOfSoon, 0)


def later(milliseconds: float, call: Call) -> None:
    """Call after so many milliseconds."""
    _timers.start(call, int(milliseconds))


def _nextOfSoon() -> None:
    # One call a turn: one that raises, or waits in an event loop of its own, must not hold up those behind it.
    call = _soon.popleft()
    if _soon:
        _timers.start(_nextOfSoon, 0)
    call()
