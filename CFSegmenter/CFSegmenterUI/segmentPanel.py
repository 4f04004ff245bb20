"""The segment panel: a volume, structures, Apply; how long it will take, how far it is, and what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from . import compat, segmentations, subjectHierarchy, volumes
from .estimate import estimateRun, machineFor
from .frameRun import FrameRun
from .models import ModelInfo
from .observation import Observation
from .presets import Presets
from .runText import millilitersOf, progressText, resultText, volumesText
from .scanSelector import ScanSelector
from .session import RunOptions, SegmentResult, Session
from .targetTree import TargetTree


class SegmentPanel:
    """A SegmentPanel turns the choices of a parameter node into a run of the session."""

    def __init__(self, parent: qt.QWidget, session: Session, resourcePath: Callable[[str], str]):
        """Args: the widget to fill, what does the work, and where the module's resources are."""
        self._session = session
        self._node: Any = None
        self._guiTag: Any = None
        self._choicesMade = Observation(self._onNodeModified)
        self._scanFilled = Observation(self._onVolumeModified)
        self._task: Any = None
        self._isCancelling = False
        self._shownModel: ModelInfo | None = None
        self._shownVolume: str | None = None
        self._volume: Any = None
        self._shownChoices: tuple[Any, ...] = ()
        widget = slicer.util.loadUI(resourcePath("UI/SegmentPanel.ui"))
        parent.layout().addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(session.scene)
        self.ui.progressBar.visible = False
        self.ui.statusLabel.visible = False
        self._scans = ScanSelector(self.ui.inputVolumeSelector, session.scene)
        self._presets = Presets(qt.QSettings())
        self._tree = TargetTree(self.ui.targetTree, self.ui.targetSearchBox, session.vocabulary, self._onChecked)
        self._connect()
        self._listPresets()
        session.addListener(self._onSession)
        self._update()

    def setParameterNode(self, node: Any) -> None:
        """Show the choices of `node` and write the user's into it; None lets go of it."""
        self._choicesMade.end()
        if self._node is not None:
            self._node.disconnectGui(self._guiTag)
        self._node = node
        self._follow(node.inputVolume if node is not None else None)
        if node is not None:
            self._guiTag = compat.connectGui(node, self.ui)
            self._choicesMade.of(node, "ModifiedEvent")
        self._update()

    def cleanup(self) -> None:
        """Let go of the parameter node and of the session."""
        self.setParameterNode(None)
        self._scans.cleanup()
        self._session.removeListener(self._onSession)

    # What the user does

    def _connect(self) -> None:
        ui = self.ui
        ui.applyButton.connect("clicked(bool)", self._onApplyButton)
        ui.addButton.connect("clicked(bool)", self._onAdd)
        ui.addLineEdit.connect("returnPressed()", self._onAdd)
        ui.allButton.connect("clicked(bool)", self._onAllButton)
        ui.noneButton.connect("clicked(bool)", self._onNoneButton)
        ui.presetComboBox.connect("activated(int)", self._onPresetChosen)
        ui.presetComboBox.connect("editTextChanged(QString)", self._enablePresetButtons)
        ui.savePresetButton.connect("clicked(bool)", self._onSavePreset)
        ui.deletePresetButton.connect("clicked(bool)", self._onDeletePreset)
        ui.protocolComboBox.connect("activated(int)", self._onProtocolChosen)

    def _onApplyButton(self) -> None:
        if self._task is not None:
            self._isCancelling = True
            self._say(_("Cancelling..."))
            self._update()
            self._task.cancel()
            return
        node = self._node
        volume = node.inputVolume

        def done(results: Sequence[SegmentResult]) -> None:
            # Of the node that was shown at the start: by now the user may have left the module.
            found = results[-1].node
            if node.inputVolume is not volume:  # else it would be read as what was found in the one that is chosen now
                said = _("What was found in {volume} is in {segmentation}.")
                self._say(said.format(volume=volume.GetName(), segmentation=found.GetName()))
                return
            if node.outputSegmentation is None:
                node.outputSegmentation = found
            self._say(resultText(results), volumesText(millilitersOf(results)))

        asked = volume, self._tree.checked(), node.outputSegmentation, self._options()
        ends = {
            "failed": self._ending(self._say),
            "cancelled": self._ending(lambda soFar="": self._say(" ".join((_("Cancelled."), soFar)).strip())),
            "progress": self._onProgress,
        }
        self._say(_("Starting..."))
        if self._areAllFramesAsked():
            self._task = FrameRun(self._session, *asked, done=self._ending(done), **ends)
        else:
            self._task = self._session.segment(*asked, done=self._ending(lambda result: done([result])), **ends)
        self.ui.progressBar.setRange(0, 0)
        self._update()

    def _onChecked(self) -> None:
        if self._node is not None:
            self._node.targets = self._tree.checked()
        self._update()

    def _onAdd(self) -> None:
        if not self.ui.addLineEdit.text.strip():
            return
        problem = self._tree.add(self.ui.addLineEdit.text)
        if not problem:
            self.ui.addLineEdit.text = ""
        self._showTargets(problem)

    def _onAllButton(self) -> None:
        self._tree.check(self._tree.structures)

    def _onNoneButton(self) -> None:
        self._tree.check(())

    def _onPresetChosen(self, index: int) -> None:
        targets = self._presets.targets(self.ui.presetComboBox.itemText(index))
        self._tree.check(targets)
        self._showTargets(self._notTaught(targets))

    def _onSavePreset(self) -> None:
        name = self.ui.presetComboBox.currentText.strip()
        self._presets.save(name, self._tree.checked())
        self._listPresets(name)

    def _onDeletePreset(self) -> None:
        self._presets.delete(self.ui.presetComboBox.currentText.strip())
        self._listPresets()

    def _onProtocolChosen(self, index: int) -> None:
        if self._node is not None:
            self._node.protocol = self.ui.protocolComboBox.itemData(index)

    # What happens meanwhile

    def _ending(self, step: Callable[..., None]) -> Callable[..., None]:
        """`step` as an end of the run that is under way."""

        def end(*arguments: Any) -> None:
            self._task, self._isCancelling = None, False
            self._update()  # before there is something new to say, since it takes away what is of another volume
            step(*arguments)
            self._update()

        return end

    def _onProgress(self, done: int, total: int, what: str, secondsLeft: float | None) -> None:
        self.ui.progressBar.setRange(0, total)
        self.ui.progressBar.setValue(done)
        if not self._isCancelling:
            self._say(progressText(what, secondsLeft))

    def _onSession(self, topic: str) -> None:
        self._update()

    def _onNodeModified(self, caller: Any = None, event: Any = None) -> None:
        """The node also has what other panels choose, a slider's every step among it: that changes nothing here."""
        if self._node.inputVolume is not self._volume:
            self._follow(self._node.inputVolume)
            # What was found in one scan must not be replaced by what is found in another.
            self._node.outputSegmentation = segmentations.segmentationOf(self._volume) if self._volume else None
        self._onVolumeModified()

    def _onVolumeModified(self, caller: Any = None, event: Any = None) -> None:
        """Voxels, place and further frames come after the volume; a sequence that plays says so with every frame."""
        if self._choices() != self._shownChoices:
            self._update()

    def _follow(self, volume: Any) -> None:
        self._volume = volume
        self._scanFilled.of(volume, "ModifiedEvent")

    # What is shown

    def _update(self) -> None:
        """Bring every widget in line with parameter node and session."""
        node, model, choices = self._node, self._model(), self._choices()
        if node is not None and self._shownVolume != choices[0] and self._task is None:
            self._say("")  # the result was another volume's
            self._shownVolume = choices[0]
        self._shownChoices = choices
        if model != self._shownModel:
            self._shownModel = model
            self._tree.setStructures(model.answerable if model else (), model.vocabulary if model else None)
            self._listProtocols(model)
        self.ui.modelLabel.text = model.title if model else _("none yet")
        if node is not None:
            self._tree.setChecked(node.targets)
            self.ui.protocolComboBox.currentIndex = max(0, self.ui.protocolComboBox.findData(node.protocol))
        self._showTargets()
        self.ui.show3DButton.setSegmentationNode(node.outputSegmentation if node is not None else None)
        self.ui.allFramesCheckBox.visible = self._frameCount() > 1
        isRunning = self._task is not None
        self.ui.progressBar.visible = isRunning
        reason = "" if isRunning else self._reasonNot()
        self.ui.applyButton.text = _("Cancel") if isRunning else _("Apply")
        self.ui.applyButton.enabled = not reason and not self._isCancelling
        self.ui.applyButton.toolTip = reason or (_("Stop the run.") if isRunning else _("Segment what is checked."))
        self.ui.estimateLabel.visible = not isRunning
        if not isRunning:
            self.ui.estimateLabel.text = reason or self._estimate()

    def _reasonNot(self) -> str:
        """Why Apply cannot be clicked, and what to do about it; "" where it can."""
        reason = self._session.reasonWithout(self._node.model if self._node is not None else "")
        if reason:
            return reason
        if self._node is None or self._node.inputVolume is None:
            return _("No volume is chosen; load a scan and choose it above.")
        if self._node.inputVolume.GetImageData() is None:
            return _("The volume has no voxels; choose another one.")
        if not self._tree.checked():
            return _("No structure is checked; check at least one.")
        if self._session.busy:
            return _("CFSegmenter is busy with something else; wait for it, or cancel it there.")
        return ""

    def _estimate(self) -> str:
        options, volume, model = self._options(), self._node.inputVolume, self._model()
        estimate = estimateRun(
            volume.GetImageData().GetDimensions(),
            volume.GetSpacing(),
            model.protocolFor(options.protocol or "", (subjectHierarchy.modalityOf(volume) or "").lower()),
            model.features,
            len(self._tree.checked()),
            machineFor(self._session.link.machine, options.device),
            self._session.lastSpeed(options.device),
            affine=volumes.ijkToRas(volume),
            isEncoded=self._session.isEncoded(volume, options),
        )
        if self._areAllFramesAsked():
            return _("Each of {count} frames: {estimate}").format(count=self._frameCount(), estimate=estimate.text)
        return estimate.text

    def _showTargets(self, problem: str = "") -> None:
        """How much is checked, what the model cannot do of what was asked for, or why a name was not added."""
        if not problem and self._node is not None:
            problem = self._notTaught(self._node.targets)
        count = _("{checked} of {total} checked.").format(
            checked=len(self._tree.checked()), total=len(self._tree.structures)
        )
        self.ui.targetsLabel.text = f"{count} {problem}".strip() if self._tree.structures else ""
        self._enablePresetButtons()

    def _notTaught(self, targets: Iterable[str]) -> str:
        unknown = [name for name in targets if name not in self._tree.structures]
        return _("This model was not taught: {names}.").format(names=", ".join(unknown)) if unknown else ""

    def _listPresets(self, current: str = "") -> None:
        self.ui.presetComboBox.clear()
        for name in self._presets.names:
            self.ui.presetComboBox.addItem(name)
        self.ui.presetComboBox.currentIndex = self.ui.presetComboBox.findText(current) if current else -1
        self.ui.presetComboBox.setEditText(current)
        self.ui.presetComboBox.lineEdit().placeholderText = _("Remembered sets")
        self._enablePresetButtons()

    def _enablePresetButtons(self) -> None:
        name = self.ui.presetComboBox.currentText.strip()
        self.ui.savePresetButton.enabled = bool(name and self._tree.checked())
        self.ui.deletePresetButton.enabled = name in self._presets.names

    def _listProtocols(self, model: ModelInfo | None) -> None:
        self.ui.protocolComboBox.clear()
        self.ui.protocolComboBox.addItem(_("Automatic"), "")
        for protocol in model.protocols if model else ():
            self.ui.protocolComboBox.addItem(protocol["name"], protocol["name"])

    def _say(self, text: str, toolTip: str = "") -> None:
        self.ui.statusLabel.text = text
        self.ui.statusLabel.toolTip = toolTip
        self.ui.statusLabel.visible = bool(text)

    # What was chosen

    def _model(self) -> ModelInfo | None:
        return self._session.modelAt(self._node.model if self._node is not None else "")

    def _options(self) -> RunOptions:
        model, named = self._model(), self._node.protocol
        known = model is not None and any(protocol["name"] == named for protocol in model.protocols)
        return RunOptions(model.folder if model else "", self._node.device, named if known else None)

    def _choices(self) -> tuple[Any, ...]:
        """All that this panel depends on in parameter node and volume, the volume's ID first."""
        node = self._node
        if node is None:
            return ()
        volume = node.inputVolume
        chosen = (node.outputSegmentation is None, tuple(node.targets), node.allFrames, node.model, node.device)
        image = volume.GetImageData() if volume else None
        read = (image.GetDimensions(), volumes.ijkToRas(volume).tobytes()) if image else ()
        return volume.GetID() if volume else None, *chosen, node.protocol, *read, self._frameCount()

    def _areAllFramesAsked(self) -> bool:
        return self._node.allFrames and self._frameCount() > 1

    def _frameCount(self) -> int:
        volume = self._node.inputVolume if self._node is not None else None
        return volumes.frameCount(volume) if volume is not None else 1
