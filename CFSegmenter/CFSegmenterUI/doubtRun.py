"""A run over volumes that asks the model how sure it is of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from .session import RunOptions, Session


class DoubtRun:
    """A DoubtRun encodes one volume after the other, and hears the mean margin of each.

    It is cancelled like a Task. What was heard before a failure or a cancel is kept.
    """

    def __init__(
        self,
        session: Session,
        volumeNodes: Sequence[Any],
        options: RunOptions,
        *,
        heard: Callable[[Any, float], None],
        failed: Callable[[Any, str], None],
        progress: Callable[[int, int, str, float | None], None],
        done: Callable[[], None],
        cancelled: Callable[[], None],
    ):
        """
        Args:
            heard: a volume and its mean margin.
            failed: a volume and why the model cannot read it; the run goes on as long as there is a worker.
            progress: of the whole run, without a time: volumes differ too much to tell it.
            done, cancelled: one of them is called at the end.
        """
        self._session, self._options = session, options
        self._remaining, self._count = list(volumeNodes), len(volumeNodes)
        self._heard, self._failed, self._progress = heard, failed, progress
        self._done, self._cancelled = done, cancelled
        self._task: Any = None
        self._next()

    def cancel(self) -> None:
        """Give up the volume at work and those after it."""
        if self._task is not None:
            self._task.cancel()

    def _next(self) -> None:
        while self._remaining and self._session.scene.GetNodeByID(self._remaining[0].GetID() or "") is None:
            self._remaining.pop(0)  # it has left the scene meanwhile
        if not self._remaining:
            self._task = None
            self._done()
            return
        volume = self._remaining.pop(0)

        def heard(margin: float) -> None:
            self._heard(volume, margin)
            self._next()

        def failed(text: str) -> None:
            self._failed(volume, text)
            if not self._session.link.isRunning:
                self._remaining.clear()  # it could not be started, and would not be for the others
            self._next()

        self._task = self._session.doubt(
            volume,
            self._options,
            done=heard,
            failed=failed,
            progress=lambda done, total, what, left: self._onProgress(volume, done, total),
            cancelled=self._cancelled,
        )

    def _onProgress(self, volume: Any, done: int, total: int) -> None:
        number = self._count - len(self._remaining) - 1
        self._progress(number * total + done, self._count * total, volume.GetName(), None)
