"""An update under way: it trains in a process of the worker's, and is asked now and then how far it is.

It goes on while the user segments, closes the scene or leaves the module. When the worker ends it ends, too, after
it has kept what it had learned; it is then started again where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import qt

from .teaching import Teaching
from .updateMemory import UpdateMemory

POLL_MS = 1000
"""Between two questions how far it is."""
MISSES = 3
"""So many questions in a row may fail, as one does that a worker takes with it when it ends."""


@dataclass(frozen=True)
class UpdateState:
    """How far an update is.

    Attributes:
        state: "starting", "running", "cancelling", "stopped" (it can go on), "done" or "failed".
        phase: "preparing", "training" or "comparing".
        fraction: of the phase, 0 to 1.
        losses: (step, loss), at most some hundreds.
        message: what went wrong, or why it stopped.
        version: what came of it.
    """

    state: str
    phase: str = ""
    step: int = 0
    total: int = 0
    fraction: float = 0.0
    loss: float | None = None
    secondsLeft: float | None = None
    losses: tuple[tuple[float, float], ...] = ()
    message: str = ""
    version: str | None = None

    @property
    def isUnderWay(self) -> bool:
        """Whether there is something to cancel."""
        return self.state in ("starting", "running", "cancelling")


class UpdateRun:
    """An UpdateRun starts, follows and cancels one update at a time.

    Attributes:
        state: None before the first update.
        store: where the version goes that comes of it.
    """

    def __init__(self, teaching: Teaching, memory: UpdateMemory, changed: Callable[[], None]):
        """Args: who asks the worker, what is kept for the next start of Slicer, and who hears of every change."""
        self.state: UpdateState | None = None
        self.store = ""
        self._teaching, self._memory, self._changed = teaching, memory, changed
        self._isAsking = False
        self._isCancelled = self._mayResume = False
        self._misses = 0
        self._resumedAt = -1
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def isUnderWay(self) -> bool:
        """Whether an update is being trained, or about to be."""
        return self.state is not None and self.state.isUnderWay

    def start(self, arguments: Mapping[str, Any]) -> None:
        """Start an update, or go on with the one that was stopped.

        Args:
            arguments: of the worker's `update_start`: store, model, cases, unlabelled, budget, settings, device.
        """
        self._isCancelled, self._mayResume = False, True
        self._misses, self._resumedAt = 0, -1
        self._begin(dict(arguments))

    def cancel(self) -> None:
        """Stop after the step at work; what it has learned is kept to go on from."""
        running = self._memory.running
        self._isCancelled, self._mayResume = True, False
        self._show(self._with("cancelling"))
        if running:
            named = {"store": running["store"], "update": running["update"]}
            self._teaching.ask("update_cancel", named, lambda said: None, self._notCancelled)

    def discard(self) -> None:
        """Forget an update that was stopped, and what it had learned."""
        running = self._memory.running
        self._end(None)
        if running:
            named = {"store": running["store"], "update": running["update"]}
            self._teaching.ask("update_discard", named, lambda said: None, self._failed)

    def look(self) -> None:
        """See what has become of the update that was under way when Slicer was left."""
        if self.state is None and self._memory.running and not self._isAsking:
            self._isCancelled = self._mayResume = False
            self.store = self._memory.running["store"]
            self._poll()

    def cleanup(self) -> None:
        """Ask no more; the update goes on as long as the worker does."""
        self._timer.stop()

    # Questions to the worker

    def _begin(self, arguments: dict[str, Any]) -> None:
        def started(said: Mapping[str, Any]) -> None:
            self._memory.running = {**arguments, "update": str(said["update"])}
            if self._isCancelled:
                self.cancel()
            self._timer.start()

        # Until the worker has answered there is no update of this name; an older one is not asked after.
        self._timer.stop()
        self._memory.running = {}
        self.store = arguments["store"]
        self._show(UpdateState("starting"))
        self._teaching.ask("update_start", arguments, started, self._failed)

    def _poll(self) -> None:
        running = self._memory.running
        if self._isAsking or not running:
            return
        self._isAsking = True

        def heard(said: Mapping[str, Any]) -> None:
            self._misses = 0
            if self._memory.running == running:
                self._hear(_stateOf(said), running)

        def missed(text: str) -> None:
            self._misses += 1
            if self._misses >= MISSES or not self._timer.active:
                self._failed(text)

        named = {"store": running["store"], "update": running["update"]}
        self._teaching.ask("update_state", named, heard, missed).atEnd(self._answered)

    def _answered(self) -> None:
        self._isAsking = False

    def _hear(self, state: UpdateState, running: dict[str, Any]) -> None:
        if state.state == "running":
            self._mayResume = not self._isCancelled
            self._timer.start()
            self._show(self._with("cancelling", state) if self._isCancelled else state)
        elif state.state == "stopped" and self._mayResume and state.step > self._resumedAt:
            # Nobody asked for that: the worker has ended, and the update with it. It must have come further since
            # the last time, or it would be started again for ever.
            self._resumedAt = state.step
            self._begin({name: value for name, value in running.items() if name != "update"})
        else:
            self._end(state)

    def _end(self, state: UpdateState | None) -> None:
        self._timer.stop()
        if state is None or state.state != "stopped":
            self._memory.running = {}
        self._show(state)

    def _failed(self, text: str) -> None:
        self._timer.stop()
        self._show(self._with("failed", message=text))

    def _notCancelled(self, text: str) -> None:
        """It goes on, as the next answer will show."""
        self._isCancelled, self._mayResume = False, True
        self._show(self._with("failed", message=text))

    def _with(self, state: str, told: UpdateState | None = None, message: str = "") -> UpdateState:
        known = told or self.state or UpdateState(state)
        return UpdateState(**{**vars(known), "state": state, "message": message or known.message})

    def _show(self, state: UpdateState | None) -> None:
        self.state = state
        self._changed()


def _stateOf(said: Mapping[str, Any]) -> UpdateState:
    return UpdateState(
        state=str(said["state"]),
        phase=str(said.get("phase") or ""),
        step=int(said.get("step") or 0),
        total=int(said.get("total") or 0),
        fraction=float(said.get("fraction") or 0.0),
        loss=said.get("loss"),
        secondsLeft=said.get("seconds_left"),
        losses=tuple((float(step), float(loss)) for step, loss in said.get("losses") or ()),
        message=str(said.get("message") or ""),
        version=said.get("version"),
    )
