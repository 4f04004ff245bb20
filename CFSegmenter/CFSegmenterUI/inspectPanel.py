"""The inspect panel: how much every voxel resembles a class, a point or a painted example, shown over the volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from CFSegmenterLib.errors import UserError

from . import compat, maps, segmentations
from .mapList import MapList
from .models import ModelInfo
from .observation import Observation
from .probePoint import ProbePoint
from .ranking import showRanking
from .runText import progressText
from .session import Query, RunOptions, Session
from .views import ViewLayers

LOWEST = -1.0
"""The least cosine: a threshold of it hides nothing."""


class InspectPanel(VTKObservationMixin):
    """An InspectPanel asks the session for maps and shows one at a time over the volume."""

    def __init__(self, parent: qt.QWidget, session: Session, resourcePath: Callable[[str], str]):
        """Args: the widget to fill, what does the work, and where the module's resources are."""
        super().__init__()
        self._session = session
        self._scene = session.scene
        self._node: Any = None
        self._choices = Observation(self._update)
        self._guiTag: Any = None
        self._volume: Any = None
        self._model: ModelInfo | None = None
        self._task: Any = None
        self._query: Query | None = None
        self._probed: tuple[Any, ...] | None = None
        self._hasMoved = False
        self._isUpdating = False
        self._layers = ViewLayers(self._scene, self._onFrame)
        widget = slicer.util.loadUI(resourcePath("UI/InspectPanel.ui"))
        parent.layout().addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(self._scene)
        self._maps = MapList(self.ui.mapList, self._scene, self._onMapSelected)
        self._point = ProbePoint(self._scene, self._onPointMoved, self._onPlacing)
        self._connect()
        self._say("")
        session.addListener(self._onSession)
        self.addObserver(self._scene, self._scene.NodeRemovedEvent, self._onNodeRemoved)
        self.addObserver(self._scene, self._scene.EndCloseEvent, self._onSceneClosed)
        self._update()

    def setParameterNode(self, node: Any) -> None:
        """Show the choices of `node` and write the user's into it; None lets go of it."""
        self._choices.end()
        if self._node is not None:
            self._node.disconnectGui(self._guiTag)
            self._point.setPlacing(False)
            self._point.setNode(None)
        self._node = node
        if node is not None:
            self._guiTag = compat.connectGui(node, self.ui)
        self._choices.of(node, "ModifiedEvent")
        self._update()
        self._takeUpMap()

    def cleanup(self) -> None:
        """Let go of the parameter node, the scene and the session; a question of this panel is cancelled."""
        self.setParameterNode(None)
        self._session.removeListener(self._onSession)
        self._point.cleanup()
        self._layers.cleanup()
        self.removeObservers()
        if self._task is not None:
            self._task.cancel()

    # What the user does

    def _connect(self) -> None:
        ui = self.ui
        ui.classComboBox.connect("currentIndexChanged(int)", self._onClassChosen)
        ui.showMapButton.connect("clicked(bool)", self._onShowMap)
        ui.bestButton.connect("clicked(bool)", self._onBest)
        ui.marginButton.connect("clicked(bool)", self._onMargin)
        ui.opacitySlider.connect("valueChanged(double)", self._onOpacity)
        ui.thresholdSlider.connect("valueChanged(double)", self._onThreshold)
        ui.segmentButton.connect("clicked(bool)", self._onSegment)
        ui.legendCheckBox.connect("toggled(bool)", self._onLegend)
        ui.restoreButton.connect("clicked(bool)", self._restore)
        ui.placeButton.connect("clicked(bool)", self._onPlace)
        ui.resembleButton.connect("clicked(bool)", self._onResemble)
        ui.exampleSelector.connect("currentNodeChanged(vtkMRMLNode*)", self._onExampleChosen)
        ui.exampleSelector.connect("currentSegmentChanged(QString)", self._onExampleChosen)
        ui.exampleButton.connect("clicked(bool)", self._onExample)
        ui.cancelButton.connect("clicked(bool)", self._onCancel)

    def _onClassChosen(self) -> None:
        if self._node is not None and not self._isUpdating:
            self._node.mapStructure = self.ui.classComboBox.currentText

    def _onShowMap(self) -> None:
        self._askForMap(self._session.similarity, self.ui.classComboBox.currentText)

    def _onBest(self) -> None:
        self._askForMap(self._session.best)

    def _onMargin(self) -> None:
        self._askForMap(self._session.margin)

    def _onResemble(self) -> None:
        self._askForMap(self._session.similarity, self._query, title=_("like the probed point"))

    def _onExample(self) -> None:
        def done(query: Query) -> None:
            self._askForMap(self._session.similarity, query, title=_("like {name}").format(name=query.name))

        self._ask(self._session.example, self._node.exampleSegmentation, self._node.exampleSegment, done=done)

    def _onExampleChosen(self) -> None:
        if self._node is not None and not self._isUpdating:
            selector = self.ui.exampleSelector
            self._node.exampleSegmentation = selector.currentNode()
            self._node.exampleSegment = selector.currentSegmentID() if selector.currentNode() else ""

    def _onCancel(self) -> None:
        if self._task is not None:
            self._say(_("Cancelling..."))
            self._task.cancel()

    def _onOpacity(self, value: float) -> None:
        if self._shown is not None:
            self._layers.setOpacity(self._shown, value)

    def _onThreshold(self, value: float) -> None:
        if self._isSimilarityShown():
            maps.showThreshold(self._shown, value if value > LOWEST else None)

    def _onLegend(self) -> None:
        maps.hideLegends(self._scene)
        if self._layers.seen is not None and self.ui.legendCheckBox.checked:
            maps.showLegend(self._layers.seen)

    def _onSegment(self) -> None:
        threshold, title = self.ui.thresholdSlider.value, maps.titleOf(self._shown)
        name = _("{title} from {threshold:.2f}").format(title=title, threshold=threshold)
        chosen = self._node.outputSegmentation
        segmentation = chosen or segmentations.newSegmentation(self._scene, self._volume)
        try:
            self._session.segmentAtThreshold(self._shown, self._volume, segmentation, threshold, name)
        except UserError as error:
            if chosen is None:
                self._scene.RemoveNode(segmentation)
            self._say(str(error))
            return
        self._node.outputSegmentation = segmentation
        self._layers.showOutlines()
        self._say(_('Segment "{name}" is in {node}.').format(name=name, node=segmentation.GetName()))

    def _onMapSelected(self, mapNode: Any) -> None:
        if mapNode is not self._shown:
            self._show(mapNode)

    def _onPlace(self, on: bool) -> None:
        if self._node is None:
            return
        if on and self._node.probePoint is None:
            self._node.probePoint = self._point.newNode()
        self._point.setPlacing(on)
        self._onPlacing(self._point.isPlacing)

    # Questions to the session

    def _ask(
        self,
        verb: Callable[..., Any],
        *arguments: Any,
        done: Callable[..., None],
        failed: Callable[[str], None] | None = None,
        **named: Any,
    ) -> None:
        """Ask about the volume; `done` hears the answer unless the user has gone on to another volume or model."""
        volume, model = self._volume, self._model

        def ending(step: Callable[..., None]) -> Callable[..., None]:
            def end(*answer: Any) -> None:
                self._task = None
                step(*answer)
                self._update()
                self._catchUp()

            return end

        def hear(*answer: Any) -> None:
            self._say("")
            if self._node is not None and self._volume is volume and self._model == model:
                done(*answer)

        self._say(_("Starting..."))
        self.ui.progressBar.setRange(0, 0)
        self._task = verb(
            volume,
            *arguments,
            self._options(),
            done=ending(hear),
            failed=ending(failed or self._say),
            progress=self._onProgress,
            cancelled=ending(lambda: self._say(_("Cancelled; nothing was changed."))),
            **named,
        )
        self._update()

    def _askForMap(self, verb: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        self._ask(verb, *arguments, done=self._show, **named)

    def _catchUp(self) -> None:
        """Ask about the probe point when it was moved, or when asking costs no pass of the network."""
        if self._task is not None or self._reasonNot() or self._session.busy:
            return
        position, options = self._point.position, self._options()
        asked = position and (self._volume.GetID(), options, position)
        if asked == self._probed:
            return
        if asked is None:
            self._forgetPoint()
            self._update()
        elif self._hasMoved or self._session.isEncoded(self._volume, options):
            self._hasMoved = False
            self._probed = asked
            self._ask(self._session.probe, position, done=self._onProbed, failed=self._onNotProbed)

    def _onProbed(self, ranked: Sequence[tuple[str, float]], query: Query) -> None:
        self._query = query
        showRanking(self.ui.rankingTable, ranked)
        self._point.setLabel(f"{ranked[0][0]} {ranked[0][1]:.2f}" if ranked else "")

    def _onNotProbed(self, text: str) -> None:
        self._clearRanking()
        self._say(text)

    def _onProgress(self, done: int, total: int, what: str, secondsLeft: float | None) -> None:
        self.ui.progressBar.setRange(0, total)
        self.ui.progressBar.setValue(done)
        self._say(progressText(what, secondsLeft))

    # What happens meanwhile

    def _onPointMoved(self) -> None:
        self._hasMoved = True
        self._catchUp()

    def _onPlacing(self, on: bool) -> None:
        self.ui.placeButton.checked = on

    def _onSession(self, topic: str) -> None:
        self._update()
        if self._task is None:
            self._catchUp()

    def _onNodeRemoved(self, caller: Any = None, event: Any = None) -> None:
        if not self._scene.IsClosing():
            self._update()

    def _onSceneClosed(self, caller: Any = None, event: Any = None) -> None:
        self._layers.forget()
        self._volume = None
        self._forgetPoint()
        self._update()

    def _onFrame(self) -> None:
        self._onLegend()
        self._enable()

    # What is shown

    def _update(self, caller: Any = None, event: Any = None) -> None:
        """Bring every widget in line with parameter node, scene and session."""
        if self._isUpdating:
            return
        self._isUpdating = True
        try:
            if self._node is not None:
                self._follow(self._node)
                self._giveUpMap()
            self._maps.show(self._volume, self._shown)
            self._enable()
        finally:
            self._isUpdating = False

    def _follow(self, node: Any) -> None:
        volume, model = node.inputVolume, self._session.modelAt(node.model)
        if volume is not self._volume or model != self._model:
            self._forgetPoint()
        self._volume = volume
        classes = self.ui.classComboBox
        if model != self._model:
            self._model = model
            classes.clear()
            classes.addItems(sorted(model.answerable, key=str.casefold) if model else [])
        classes.currentIndex = max(classes.findText(node.mapStructure), 0)
        self._point.setNode(node.probePoint)
        if node.exampleSegment and not self._hasExample():
            node.exampleSegment = ""  # it was deleted; the selector would show another one in its place
        self.ui.exampleSelector.setCurrentNode(node.exampleSegmentation)
        self.ui.exampleSelector.setCurrentSegmentID(node.exampleSegment)

    def _enable(self) -> None:
        ui, reason = self.ui, self._reasonNot()
        isRunning = self._task is not None
        if not reason and self._session.busy and not isRunning:
            reason = _("CFSegmenter is busy with something else; wait for it, or cancel it there.")
        ui.reasonLabel.text, ui.reasonLabel.visible = reason, bool(reason)
        canAsk = not reason and not isRunning
        for widget in (ui.classComboBox, ui.showMapButton, ui.bestButton, ui.marginButton, ui.exampleSelector):
            widget.enabled = canAsk
        ui.placeButton.enabled = self._point.isPlacing or not self._reasonNot()
        ui.resembleButton.enabled = canAsk and self._query is not None
        ui.exampleButton.enabled = canAsk and self._hasExample()
        isShowing, isSimilarity = self._shown is not None, self._isSimilarityShown()
        ui.opacitySlider.enabled = ui.legendCheckBox.enabled = ui.restoreButton.enabled = isShowing
        ui.thresholdSlider.enabled = isSimilarity
        ui.segmentButton.enabled = isSimilarity and not self._layers.whyHidden and not self._reasonNot()
        ui.hiddenLabel.text, ui.hiddenLabel.visible = self._layers.whyHidden, bool(self._layers.whyHidden)
        ui.progressBar.visible = ui.cancelButton.visible = isRunning

    def _reasonNot(self) -> str:
        """Why nothing can be asked, and what to do about it; "" where it can."""
        reason = self._session.reasonWithout(self._node.model if self._node is not None else "")
        if not reason and (self._node is None or self._volume is None):
            reason = _("No volume is chosen; load a scan and choose it under Segment.")
        return reason

    def _hasExample(self) -> bool:
        node = self._node.exampleSegmentation
        return node is not None and node.GetSegmentation().GetSegment(self._node.exampleSegment) is not None

    @property
    def _shown(self) -> Any:
        """The map that is laid over the volume."""
        return self._node.shownMap if self._node is not None else None

    def _takeUpMap(self) -> None:
        """Bring views, threshold and legend in line with the map, which those of a loaded scene are not."""
        if self._shown is not None:
            self._layers.follow(self._volume, self._shown, self.ui.opacitySlider.value)
            self._onThreshold(self.ui.thresholdSlider.value)
            self._onLegend()

    def _giveUpMap(self) -> None:
        """Restore the views where the map or its volume was deleted, or another volume is chosen."""
        if self._shown is None:
            isGone = self._layers.isShowing
        else:
            isGone = self._volume is None or maps.volumeOf(self._shown) is not self._volume
        if isGone:
            self._restore()

    def _isSimilarityShown(self) -> bool:
        return self._shown is not None and maps.kindOf(self._shown) == "similarity"

    def _show(self, mapNode: Any) -> None:
        """Lay a map over the volume in every slice view."""
        self._node.shownMap = mapNode
        self._layers.show(self._volume, mapNode, self.ui.opacitySlider.value)
        self._takeUpMap()
        self._update()

    def _restore(self) -> None:
        """Give the views back as they were before the first map."""
        if self._node is not None:
            self._node.shownMap = None
        self._layers.restore()
        maps.hideLegends(self._scene)
        self._update()

    def _forgetPoint(self) -> None:
        """What is at the point is no longer known: it is another volume or model, or there is no point."""
        self._probed = None
        self._clearRanking()

    def _clearRanking(self) -> None:
        self._query = None
        showRanking(self.ui.rankingTable, ())

    def _say(self, text: str) -> None:
        self.ui.statusLabel.text = text
        self.ui.statusLabel.visible = bool(text)

    def _options(self) -> RunOptions:
        known = any(protocol["name"] == self._node.protocol for protocol in self._model.protocols)
        return RunOptions(self._model.folder, self._node.device, self._node.protocol if known else None)
