"""The status of an update: a small file that tells whoever looks how far it is."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from .files.writing import write_text
from .progress import Progress

SECONDS_BETWEEN = 1.0

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
    """A StatusFile writes an UpdateStatus about once a second, whole each time."""

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
        self._write()

    def following(self, phase: str, progress: Progress) -> Progress:
        """A progress callback that also keeps the status of a phase up to date."""
        self.say(phase=phase)
        began = time.monotonic()

        def follow(done: int, total: int, message: str) -> bool:
            left = (time.monotonic() - began) / done * (total - done) if done else None
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

    def _write(self) -> None:
        self._written = time.monotonic()
        if self.path is not None:
            write_text(self.path, json.dumps(asdict(self.status)) + "\n")


def _loss_in(message: str, before: float | None) -> float | None:
    """The loss that a training's progress speaks of."""
    words = message.replace(",", " ").split()
    try:
        return float(words[words.index("loss") + 1])
    except (ValueError, IndexError):
        return before
