"""A Task: one thing that the user asked for, which may take several questions to the worker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from slicer.i18n import tr as _

from CFSegmenterLib.errors import UserError

from .later import soon


class Task:
    """A Task ends exactly once: done, failed or cancelled; nothing that arrives later is heard."""

    def __init__(
        self,
        title: str,
        done: Callable[..., None] | None,
        failed: Callable[[str], None] | None,
        progress: Callable[[int, int, str, float | None], None] | None = None,
        cancelled: Callable[[], None] | None = None,
    ):
        """Args: what is being done, in words, and what to call at its end and on the way."""
        self.title = title
        self.isActive = True
        self.isCancelled = False
        self.error: str | None = None
        self.result: Any = None
        self._done, self._failed, self._progress, self._cancelled = done, failed, progress, cancelled
        self._request = None
        self._endings: list[Callable[[], None]] = []

    def atEnd(self, callback: Callable[[], None]) -> None:
        """Call `callback` when the task has ended, before those who asked for it hear of it."""
        self._endings.append(callback)

    def cancel(self) -> None:
        """Give the task up. The worker is told; the answer comes within a second."""
        if self.isActive and self._request is not None:
            self._request.cancel()
        elif self.isActive:
            self.giveUp()

    def follow(self, request: Any) -> None:
        """The question that the task waits for now."""
        self._request = request

    def tell(self, done: int, total: int, what: str, secondsLeft: float | None) -> None:
        """Progress of the question at work."""
        if self.isActive and self._progress:
            self._progress(done, total, what, secondsLeft)

    def finish(self, *results: Any) -> None:
        """End well."""
        if self._end():
            self.result = results[0] if len(results) == 1 else results
            if self._done:
                self._done(*results)

    def fail(self, text: str) -> None:
        """End with a sentence for the user."""
        if self._end():
            self.error = text
            if self._failed:
                self._failed(text)

    def failSoon(self, text: str) -> None:
        """`fail` from the event loop: whoever starts a task must hold it before it ends."""
        soon(lambda: self.fail(text))

    def giveUp(self) -> None:
        """End because the user cancelled."""
        if self._end():
            self.isCancelled = True
            if self._cancelled:
                self._cancelled()

    def guarded(self, step: Callable[..., None]) -> Callable[..., None]:
        """`step` as a callback of the worker: not called once the task has ended, and its UserError ends the task."""

        def run(*arguments: Any) -> None:
            if not self.isActive:
                return
            try:
                step(*arguments)
            except UserError as error:
                self.fail(str(error))
            except Exception:
                self.fail(_("Something went wrong inside CFSegmenter; the Python console says what."))
                raise

        return run

    def _end(self) -> bool:
        if not self.isActive:
            return False
        self.isActive = False
        self._request = None
        for callback in self._endings:
            callback()
        return True
