"""A run over all frames of a sequence, and the sequence of segmentations that comes of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from . import foundIn, segmentations, undo, volumes
from .session import RunOptions, SegmentResult, Session
from .task import Task


def waitForFrames(
    session: Session, volumeNode: Any, structures: Sequence[str], segmentationNode: Any, options: RunOptions
) -> list[SegmentResult]:
    """Segment every frame and wait for it while events are processed; for scripts.

    Raises:
        UserError: a frame could not be segmented.
        Cancelled: somebody cancelled.
    """
    task = Task(_("Segmenting all frames"), None, None)
    ends = {"done": task.finish, "failed": task.fail, "progress": task.tell, "cancelled": lambda soFar: task.giveUp()}
    FrameRun(session, volumeNode, structures, segmentationNode, options, **ends)
    return session.wait(task)


class FrameRun:
    """A FrameRun segments one frame after the other, into a sequence that the segmentation follows with the volume.

    The user may look at any frame meanwhile. It is cancelled like a Task; what was found before that, or before a
    failure, is kept.
    """

    def __init__(
        self,
        session: Session,
        volumeNode: Any,
        structures: Sequence[str],
        segmentationNode: Any,
        options: RunOptions,
        *,
        done: Callable[[list[SegmentResult]], None],
        failed: Callable[[str], None],
        progress: Callable[[int, int, str, float | None], None],
        cancelled: Callable[[str], None],
    ):
        """
        Args:
            As `Session.segment`, but `done` hears of every frame's result, `progress` of the whole run's, and
            `cancelled` of how many frames are done, "" where none is.
        """
        self._session, self._volume, self._options = session, volumeNode, options
        self._structures, self._segmentation = list(structures), segmentationNode
        self._done, self._failed, self._progress, self._cancelled = done, failed, progress, cancelled
        self._browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(volumeNode)
        self._count = volumes.frameCount(volumeNode)
        self._newSequence: Any = None
        self._results: list[SegmentResult] = []
        self._task: Any = None
        self._next()

    def cancel(self) -> None:
        """Give up the frame at work and those after it."""
        self._task.cancel()

    def _next(self) -> None:
        """Segment the next frame; without one, the run is over."""
        if len(self._results) == self._count:
            self._done(self._results)
            return
        self._task = self._session.segment(
            self._volume,
            self._structures,
            self._segmentation,
            self._options,
            frame=len(self._results),
            writer=self._write,
            done=self._onDone,
            failed=self._onFailed,
            progress=self._onProgress,
            cancelled=self._onCancelled,
        )

    def _onDone(self, result: SegmentResult) -> None:
        self._results.append(result)
        self._segmentation = result.node
        self._next()

    def _onFailed(self, text: str) -> None:
        self._tidy()
        self._failed(f"{text} {self._soFar}".strip())

    def _onCancelled(self) -> None:
        self._tidy()
        self._cancelled(self._soFar)

    @property
    def _soFar(self) -> str:
        """How many frames are done, as a sentence; "" where none is."""
        if not self._isKept:
            return ""
        return _("{done} of {count} frames are done.").format(done=len(self._results), count=self._count)

    def _onProgress(self, done: int, total: int, what: str, secondsLeft: float | None) -> None:
        number = len(self._results)
        if secondsLeft is not None and number:
            perFrame = sum(result.seconds for result in self._results) / number
            secondsLeft += perFrame * (self._count - number - 1)
        elif self._count > 1:
            secondsLeft = None  # of the frames to come nothing is known before the first is done
        self._progress(number * total + done, self._count * total, what, secondsLeft)

    # Into the sequence

    def _write(self, segmentationNode: Any, volumeNode: Any, *what: Any) -> segmentations.Written:
        """Takes the place of `segmentations.writeSegments` for the frame at work, whichever is shown."""
        frame = len(self._results)
        value = self._browser.GetMasterSequenceNode().GetNthIndexValue(frame)
        sequence = self._browser.GetSequenceNode(segmentationNode) or self._follow(segmentationNode)
        if frame == self._browser.GetSelectedItemNumber():
            undo.saveForUndo(segmentationNode)
        with _unseen(segmentationNode, sequence.GetDataNodeAtValue(value, False)) as node:
            written = segmentations.writeSegments(node, volumeNode, *what, frame=frame)
            sequence.SetDataNodeAtValue(node, value)
            foundIn.copyReferences(node, segmentationNode)
            segmentationNode.SetAndObserveTransformNodeID(node.GetTransformNodeID())  # it may have been moved
        return written

    def _follow(self, segmentationNode: Any) -> Any:
        """A sequence that the segmentation is the shown frame of; the others have what the user has put into it."""
        master, scene = self._browser.GetMasterSequenceNode(), self._session.scene
        name = _("{volume} segmentation").format(volume=self._volume.GetName())
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", scene.GenerateUniqueName(name))
        sequence.SetIndexName(master.GetIndexName())
        sequence.SetIndexUnit(master.GetIndexUnit())
        with _unseen(segmentationNode, segmentationNode) as users:
            for segmentID in segmentations.ownSegments(users, self._volume).values():
                users.GetSegmentation().RemoveSegment(segmentID)
            for frame in range(self._count):
                isShown = frame == self._browser.GetSelectedItemNumber()
                sequence.SetDataNodeAtValue(segmentationNode if isShown else users, master.GetNthIndexValue(frame))
        with slicer.util.NodeModify(self._browser):  # else it would make a node to show the sequence with
            self._browser.AddSynchronizedSequenceNode(sequence)
            self._browser.AddProxyNode(segmentationNode, sequence, False)
            self._browser.SetSaveChanges(sequence, True)  # what the user corrects stays with its frame
        self._newSequence = sequence
        return sequence

    @property
    def _isKept(self) -> bool:
        """Whether something was found that is still there."""
        return bool(self._results) and self._segmentation.GetScene() is not None

    def _tidy(self) -> None:
        """Nothing follows a run that found nothing, and what the user has deleted meanwhile stays deleted."""
        sequence = self._newSequence
        isThere = sequence is not None and sequence.GetScene() is not None  # the scene may have been closed meanwhile
        if not isThere or self._isKept:
            return
        again = self._browser.GetProxyNode(sequence) if self._results else None  # Slicer shows a sequence anew
        for node in (sequence, again):
            if node is not None:
                self._session.scene.RemoveNode(node)


@contextlib.contextmanager
def _unseen(segmentationNode: Any, content: Any) -> Iterator[Any]:
    """A node with the content of another one at the place of a segmentation, to be written into unseen."""
    scene, role = segmentationNode.GetScene(), segmentationNode.GetReferenceImageGeometryReferenceRole()
    display = scene.AddNewNodeByClass("vtkMRMLSegmentationDisplayNode")
    display.SetVisibility(False)
    node = scene.CreateNodeByClass("vtkMRMLSegmentationNode")
    node.UnRegister(None)
    node.SetName(segmentationNode.GetName())
    node.SetHideFromEditors(True)
    node.CopyContent(content)
    node = scene.AddNode(node)
    try:
        node.SetAndObserveDisplayNodeID(display.GetID())
        node.SetAndObserveTransformNodeID(segmentationNode.GetTransformNodeID())
        node.SetNodeReferenceID(role, segmentationNode.GetNodeReferenceID(role))
        foundIn.copyReferences(segmentationNode, node)
        yield node
    finally:
        scene.RemoveNode(node)
        scene.RemoveNode(display)
