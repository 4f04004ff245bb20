"""The session: what panels and scripts ask for. The worker answers with arrays; here they go into the scene.

Nothing waits: every call returns a Task at once, and what it calls back is called from the event loop.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import slicer
from slicer.i18n import tr as _

from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.structures import Vocabulary

from . import maps, provenance, segmentations, undo, volumes
from .answers import Query, SegmentResult
from .conversation import Conversation, RunOptions
from .maskLayers import MaskLayers
from .models import ModelInfo, modelInfo, storeOf
from .provenance import Provenance
from .task import Task

__all__ = ["Query", "RunOptions", "SegmentResult", "Session"]


class Session:
    """A Session speaks to one worker about the volumes of one scene, one task at a time.

    Topics that listeners hear of: "models", "search" (for them), "busy", "encoded", "worker".

    Attributes:
        models: those that there are, as far as they can be read.
        damaged: folder of a model that cannot be read -> a sentence that says why.
    """

    def __init__(
        self, scene: Any, link: Any, vocabulary: Vocabulary, modelFolders: Callable[[], Sequence[str]] = lambda: ()
    ):
        """Args: the MRML scene, a WorkerLink, and where the user keeps models besides the shipped ones."""
        self.scene = scene
        self.link = link
        self.vocabulary = vocabulary
        self.models: tuple[ModelInfo, ...] = ()
        self.damaged: dict[str, str] = {}
        self._search: Task | None = None
        self._modelFolders = modelFolders
        self._listeners: list[Callable[[str], None]] = []
        self._talk = Conversation(scene, link, self.modelAt, self._tell)

    @property
    def busy(self) -> Task | None:
        """The task at work."""
        return self._talk.busy

    def lastSpeed(self, device: str) -> float | None:
        """What `estimate.estimateRun` takes: measured at the last encoding on a device."""
        return self._talk.speeds.get(device)

    def addListener(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with a topic whenever that has changed."""
        self._listeners.append(callback)

    def removeListener(self, callback: Callable[[str], None]) -> None:
        """Stop calling `callback`."""
        if callback in self._listeners:
            self._listeners.remove(callback)

    # Models

    def refreshModels(
        self,
        failed: Callable[[str], None] | None = None,
        *,
        done: Callable[[tuple[ModelInfo, ...]], None] | None = None,
        cancelled: Callable[[], None] | None = None,
    ) -> Task:
        """Ask the worker which models there are; listeners hear of "models", and `damaged` says what was left out."""
        ends = self._searched(failed), self._searched(cancelled)
        task = self._search = Task(_("Looking for models"), done, ends[0], None, ends[1])
        found: dict[str, ModelInfo] = {}
        damaged: dict[str, str] = {}

        def ask(remaining: Sequence[str | None]) -> None:
            if not remaining:
                self.models, self.damaged = tuple(found.values()), damaged
                self._tell("models")
                task.finish(self.models)
                return
            message = {"folder": remaining[0]} if remaining[0] else {}

            def heard(frame: Any) -> None:
                for each in frame.message["models"]:
                    found.setdefault(each["folder"], modelInfo(each["folder"], each["manifest"], self.vocabulary))
                damaged.update((each["folder"], each["message"]) for each in frame.message.get("damaged", ()))
                ask(remaining[1:])

            refused = task.guarded(lambda text, gone: task.fail(text))
            request = self.link.request(
                "models", message, done=task.guarded(heard), failed=refused, cancelled=task.giveUp
            )
            task.follow(request)

        ask(list(self._modelFolders()) or [None])
        self._tell("search")
        return task

    @property
    def searchText(self) -> str:
        """Why it is not known which models there are: they are looked for, or that failed; "" where it is known."""
        if self._search is not None and self._search.isActive:
            return _("Looking for models; the first time the worker must start.")
        return (self._search.error if self._search is not None else None) or ""

    def _searched(self, tell: Callable[..., None] | None) -> Callable[..., None]:
        """`tell` as an end of a search that found nothing."""

        def end(*said: str) -> None:
            self._tell("search")
            if tell:
                tell(*said)

        return end

    def modelAt(self, folder: str) -> ModelInfo | None:
        """The model in `folder`; the first shipped one for an empty name; None where it is not known (any more)."""
        if not folder:
            return next((m for m in self.models if m.name == "general"), next(iter(self.models), None))
        store = storeOf(folder)
        # Of a store only the version in use is listed: another one that a scene was saved with has made room for it.
        inUse = next((m for m in self.models if store and storeOf(m.folder) == store), None)
        return next((m for m in self.models if m.folder == folder), inUse)

    def reasonWithout(self, folder: str) -> str:
        """Why there is no model in `folder`, and what to do about it; "" where there is one."""
        if self.modelAt(folder) is not None:
            return ""
        if self.searchText:
            return self.searchText
        if not folder or not self.models:
            return _("No model is loaded yet; choose one under Models.")
        return _("The chosen model is not in {folder} any more; choose another one under Models.").format(folder=folder)

    def vocabularyOf(self, folder: str) -> Vocabulary:
        """The vocabulary, with the own structures of the model in `folder`."""
        model = self.modelAt(folder)
        return model.vocabulary if model is not None else self.vocabulary

    # Questions

    def isEncoded(self, volumeNode: Any, options: RunOptions) -> bool:
        """Whether questions about the volume are answered without a pass of the network."""
        return self._talk.isEncoded(volumeNode, options)

    def segment(
        self,
        volumeNode: Any,
        structures: Sequence[str],
        segmentationNode: Any,
        options: RunOptions,
        *,
        frame: int | None = None,
        writer: Callable[..., segmentations.Written] = segmentations.writeSegments,
        done: Callable[[SegmentResult], None] | None = None,
        failed: Callable[[str], None] | None = None,
        progress: Callable[..., None] | None = None,
        cancelled: Callable[[], None] | None = None,
    ) -> Task:
        """Segment `structures` into `segmentationNode`; None makes a new one when the answer is there.

        Of a `frame` of the volume's sequence, whichever is shown, `writer` must know where to put what was found.
        """
        task = Task(_("Segmenting"), done, failed, progress, cancelled)
        started = time.monotonic()
        asked = list(dict.fromkeys(structures))

        def write(reply: Any, encoded: bool) -> None:
            node = segmentationNode
            if node is None:
                node = segmentations.newSegmentation(self.scene, volumeNode)
            self._talk.demand(node, _("segmentation"))
            if frame is None:
                undo.saveForUndo(node)
            masks = MaskLayers(reply.message["places"], reply.arrays)
            made, vocabulary = self._made(options), self.vocabularyOf(options.model)
            written = writer(node, volumeNode, masks, made, vocabulary)
            voxel = float(np.prod(volumes.frameNode(volumeNode, frame).GetSpacing())) / 1000
            milliliters = {name: int(np.count_nonzero(masks[name])) * voxel for name in written.segments}
            missing = tuple(name for name in masks if name not in written.segments and name not in written.kept)
            found = node, written.segments, milliliters, missing, written.kept
            protocol = self._talk.protocolOf(volumeNode, options, frame)
            caveats = tuple(reply.message.get("caveats", ()))
            task.finish(SegmentResult(*found, time.monotonic() - started, encoded, protocol, caveats))

        self._talk.ask(task, volumeNode, options, "segment", {"structures": asked}, None, write, frame)
        return task

    def similarity(
        self,
        volumeNode: Any,
        structure: str | Query,
        options: RunOptions,
        *,
        title: str | None = None,
        done: Callable[[Any], None] | None = None,
        failed: Callable[[str], None] | None = None,
        progress: Callable[..., None] | None = None,
        cancelled: Callable[[], None] | None = None,
    ) -> Task:
        """The cosine of every voxel with a structure or a query, as a map node."""
        task = Task(_("Similarity map"), done, failed, progress, cancelled)
        query = isinstance(structure, Query)
        message = {"name": structure.name} if query else {"structure": structure}
        name = title or (structure.name if query else structure)

        def write(frame: Any, encoded: bool) -> None:
            task.finish(maps.writeMap(volumeNode, frame.arrays["map"], name, "similarity", made=self._made(options)))

        arrays = structure.arrays if query else None
        self._talk.ask(task, volumeNode, options, "similarity", message, arrays, write)
        return task

    def margin(self, volumeNode: Any, options: RunOptions, *, done=None, failed=None, progress=None, cancelled=None):
        """The lead of the best class over the next at every voxel, as a map node: small where the model is unsure."""
        task = Task(_("Margin map"), done, failed, progress, cancelled)

        def write(frame: Any, encoded: bool) -> None:
            task.finish(maps.writeMap(volumeNode, frame.arrays["map"], _("margin"), "margin", made=self._made(options)))

        self._talk.ask(task, volumeNode, options, "margin", {}, None, write)
        return task

    def best(self, volumeNode: Any, options: RunOptions, *, done=None, failed=None, progress=None, cancelled=None):
        """The best class of every voxel, as a map node in the classes' colors."""
        task = Task(_("Best class map"), done, failed, progress, cancelled)

        def write(frame: Any, encoded: bool) -> None:
            array, names = maps.occurring(frame.arrays["map"], frame.message["names"])
            colors = maps.classColors(self.scene, names, self.vocabularyOf(options.model))
            task.finish(maps.writeMap(volumeNode, array, _("best class"), "best", colors, self._made(options)))

        self._talk.ask(task, volumeNode, options, "best", {}, None, write)
        return task

    def probe(
        self,
        volumeNode: Any,
        ras: Sequence[float],
        options: RunOptions,
        *,
        done=None,
        failed=None,
        progress=None,
        cancelled=None,
    ):
        """What is at a point of the world, in mm RAS: `done` hears [(class, similarity)] and the Query of the point."""
        task = Task(_("Probing"), done, failed, progress, cancelled)

        def hear(frame: Any, encoded: bool) -> None:
            ranked = [(name, value) for name, value in frame.message["ranked"]]
            task.finish(ranked, Query(_("probed point"), dict(frame.arrays)))

        message = {"ras": [float(v) for v in volumes.worldToVolume(volumeNode, ras)]} if volumeNode else {}
        self._talk.ask(task, volumeNode, options, "probe", message, None, hear)
        return task

    def example(
        self,
        volumeNode: Any,
        segmentationNode: Any,
        segmentID: str,
        options: RunOptions,
        *,
        done=None,
        failed=None,
        progress=None,
        cancelled=None,
    ):
        """The mean feature under a painted segment: `done` hears its Query."""
        task = Task(_("Learning the example"), done, failed, progress, cancelled)
        segment = segmentationNode.GetSegmentation().GetSegment(segmentID) if segmentationNode and segmentID else None
        if segment is None:
            task.failSoon(_("No painted segment is chosen; paint one in the Segment Editor and choose it here."))
            return task
        name = segment.GetName()

        def hear(frame: Any, encoded: bool) -> None:
            task.finish(Query(name, dict(frame.arrays)))

        try:
            mask = segmentations.maskOf(segmentationNode, segmentID, volumeNode).astype(np.uint8)
        except UserError as error:
            task.failSoon(str(error))
            return task
        self._talk.ask(task, volumeNode, options, "prototype", {"name": name}, {"mask": mask}, hear)
        return task

    def doubt(self, volumeNode: Any, options: RunOptions, *, done=None, failed=None, progress=None, cancelled=None):
        """How sure the model is of a volume: `done` hears the mean margin, 0 to 1, of all but the background."""
        task = Task(_("Looking for doubt"), done, failed, progress, cancelled)

        def hear(frame: Any, encoded: bool) -> None:
            task.finish(float(frame.message["margin"]))

        self._talk.ask(task, volumeNode, options, "doubt", {}, None, hear)
        return task

    def segmentAtThreshold(
        self, mapNode: Any, volumeNode: Any, segmentationNode: Any, threshold: float, name: str
    ) -> str:
        """Write where a map is at least `threshold` as a segment called `name`; returns its ID.

        Whichever model is active by now, the segment names the one that made the map.

        Raises:
            UserError: there is no such voxel, the segmentation cannot take it, or the user has changed that segment.
        """
        values = slicer.util.arrayFromVolume(mapNode).T
        mask = values >= threshold
        if not mask.any():
            said = _("No voxel is as similar as {threshold:.2f}; lower the threshold.")
            raise UserError(said.format(threshold=threshold))
        prompt = {name: maps.titleOf(mapNode)}
        made = dataclasses.replace(provenance.readFrom(mapNode), date=_today())
        undo.saveForUndo(segmentationNode)
        written = segmentations.writeSegments(segmentationNode, volumeNode, {name: mask}, made, self.vocabulary, prompt)
        if name in written.kept:
            said = _("The segment {name} was changed by hand and is kept; delete it first, or give another name.")
            raise UserError(said.format(name=name))
        return written.segments[name]

    def wait(self, task: Task) -> Any:
        """Wait for a task while events are processed, for scripts; panels use callbacks.

        Raises:
            UserError: the task failed.
            Cancelled: it was cancelled.
        """
        while task.isActive:
            slicer.app.processEvents()
            time.sleep(0.005)
        if task.error is not None:
            raise UserError(task.error)
        if task.isCancelled:
            raise Cancelled(task.title)
        return task.result

    def stop(self) -> None:
        """Give up what is under way and end the worker; the next question starts it again."""
        self._talk.stop()

    def forget(self) -> None:
        """Give up what is under way and let the worker forget all volumes, but not end."""
        self._talk.forget()

    def _made(self, options: RunOptions) -> Provenance:
        model = self.modelAt(options.model)
        return Provenance(model.name if model else "", model.version if model else "", _today())

    def _tell(self, topic: str) -> None:
        for callback in list(self._listeners):
            callback(topic)


def _today() -> str:
    return datetime.date.today().isoformat()
