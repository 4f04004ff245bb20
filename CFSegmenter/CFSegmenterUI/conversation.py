"""The conversation with one worker about the volumes of one scene: an encoding where one is needed, then a question."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from slicer.i18n import tr as _

from CFSegmenterLib.errors import UserError

from . import volumes
from .estimate import measuredSpeed
from .models import ModelInfo
from .task import Task


@dataclass(frozen=True)
class RunOptions:
    """How to read a volume.

    Attributes:
        model: folder of the model.
        device: "auto", "cpu" or "cuda".
        protocol: kind of scan, by the model's name for it; None lets the scan decide.
    """

    model: str
    device: str = "auto"
    protocol: str | None = None


Answer = Callable[[Any, bool], None]
"""Hears the worker's frame, and whether the volume had to pass through the network for it."""


class Conversation:
    """A Conversation asks one thing at a time, and knows which volumes the worker still holds encoded.

    Attributes:
        busy: the task at work.
        speeds: by device, as the last encoding measured it; what `estimate.estimateRun` takes.
    """

    def __init__(self, scene: Any, link: Any, modelAt: Callable[[str], ModelInfo | None], tell: Callable[[str], None]):
        """Args: the scene, a WorkerLink, folder -> model, and who hears "busy", "encoded" and "worker"."""
        self.scene = scene
        self.link = link
        self.busy: Task | None = None
        self.speeds: dict[str, float] = {}
        self._modelAt = modelAt
        self._tell = tell
        self._encoded: dict[str, str] = {}
        self._worker: tuple[str, str] | None = None
        link.addListener(self._workerChanged)

    def isEncoded(self, volumeNode: Any, options: RunOptions, frame: int | None = None) -> bool:
        """Whether questions about the volume, or a frame of it, are answered without a pass of the network."""
        if volumeNode is None or not self.link.isRunning or self._worker != (options.model, options.device):
            return False
        return _keyOf(volumes.volumeKey(volumeNode, frame), options) in self._encoded

    def protocolOf(self, volumeNode: Any, options: RunOptions, frame: int | None = None) -> str:
        """The kind of scan that the volume was read as, by the model's name for it; "" where it is not encoded."""
        return self._encoded.get(_keyOf(volumes.volumeKey(volumeNode, frame), options), "")

    def ask(
        self,
        task: Task,
        volumeNode: Any,
        options: RunOptions,
        verb: str,
        message: dict[str, Any],
        arrays: dict[str, np.ndarray] | None,
        answer: Answer,
        frame: int | None = None,
    ) -> None:
        """Encode the volume where needed, ask, and give the answer to `answer`, which ends the task.

        `frame` asks about a frame of its sequence, whichever is shown; without one it is about what the node shows.
        """
        try:
            if self.busy:
                raise UserError(_("CFSegmenter is still busy; wait for it, or cancel it."))
            if not options.model:
                raise UserError(_("No model is chosen; choose one under Models."))
            data = volumes.readVolume(volumeNode, frame)
        except UserError as error:
            task.failSoon(str(error))
            return
        key = _keyOf(data.key, options)
        self.busy = task
        task.atEnd(self._freed)
        self._tell("busy")
        passed = False

        def send(verb: str, message: dict[str, Any], arrays: Any, done: Callable, failed: Callable) -> None:
            request = self.link.request(
                verb,
                message,
                arrays,
                done=task.guarded(done),
                failed=task.guarded(failed),
                progress=task.tell,
                cancelled=task.giveUp,
            )
            task.follow(request)

        def question() -> None:
            send(verb, {**message, "key": key}, arrays, heard, refused)

        def heard(reply: Any) -> None:
            self.demand(volumeNode, _("volume"))
            if volumes.volumeKey(volumeNode, frame) != data.key:
                raise UserError(_("The volume was changed while it was being worked on; start again."))
            answer(reply, passed)

        def refused(text: str, gone: bool) -> None:
            if not gone or passed:
                raise UserError(text)
            self._encoded.pop(key, None)  # it had to make room for others
            encode()

        def encode() -> None:
            nonlocal passed
            passed = True
            started = time.monotonic()

            def encoded(reply: Any) -> None:
                if self._worker != (options.model, options.device):
                    self._encoded.clear()  # for another model or device the worker lets go of what it held
                    self._worker = (options.model, options.device)
                self._encoded[key] = reply.message["protocol_name"]
                self._measure(data, options, self._encoded[key], time.monotonic() - started)
                self._tell("encoded")
                question()

            said = {"key": key, "model": options.model, "device": options.device, "affine": data.affine.tolist()}
            if data.modality:
                said["modality"] = data.modality
            if options.protocol:
                said["protocol_name"] = options.protocol
            send("encode", said, {"image": data.array}, encoded, lambda text, gone: task.fail(text))

        if self.isEncoded(volumeNode, options, frame):
            question()
        else:
            encode()

    def demand(self, node: Any, what: str) -> None:
        """Make sure that a node is still in the scene.

        Raises:
            UserError: it was removed meanwhile.
        """
        if node is None or self.scene.GetNodeByID(node.GetID() or "") is not node:
            raise UserError(_("The {what} was removed while it was being worked on.").format(what=what))

    def stop(self) -> None:
        """Give up what is under way and end the worker."""
        if self.busy:
            self.busy.giveUp()
        self.link.stop()

    def forget(self) -> None:
        """Give up what is under way and let the worker forget all volumes; it goes on with what else it does."""
        if self.busy:
            self.busy.giveUp()
        self._encoded.clear()
        if self.link.isRunning:
            self.link.request("forget")
        self._tell("encoded")

    def _measure(self, data: volumes.VolumeData, options: RunOptions, protocolName: str, seconds: float) -> None:
        model = self._modelAt(options.model)
        if model is not None:
            spacing = np.linalg.norm(data.affine[:3, :3], axis=0)
            protocol = model.protocolFor(protocolName, None)
            speed = measuredSpeed(data.array.shape, spacing, protocol, seconds, data.affine)
            self.speeds[options.device] = speed

    def _freed(self) -> None:
        self.busy = None
        self._tell("busy")

    def _workerChanged(self, state: str) -> None:
        if state in ("stopped", "crashed"):
            self._encoded.clear()
            self._worker = None
            self._tell("encoded")
        self._tell("worker")


def _keyOf(volumeKey: str, options: RunOptions) -> str:
    """Under which the worker keeps the encoding: of this volume, read in this way."""
    said = "\n".join((volumeKey, options.model, options.device, options.protocol or ""))
    return hashlib.sha256(said.encode()).hexdigest()[:32]
