"""The link to the worker: questions, their progress and answers, one at a time, and what to do when the worker fails.

The worker is started by the first question and again by the first after it ended. Nothing here waits but `ask`.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import qt
from slicer.i18n import tr as _

from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.worker.framing import PROTOCOL, Frame

from .later import later, soon
from .workerCommand import workerCommand, workerEnvironment
from .workerProcess import End, WorkerProcess

HELLO_SECONDS = 120
"""Until the worker must have said who it is; loading torch from a slow disk takes most of a minute."""
CANCEL_ANSWER_MS = 500
"""Until a cancelled request has ended for whoever asked, whether the worker has heard of it or not."""
CANCEL_SECONDS = 10
"""Until the worker must have stopped, from when the last byte has gone out; then it is killed.

A window through the network may take seconds, and a volume through a slow line, behind which the worker hears of it,
minutes.
"""
SENDING_MS = 200
"""Between two reports of how much has gone out."""
MEGABYTE = 10**6

_HELLO = 0
"""Number of the handshake; those of requests are larger."""


class Request:
    """A Request is the handle of one question: it ends exactly once, with `done`, `failed` or `cancelled`."""

    def __init__(
        self,
        link: WorkerLink,
        number: int,
        verb: str,
        message: Mapping[str, Any],
        arrays: Mapping[str, np.ndarray],
        callbacks: Mapping[str, Callable[..., None] | None],
    ):
        self.number = number
        self.verb = verb
        self.isActive = True
        self.isCancelled = False
        self.message = {**message, "id": number, "verb": verb}
        self.arrays = arrays
        self._link = link
        self._callbacks = callbacks

    def cancel(self) -> None:
        """Give it up: `cancelled` is called within a second, whatever the worker does."""
        if self.isActive and not self.isCancelled:
            self.isCancelled = True
            self._link._cancel(self)

    def _tell(self, how: str, *said: Any) -> None:
        """Call a callback, unless the request has ended."""
        callback = self._callbacks.get(how)
        if self.isActive and callback:
            callback(*said)

    def _end(self, how: str, *said: Any) -> None:
        """End in one of the three ways; whoever cancelled hears of nothing else."""
        if not self.isActive:
            return
        callback = self._callbacks.get("cancelled" if self.isCancelled else how)
        self.isActive, self.arrays, self._callbacks = False, {}, {}
        if callback:
            callback(*(() if self.isCancelled else said))


class WorkerLink:
    """A WorkerLink asks one worker one question at a time, and starts it when there is something to ask.

    Listeners hear "starting", "ready" (it said who it is), "stopped" (we ended it) and "crashed" (it ended by itself,
    or never spoke); after the last two its encodings are gone.

    Attributes:
        machine: what the worker said of itself (device, precision, memory_free, version, torch); None until then.
    """

    def __init__(
        self,
        command: Callable[[], Sequence[str]] = workerCommand,
        environment: Callable[[], Mapping[str, str]] = workerEnvironment,
    ):
        """Args: program and arguments, and all environment variables, asked for at every start."""
        self.machine: dict[str, Any] | None = None
        self._command, self._environment = command, environment
        self._worker: WorkerProcess | None = None
        self._waiting: deque[Request] = deque()
        self._current: Request | None = None
        self._numbers = itertools.count(_HELLO + 1)
        self._listeners: list[Callable[[str], None]] = []

    @property
    def isRunning(self) -> bool:
        """Whether there is a worker, ready or about to be."""
        return self._worker is not None

    def addListener(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with every change of state."""
        self._listeners.append(callback)

    def removeListener(self, callback: Callable[[str], None]) -> None:
        """Stop calling `callback`."""
        if callback in self._listeners:
            self._listeners.remove(callback)

    def request(
        self,
        verb: str,
        message: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        *,
        done: Callable[[Frame], None] | None = None,
        failed: Callable[[str, bool], None] | None = None,
        progress: Callable[[int, int, str, float | None], None] | None = None,
        cancelled: Callable[[], None] | None = None,
    ) -> Request:
        """Ask; the answer comes to one of the callbacks, from the event loop.

        Args:
            arrays: sent as they are by then, so they must not change before the answer.
            done: the answer.
            failed: a sentence, and whether the worker has no encoding of that key (any more).
            progress: done, total, of what, and seconds left where they can be told; in MB while it is sent.
            cancelled: after `cancel` or `stop`.
        """
        callbacks = {"done": done, "failed": failed, "progress": progress, "cancelled": cancelled}
        request = Request(self, next(self._numbers), verb, message or {}, arrays or {}, callbacks)
        self._waiting.append(request)
        soon(self._advance)  # whoever asks holds the request before its callbacks come
        return request

    def ask(
        self,
        verb: str,
        message: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        progress: Callable[[int, int, str, float | None], bool | None] | None = None,
    ) -> Frame:
        """Ask and wait for the answer while events are processed; for scripts and tests.

        Args:
            progress: as of `request`; answering False cancels.

        Raises:
            UserError: the worker cannot answer.
            Cancelled: as `progress` asked, or because the worker was stopped.
        """
        loop = qt.QEventLoop()
        outcome: list[Any] = []

        def end(*said: Any) -> None:
            outcome.extend(said)
            loop.quit()

        def tell(*said: Any) -> None:
            if progress(*said) is False:
                request.cancel()

        request = self.request(
            verb, message, arrays, done=end, failed=end, cancelled=end, progress=tell if progress else None
        )
        loop.exec_()
        if not outcome:
            request.cancel()  # or the application is leaving
            raise Cancelled(verb)
        if isinstance(outcome[0], Frame):
            return outcome[0]
        raise UserError(outcome[0])

    def stop(self, gently: bool = False) -> None:
        """End the worker and its children now; what was asked for is `cancelled`.

        Args:
            gently: let its children end by themselves: an update does when it has kept what it learned.
        """
        for request in self._dropAll():
            request.isCancelled = True
            soon(lambda request=request: request._end("cancelled"))
        if self._worker is not None:
            self._endWorker("stopped", gently)

    # What is asked next

    def _advance(self) -> None:
        """Send the next question, once there is a worker and no question at work."""
        if self._current is not None or not self._waiting:
            return
        if self._worker is None:
            self._start()
        elif self.machine is not None:
            self._current = self._waiting.popleft()
            self._worker.send(self._current.message, self._current.arrays)
            self._watchSending(self._worker, self._current)

    def _watchSending(self, worker: WorkerProcess, request: Request) -> None:
        """Report how much of a question has gone out, to whoever asked; once that is cancelled, to those behind it."""
        started, total = time.monotonic(), worker.unsent
        whole = max(1, round(total / MEGABYTE))

        def look() -> None:
            sent = max(0, total - worker.unsent)  # the word that it is cancelled has been added
            if self._current is not request or sent >= total:
                return
            done = sent // MEGABYTE
            left = (time.monotonic() - started) / sent * (total - sent) if sent else None
            if request.isActive:
                request._tell("progress", done, whole, f"sending {done} of {whole} MB", left)
            else:
                for behind in tuple(self._waiting):
                    behind._tell("progress", done, whole, f"still sending {done} of {whole} MB", left)
            later(SENDING_MS, look)

        later(SENDING_MS, look)

    def _start(self) -> None:
        try:
            command, environment = list(self._command()), self._environment()
        except UserError as error:
            self._failAll(str(error))
            return
        self._worker = worker = WorkerProcess(command, environment, self._heard, self._ended)
        self._tell("starting")
        worker.send({"id": _HELLO, "verb": "hello", "protocol": PROTOCOL})
        later(1000 * HELLO_SECONDS, lambda: self._missHello(worker))

    def _missHello(self, worker: WorkerProcess) -> None:
        if self._worker is worker and self.machine is None:
            text = _("The worker did not say who it is within {seconds} seconds; check its command, or try again.")
            self._fail(text.format(seconds=HELLO_SECONDS))

    # What the worker says

    def _heard(self, worker: WorkerProcess, frame: Frame) -> None:
        if worker is not self._worker:
            return
        number, event = frame.message.get("id"), frame.message.get("event")
        if number == _HELLO and self.machine is None:
            self._greet(frame)
        elif self._current is not None and number == self._current.number:
            if event == "progress":
                said = frame.message
                self._current._tell("progress", said["done"], said["total"], said["what"], said.get("seconds_left"))
            else:
                self._conclude(frame)
        elif event == "error":
            logging.warning("The worker said: %s", frame.message.get("message"))

    def _greet(self, frame: Frame) -> None:
        said = dict(frame.message)
        if said.get("event") != "answer":
            self._fail(str(said.get("message")))
        elif said.get("protocol") != PROTOCOL:
            text = _(
                "The worker speaks protocol {theirs}, this module {ours}; install the same version of CFSegmenter on "
                "both sides."
            )
            self._fail(text.format(theirs=said.get("protocol"), ours=PROTOCOL))
        else:
            self.machine = said
            self._tell("ready")
            self._advance()

    def _conclude(self, frame: Frame) -> None:
        request, self._current = self._current, None
        soon(self._advance)
        if request.verb == "hello" and frame.message.get("event") == "answer":
            self.machine = dict(frame.message)  # asked again for the memory that is free now
        if frame.message.get("event") == "answer":
            request._end("done", frame)
        elif frame.message.get("event") == "cancelled":
            request._end("cancelled")
        else:
            self._worker.logLastLines()
            request._end("failed", str(frame.message.get("message")), bool(frame.message.get("gone")))

    # Cancelling

    def _cancel(self, request: Request) -> None:
        if request is not self._current:
            if request in self._waiting:  # else it has failed, and is about to hear of it
                self._waiting.remove(request)
            soon(lambda: request._end("cancelled"))
            return
        worker = self._worker
        worker.send({"id": next(self._numbers), "verb": "cancel", "target": request.number})
        later(CANCEL_ANSWER_MS, lambda: request._end("cancelled"))
        self._awaitCancel(worker, request, time.monotonic())

    def _awaitCancel(self, worker: WorkerProcess, request: Request, since: float) -> None:
        """End a worker that is still at a request that was cancelled; what waits behind it goes to the next one."""
        if self._worker is not worker or self._current is not request:
            return
        quiet = time.monotonic() - max(since, worker.lastWritten)
        if quiet < CANCEL_SECONDS:
            wait = int(1000 * (CANCEL_SECONDS - quiet)) + 1
            later(wait, lambda: self._awaitCancel(worker, request, since))
        else:
            logging.warning("The worker did not stop within %s seconds and is ended.", CANCEL_SECONDS)
            self._current = None
            self._endWorker("stopped")
            self._advance()

    # The worker's end

    def _ended(self, worker: WorkerProcess, end: End) -> None:
        if worker is not self._worker:
            return
        if end is End.NOT_STARTED:
            text = _(
                "The worker could not be started, because '{program}' was not found or may not be run; correct the "
                "worker command."
            ).format(program=worker.program)
        elif end is End.NO_FRAMES:
            text = _(
                "What the worker command prints is no answer of CFSegmenter (the log has it); correct the command, or "
                "keep its shell from printing."
            )
        elif self.machine is None:
            text = _(
                "The worker ended before it was ready (the log says why); install what is missing, or correct the "
                "worker command."
            )
        else:
            text = _(
                "The worker ended unexpectedly, perhaps for want of memory; it is started again when you try again."
            )
        self._fail(text)

    def _fail(self, text: str) -> None:
        """Tell the listeners, then everybody who asked, that the worker is gone, and end what may be left of it."""
        self._worker.logLastLines()
        self._failAll(text)
        self._endWorker("crashed")

    def _failAll(self, text: str) -> None:
        for request in self._dropAll():
            soon(lambda request=request: request._end("failed", text, False))

    def _endWorker(self, state: str, gently: bool = False) -> None:
        worker, self._worker, self.machine = self._worker, None, None
        if gently:
            worker.killAlone()
        else:
            worker.kill()
        self._tell(state)

    def _dropAll(self) -> list[Request]:
        dropped = [self._current] if self._current is not None else []
        dropped += self._waiting
        self._current = None
        self._waiting.clear()
        return dropped

    def _tell(self, state: str) -> None:
        for callback in list(self._listeners):
            callback(state)
