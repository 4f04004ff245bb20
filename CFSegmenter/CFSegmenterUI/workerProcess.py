"""One run of the worker: a QProcess, frames to it and from it, and its end."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from enum import Enum, auto
from typing import Any

import numpy as np
import qt

from CFSegmenterLib.worker.framing import Frame, FrameDecoder, FramingError, encode_frame

from .later import soon
from .processTree import killTree

CHUNK = 1 << 20
"""Bytes handed to Qt at a time."""
AHEAD = 4 * CHUNK
"""Bytes that Qt may hold unwritten: a volume handed over at once would be copied at once, while the screen waits."""
KILL_MS = 1000
LAST_LINES = 20
"""Lines of standard error that are kept to be logged."""


class End(Enum):
    """How a run ended."""

    NOT_STARTED = auto()
    """There is no such program, or it may not be run."""
    NO_FRAMES = auto()
    """It said what is no frame, and was killed for it."""
    EXITED = auto()
    """It left, was killed or crashed."""


class WorkerProcess:
    """A WorkerProcess starts a command, sends and hears its frames, and notices its end.

    `heard` and `ended` are called from the event loop and never from inside a method or a signal of the process, so
    they may do anything, even end it.

    Attributes:
        lastWritten: when bytes went out last, by time.monotonic().
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        heard: Callable[[WorkerProcess, Frame], None],
        ended: Callable[[WorkerProcess, End], None],
    ):
        """
        Args:
            command: program and arguments.
            environment: all its variables.
            heard: called with every frame.
            ended: called once, after the last frame.
        """
        self.program = command[0]
        self._heard, self._ended = heard, ended
        self._decoder = FrameDecoder()
        self._unsent: deque[memoryview] = deque()
        self._ahead = 0
        self.lastWritten = time.monotonic()
        self._lastLines: deque[str] = deque(maxlen=LAST_LINES)
        self._isStarted = self._isOver = self._isKilled = False
        self._process = qt.QProcess()
        self._connections = (
            ("started()", self._onStarted),
            ("bytesWritten(qint64)", self._onBytesWritten),
            ("readyReadStandardOutput()", self._onOutput),
            ("readyReadStandardError()", self._onErrorOutput),
            ("errorOccurred(QProcess::ProcessError)", self._onErrorOccurred),
            ("finished(int,QProcess::ExitStatus)", self._onFinished),
        )
        for signal, slot in self._connections:
            self._process.connect(signal, slot)
        variables = qt.QProcessEnvironment()
        for name, value in environment.items():
            if _isText(name + value):
                variables.insert(name, value)
        self._process.setProcessEnvironment(variables)
        self._process.start(self.program, list(command[1:]))

    def send(self, message: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        """Send a frame, in the background; the arrays must not change before it is answered."""
        self._unsent.extend(memoryview(piece) for piece in encode_frame(message, arrays))
        self._write()

    @property
    def unsent(self) -> int:
        """Bytes that wait to be taken by the process."""
        return self._ahead + sum(len(piece) for piece in self._unsent)

    def killAlone(self) -> None:
        """End the process now, and let its children end by themselves.

        A worker behind a launcher does so when its input ends, and an update, after a checkpoint, when its worker is no
        more.
        """
        self._isKilled = True
        self._unsent.clear()
        self._process.closeWriteChannel()
        self._process.kill()
        self._process.waitForFinished(KILL_MS)

    def kill(self) -> None:
        """End the process and its children now. What it may still say is not heard."""
        self._isKilled = True
        if self._process.state() != qt.QProcess.NotRunning:
            pid = int(self._process.processId())
            if pid > 0:  # 0 before it has started, and to the operating system our own group of processes
                killTree(pid)
            self._process.kill()
            self._process.waitForFinished(KILL_MS)

    def logLastLines(self) -> None:
        """Write what the worker said last on its standard error to the application's log."""
        if self._lastLines:
            logging.warning("The worker said:\n%s", "\n".join(self._lastLines))
            self._lastLines.clear()

    # Signals of the process. Their enumerators are not taken (PythonQt passes as many arguments as a slot takes):
    # they differ between Qt 5 and 6.

    def _onStarted(self) -> None:
        self._isStarted = True
        self._write()

    def _onBytesWritten(self, count: int) -> None:
        self._ahead -= count
        self.lastWritten = time.monotonic()
        self._write()

    def _write(self) -> None:
        while self._isStarted and not self._isOver and self._unsent and self._ahead < AHEAD:
            piece = self._unsent.popleft()
            if len(piece) > CHUNK:
                self._unsent.appendleft(piece[CHUNK:])
            part = bytes(piece[:CHUNK])
            self._ahead += len(part)
            self._process.write(qt.QByteArray(part))

    def _onOutput(self) -> None:
        data = self._process.readAllStandardOutput().data()
        if self._isOver:
            return
        try:
            for frame in self._decoder.feed(data):
                soon(lambda frame=frame: self._heard(self, frame))
        except FramingError as error:
            self._lastLines.append(str(error))
            self._finish(End.NO_FRAMES)
            soon(self.kill)

    def _onErrorOutput(self) -> None:
        text = self._process.readAllStandardError().data().decode("utf-8", errors="replace")
        self._lastLines.extend(line for line in text.splitlines() if line.strip())

    def _onErrorOccurred(self) -> None:
        # Whatever goes wrong later ends with `finished`.
        if not self._isStarted:
            self._finish(End.NOT_STARTED)
            soon(self._release)

    def _onFinished(self) -> None:
        if not self._isKilled:  # one that takes long to die may do so when the application is gone
            self._onErrorOutput()
            self._onOutput()
        self._finish(End.EXITED)
        soon(self._release)

    def _finish(self, end: End) -> None:
        if not self._isOver:
            self._isOver = True
            self._unsent.clear()
            soon(lambda: self._ended(self, end))

    def _release(self) -> None:
        """Let go of the process, which holds on to this object as long as its signals are connected."""
        for signal, slot in self._connections:
            self._process.disconnect(signal, slot)
        self._connections = ()


def _isText(said: str) -> bool:
    """Whether Qt can take it: what is not UTF-8 in a variable of the environment is half a character to Python."""
    try:
        said.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
