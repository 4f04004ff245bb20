"""The panel "annotate next": of the volumes that are no case yet, those that the model is least sure of first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from . import maps
from .doubtRun import DoubtRun
from .observation import Observation
from .session import RunOptions
from .tables import fitHeight
from .taughtCase import caseNumberOf
from .teaching import Teaching

VOLUME, MARGIN, BAR = range(3)
"""Columns of the table."""
BAR_STEPS = 100


class AnnotateNextPanel(VTKObservationMixin):
    """An AnnotateNextPanel ranks the volumes of the scene by the mean margin of the model's answers."""

    def __init__(self, parent: qt.QWidget, teaching: Teaching, resourcePath: Callable[[str], str]):
        """Args: the widget to fill, what does the work, and where the module's resources are."""
        super().__init__()
        self._teaching = teaching
        self._session = teaching.session
        self._scene = self._session.scene
        self._node: Any = None
        self._choices = Observation(self._onNodeModified)
        self._model = ""
        self._run: Any = None
        self._asked: tuple[str, str] | None = None
        self._margins: dict[str, float] = {}
        self._problems: list[str] = []
        widget = slicer.util.loadUI(resourcePath("UI/AnnotateNextPanel.ui"))
        parent.layout().addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(self._scene)
        self.ui.nextLabel.text = _(
            "Which of the loaded volumes teaches most? The model looks at each that is no case yet, and those that it "
            "is least sure of come first."
        )
        self.ui.rankButton.connect("clicked(bool)", self._onRank)
        self.ui.nextTable.connect("cellDoubleClicked(int,int)", self._onDoubleClicked)
        self._say("")
        teaching.addListener(self._onTopic)
        self._session.addListener(self._onTopic)
        scene = self._scene
        self._soon = qt.QTimer()
        self._soon.setSingleShot(True)
        self._soon.connect("timeout()", self._update)
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent, scene.EndBatchProcessEvent):
            self.addObserver(scene, event, self._onScene)
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneClosed)
        self._update()

    def setParameterNode(self, node: Any) -> None:
        """Take model and device from `node`; None lets go of it."""
        self._node = node
        self._choices.of(node, "ModifiedEvent")
        self._update()

    def cleanup(self) -> None:
        """Let go of the scene and of the session; a run is cancelled."""
        self._node = None
        self._choices.end()
        self._soon.stop()
        if self._run is not None:
            self._run.cancel()
        self._teaching.removeListener(self._onTopic)
        self._session.removeListener(self._onTopic)
        self.removeObservers()

    # What the user does

    def _onRank(self) -> None:
        if self._run is not None:
            self._say(_("Cancelling..."))
            self._run.cancel()
            return
        model = self._session.modelAt(self._node.model)
        asked = (model.folder, self._node.device)
        if asked != self._asked:
            self._asked, self._margins = asked, {}
        waiting = [volume for volume in self._candidates() if volume.GetID() not in self._margins]
        self._problems = []
        self._say(_("Starting..."))
        self.ui.progressBar.setRange(0, 0)
        self._run = DoubtRun(
            self._session,
            waiting or self._candidates(),
            RunOptions(*asked),
            heard=self._onHeard,
            failed=self._onFailed,
            progress=self._onProgress,
            done=lambda: self._onEnd(""),
            cancelled=lambda: self._onEnd(_("Cancelled.")),
        )
        self._update()

    def _onDoubleClicked(self, row: int, column: int) -> None:
        volume = self._scene.GetNodeByID(self.ui.nextTable.item(row, VOLUME).data(qt.Qt.UserRole))
        if volume is not None:
            hasViews = slicer.app.layoutManager() is not None
            slicer.util.setSliceViewerLayers(background=volume, fit=hasViews)
            if self._node is not None:
                self._node.inputVolume = volume

    # What happens meanwhile

    def _onHeard(self, volume: Any, margin: float) -> None:
        self._margins[volume.GetID()] = margin
        self._update()

    def _onFailed(self, volume: Any, text: str) -> None:
        self._problems.append(_("{volume}: {problem}").format(volume=volume.GetName(), problem=text))

    def _onProgress(self, done: int, total: int, name: str, secondsLeft: float | None) -> None:
        self.ui.progressBar.setRange(0, total)
        self.ui.progressBar.setValue(done)
        self._say(_("Looking at {volume}").format(volume=name))

    def _onEnd(self, text: str) -> None:
        self._run = None
        self._say("\n".join([*([text] if text else []), *self._problems]))
        self._update()

    def _onTopic(self, topic: str) -> None:
        if topic in ("models", "busy", "cases", "versions"):
            self._update()

    def _onNodeModified(self, caller: Any = None, event: Any = None) -> None:
        """The node also has what other panels choose, a slider's every step among it: that changes nothing here."""
        if self._node.model != self._model:
            self._update()

    def _onScene(self, caller: Any = None, event: Any = None) -> None:
        if not self._scene.IsClosing() and not self._scene.IsBatchProcessing():
            self._margins = {known: m for known, m in self._margins.items() if self._scene.GetNodeByID(known)}
            self._soon.start()  # a volume that is added may get its voxels only then

    def _onSceneClosed(self, caller: Any = None, event: Any = None) -> None:
        self._margins = {}  # the next scene's volumes have the same IDs
        self._update()

    # What is shown

    def _update(self) -> None:
        """Bring every widget in line with scene, cases and session."""
        self._model = self._node.model if self._node is not None else ""
        ui, reason, isRunning = self.ui, self._reasonNot(), self._run is not None
        self._list()
        ui.rankButton.text = _("Cancel") if isRunning else _("Rank volumes")
        ui.rankButton.enabled = isRunning or not reason
        ui.rankButton.toolTip = reason or _("Let the model look at every volume that is no case yet.")
        ui.progressBar.visible = isRunning

    def _reasonNot(self) -> str:
        """Why no volume can be ranked, and what to do about it; "" where some can."""
        if self._node is None:
            return _("No model is loaded yet; choose one under Models.")
        if reason := self._session.reasonWithout(self._node.model):
            return reason
        if not self._candidates():
            return _("No loaded volume is left to annotate; load some.")
        if self._session.busy and self._run is None:
            return _("CFSegmenter is busy with something else; wait for it, or cancel it there.")
        return ""

    def _candidates(self) -> list[Any]:
        """The scans of the scene that are no case of the folder."""
        numbers = {case.number for case in self._teaching.cases}
        return [
            node
            for node in maps.scansIn(self._scene)
            if node.GetImageData() is not None and caseNumberOf(node, self._teaching.caseFolder) not in numbers
        ]

    def _list(self) -> None:
        """The volumes that were looked at, the least sure first."""
        table = self.ui.nextTable
        ranked = [(self._margins[v.GetID()], v) for v in self._candidates() if v.GetID() in self._margins]
        ranked.sort(key=lambda each: each[0])
        table.setRowCount(len(ranked))
        fitHeight(table, 1, 8)
        for row, (margin, volume) in enumerate(ranked):
            name = qt.QTableWidgetItem(volume.GetName())
            name.setData(qt.Qt.UserRole, volume.GetID())
            table.setItem(row, VOLUME, name)
            number = qt.QTableWidgetItem(f"{margin:.2f}")
            number.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            table.setItem(row, MARGIN, number)
            if table.cellWidget(row, BAR) is None:
                bar = qt.QProgressBar(table)
                bar.setRange(0, BAR_STEPS)
                bar.textVisible = False
                table.setCellWidget(row, BAR, bar)
            table.cellWidget(row, BAR).setValue(max(0, min(BAR_STEPS, round(BAR_STEPS * margin))))
        header = table.horizontalHeader()
        header.setSectionResizeMode(VOLUME, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(MARGIN, qt.QHeaderView.ResizeToContents)
        table.visible = bool(ranked)

    def _say(self, text: str) -> None:
        self.ui.statusLabel.text = text
        self.ui.statusLabel.visible = bool(text)
