"""The worker's other end for a Python without Qt: starts the process, sends requests, waits for answers.

Slicer speaks the same frames through a QProcess; this client is for scripts and for the tests.
"""

from __future__ import annotations

import contextlib
import itertools
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import Cancelled, UserError
from ..progress import Progress, silent
from .framing import Frame, FrameDecoder, FramingError, encode_frame

COMMAND = (sys.executable, "-m", "CFSegmenterLib", "worker")
CHUNK = 1 << 20


class WorkerClient:
    """A WorkerClient asks one worker one question at a time.

    with WorkerClient() as worker:
        worker.ask("encode", {"key": "ct", "model": folder, "affine": affine}, {"image": array})
        found = worker.ask("similarity", {"key": "ct", "structure": "liver"}).arrays["map"]
    """

    def __init__(self, command: Sequence[str] = COMMAND):
        """`command` starts the worker; ("ssh", "gpu-box", "cfsegmenter", "worker") starts it elsewhere."""
        self._process = subprocess.Popen(list(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._decoder = FrameDecoder()
        self._arrived: list[Frame] = []
        self._numbers = itertools.count(1)

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        return self._process.pid

    def ask(
        self,
        verb: str,
        message: Mapping[str, Any] | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
        progress: Progress = silent,
    ) -> Frame:
        """Send a request and wait for its answer.

        Raises:
            UserError: the worker says that it cannot answer, or is gone.
            Cancelled: as `progress` asked.
        """
        number = next(self._numbers)
        self._send({**(message or {}), "id": number, "verb": verb}, arrays)
        cancelled = False
        while True:
            frame = self._receive()
            event = frame.message.get("event")
            if frame.message.get("id") != number:
                continue
            if event == "progress":
                said = frame.message
                if not progress(said["done"], said["total"], said["what"]) and not cancelled:
                    self._send({"id": next(self._numbers), "verb": "cancel", "target": number})
                    cancelled = True
            elif event == "answer":
                return frame
            elif event == "cancelled":
                raise Cancelled(verb)
            else:
                raise UserError(str(frame.message.get("message")))

    def close(self, seconds: float = 5.0) -> int:
        """Let go of the worker, which ends it; returns its exit status."""
        if self._process.stdin and not self._process.stdin.closed:
            with contextlib.suppress(OSError):  # it has ended by itself, before it took all that was sent
                self._process.stdin.close()
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            if self._process.stdout:
                self._process.stdout.close()

    def _send(self, message: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> None:
        try:
            for piece in encode_frame(message, arrays):
                self._process.stdin.write(piece)
            self._process.stdin.flush()
        except (BrokenPipeError, ValueError, OSError) as error:
            raise UserError(_GONE) from error

    def _receive(self) -> Frame:
        while not self._arrived:
            data = self._process.stdout.read1(CHUNK)
            if not data:
                raise UserError(_GONE)
            try:
                self._arrived.extend(self._decoder.feed(data))
            except FramingError as error:
                raise UserError(f"What the worker's command says is no answer of CFSegmenter. {error}") from error
        return self._arrived.pop(0)


_GONE = "The worker has ended before it answered; start it again."
