"""A run over all frames of a sequence, and the sequence of segmentations that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import slicer
from slicer.i18n import tr as _

from . import volumes
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
    ends = {"done": task.finish, "failed": task.fail, "progress": task.tell, "cancelled": task.giveUp}
    FrameRun(session, volumeNode, structures, segmentationNode, options, **ends)
    return session.wait(task)


class FrameRun:
    """A FrameRun segments one frame after the other, and keeps what it finds in step with the volume.

    It is cancelled like a Task. What was found before a failure or a cancel is kept.
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
        cancelled: Callable[[], None],
    ):
        """Args: as `Session.segment`; `done` hears of every frame's result, `progress` of the whole run's."""
        self._session, self._volume, self._options = session, volumeNode, options
        self._structures, self._segmentation = list(structures), segmentationNode
        self._done, self._failed, self._progress, self._cancelled = done, failed, progress, cancelled
        self._browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(volumeNode)
        self._count = volumes.frameCount(volumeNode)
        self._frames = volumes.frames(volumeNode)
        self._sequence: Any = None
        self._results: list[SegmentResult] = []
        self._task: Any = None
        self._next()

    def cancel(self) -> None:
        """Give up the frame at work and those after it."""
        self._task.cancel()

    def _next(self) -> None:
        """Select the next frame and segment it; without one, the run is over."""
        if next(self._frames, None) is None:
            self._end(self._done, self._results)
            return
        self._task = self._session.segment(
            self._volume,
            self._structures,
            self._segmentation,
            self._options,
            done=self._onDone,
            failed=lambda text: self._end(self._failed, text),
            progress=self._onProgress,
            cancelled=lambda: self._end(self._cancelled),
        )

    def _onDone(self, result: SegmentResult) -> None:
        self._results.append(result)
        self._segmentation = result.node
        self._keep(result.node)
        self._next()

    def _onProgress(self, done: int, total: int, what: str, secondsLeft: float | None) -> None:
        number = len(self._results)
        if secondsLeft is not None and number:
            perFrame = sum(result.seconds for result in self._results) / number
            secondsLeft += perFrame * (self._count - number - 1)
        elif self._count > 1:
            secondsLeft = None  # of the frames to come nothing is known before the first is done
        self._progress(number * total + done, self._count * total, what, secondsLeft)

    def _keep(self, segmentationNode: Any) -> None:
        """Put a copy of the segmentation into its sequence, under the index of the frame that is selected."""
        master = self._browser.GetMasterSequenceNode()
        if self._sequence is None:
            self._sequence = self._browser.GetSequenceNode(segmentationNode) or self._newSequence(master)
        value = master.GetNthIndexValue(self._browser.GetSelectedItemNumber())
        self._sequence.SetDataNodeAtValue(segmentationNode, value)

    def _newSequence(self, master: Any) -> Any:
        scene = self._session.scene
        name = _("{volume} segmentation").format(volume=self._volume.GetName())
        sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", scene.GenerateUniqueName(name))
        sequence.SetIndexName(master.GetIndexName())
        sequence.SetIndexUnit(master.GetIndexUnit())
        return sequence

    def _end(self, tell: Callable[..., None], *said: Any) -> None:
        isThere = self._browser.GetScene() is not None  # the scene may have been closed meanwhile
        if isThere and self._sequence is not None:
            self._follow()
        self._frames.close()  # selects the frame that was shown before, and with it its segmentation
        tell(*said)

    def _follow(self) -> None:
        """Let the segmentation follow the frame that is selected; what the user has deleted meanwhile stays deleted."""
        if self._segmentation.GetScene() is None:
            if not self._browser.IsSynchronizedSequenceNode(self._sequence):
                self._session.scene.RemoveNode(self._sequence)
        elif self._browser.GetSequenceNode(self._segmentation) is None:
            self._browser.AddSynchronizedSequenceNode(self._sequence)
            self._browser.AddProxyNode(self._segmentation, self._sequence, False)
