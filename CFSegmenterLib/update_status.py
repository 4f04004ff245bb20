"""The status of an update: a small file that tells whoever looks how far it is."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from .errors import UserError
from .files.writing import write_text
from .progress import Progress

SECONDS_BETWEEN = 1.0

TRIES, SECONDS_BETWEEN_TRIES = 5, 0.2
"""Of writing a last word, which nothing else will put right."""

State = Literal["running", "stopped", "done", "failed"]


@dataclass(frozen=True)
class UpdateStatus:
    """How far an update is.

    Attributes:
        state: "stopped" can be gone on with.
        phase: "preparing", "training" or "comparing".
        step, total: of the phase.
        fraction: of the phase, 0..1.
        loss: the average of the last steps; None before the first.
        seconds_left: of the phase; None where it is not known.
        message: for a person.
        version: of the model that was proposed, once it is done.
    """

    state: State = "running"
    phase: str = "preparing"
    step: int = 0
    total: int = 0
    fraction: float = 0.0
    loss: float | None = None
    seconds_left: float | None = None
    message: str = ""
    version: str | None = None


class StatusFile:
    """A StatusFile writes an UpdateStatus about once a second, whole each time.

    No update ends because its status cannot be written: somebody may have the file open, or the disk is full just now.
    """

    def __init__(self, path: Path | None):
        """`path` None writes nothing."""
        self.path = path
        self.status = UpdateStatus()
        self._written = time.monotonic() - SECONDS_BETWEEN

    def say(self, **changes) -> None:
        """Change the status and write it now."""
        if changes.get("phase", self.status.phase) != self.status.phase:
            changes = {"step": 0, "total": 0, "fraction": 0.0, "seconds_left": None, **changes}
        self.status = replace(self.status, **changes)
        if self._write() or self.status.state == "running":
            return
        for _ in range(TRIES - 1):
            time.sleep(SECONDS_BETWEEN_TRIES)
            if self._write():
                return

    def following(self, phase: str, progress: Progress) -> Progress:
        """A progress callback that also keeps the status of a phase up to date."""
        self.say(phase=phase)
        first: tuple[int, float] | None = None  # of a training that goes on, what was done before took other time

        def follow(done: int, total: int, message: str) -> bool:
            nonlocal first
            first = first or (done, time.monotonic())
            did, took = done - first[0], time.monotonic() - first[1]
            left = took / did * (total - done) if did > 0 else None
            self.status = replace(
                self.status,
                step=done,
                total=total,
                fraction=done / max(1, total),
                seconds_left=left,
                loss=_loss_in(message, self.status.loss),
                message=message,
            )
            if time.monotonic() - self._written >= SECONDS_BETWEEN:
                self._write()
            return progress(done, total, message)

        return follow

    def _write(self) -> bool:
        """Write the status; False where that was not possible, and is tried again a second later."""
        self._written = time.monotonic()
        if self.path is None:
            return True
        try:
            write_text(self.path, json.dumps(asdict(self.status)) + "\n")
        except (OSError, UserError):
            return False
        return True


def _loss_in(message: str, before: float | None) -> float | None:
    """The loss that a training's progress speaks of."""
    words = message.replace(",", " ").split()
    try:
        return float(words[words.index("loss") + 1])
    except (ValueError, IndexError):
        return before
