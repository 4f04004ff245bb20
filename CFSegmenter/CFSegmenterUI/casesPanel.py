"""The cases panel: the annotated cases of a folder, and how the volume at hand becomes one of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CFSegmenterLib.errors import UserError

from . import compat, volumes
from .caseTable import countText, selectedCase, showCases, useText
from .observation import Observation
from .scanSelector import ScanSelector
from .structureMapping import StructureMapping
from .taughtCase import caseNumberOf, caseOf, markAsCase
from .teaching import KnownCase, Teaching
from .termDialog import chooseTerm
from .updateMemory import UpdateMemory

MODALITIES = ("ct", "mr-t1", "mr-t2")
"""Offered besides those that the model knows."""

SEGMENT_EVENTS = tuple(
    getattr(slicer.vtkSegmentation, name)
    for name in (
        *("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified"),
        "SourceRepresentationModified",
    )
)


class CasesPanel:
    """A CasesPanel shows the cases of a folder, adds the volume at hand and withdraws what does not belong there.

    Attributes:
        isAdding: a case is on its way to the folder.
    """

    def __init__(
        self,
        parent: qt.QWidget,
        teaching: Teaching,
        memory: UpdateMemory,
        resourcePath: Callable[[str], str],
        chooseFolder: Callable[[str], str],
        confirm: Callable[[str], bool],
        pickTerm: Callable[[str], str] | None = None,
    ):
        """
        Args:
            parent, teaching, memory, resourcePath: the widget to fill, what does the work, what is remembered from
                one scene to the next, where the module's resources are.
            chooseFolder: asks for a folder under a title, "" when the user thinks better of it.
            confirm: asks whether to go on.
            pickTerm: as `termDialog.chooseTerm`; None takes that.
        """
        self._teaching, self._memory = teaching, memory
        self._session = teaching.session
        self._chooseFolder, self._confirm = chooseFolder, confirm
        self._node: Any = None
        self._guiTag: Any = None
        self._segmentation: Any = None
        self._volume: Any = None
        self._told = ""
        self._model = ""
        self._choices = Observation(self._onNodeModified)
        self._segments = Observation(self._update)
        self._scene = Observation(self._onSceneClosed)
        self.isAdding = False
        self._lastModality = ""
        widget = slicer.util.loadUI(resourcePath("UI/CasesPanel.ui"))
        parent.layout().addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(self._session.scene)
        self._scans = ScanSelector(self.ui.inputVolumeSelector, self._session.scene)
        self._pickTerm = pickTerm or (lambda entry: chooseTerm(entry, widget))
        for split, text in (("", _("Automatic")), ("training", _("Training")), ("validation", _("Validation"))):
            self.ui.splitComboBox.addItem(text, split)
        self._mapping = StructureMapping(self.ui.mappingTable, self._session.vocabulary, self._update)
        self._connect()
        self._say("")
        teaching.addListener(self._onTopic)
        self._session.addListener(self._onTopic)
        self._scene.of(self._session.scene, self._session.scene.EndCloseEvent)
        self._update()

    def setParameterNode(self, node: Any) -> None:
        """Show the choices of `node` and write the user's into it; None lets go of it.

        What was said of segments and scan stays until the scene is closed: the user goes to the Segment Editor and
        comes back.
        """
        self._choices.end()
        if self._node is not None:
            self._node.disconnectGui(self._guiTag)
        self._node = node
        if node is None:
            self._segments.end()
            self._enable()
            return
        if not node.caseFolder:
            node.caseFolder = self._memory.folders.get("caseFolder", "")
        self._guiTag = compat.connectGui(node, self.ui)
        self._choices.of(node, "ModifiedEvent")
        self._openFolder()
        self._update()

    def cleanup(self) -> None:
        """Let go of the parameter node, the scene and the session."""
        self.setParameterNode(None)
        self._scene.end()
        self._scans.cleanup()
        self._teaching.removeListener(self._onTopic)
        self._session.removeListener(self._onTopic)

    # What the user does

    def _connect(self) -> None:
        ui = self.ui
        ui.caseFolderLineEdit.connect("editingFinished()", self._openFolder)
        ui.caseFolderButton.connect("clicked(bool)", self._onFolderButton)
        ui.caseTable.connect("itemSelectionChanged()", self._enable)
        ui.withdrawButton.connect("clicked(bool)", self._onWithdraw)
        ui.mappingTable.connect("itemSelectionChanged()", self._enable)
        ui.termButton.connect("clicked(bool)", self._onTerm)
        ui.modalityComboBox.connect("editTextChanged(QString)", self._onModalityEdited)
        ui.addCaseButton.connect("clicked(bool)", self._onAdd)

    def _onFolderButton(self) -> None:
        folder = self._chooseFolder(_("Folder for the cases"))
        if folder and self._node is not None:
            self._node.caseFolder = folder
            self._openFolder()

    def _openFolder(self) -> None:
        """Read the folder that the parameter node names, unless it is the one that is shown."""
        if self._node is None or not self._session.models:
            return  # without a model there is no worker to ask yet
        folder = self._node.caseFolder.strip()
        if folder != self._teaching.caseFolder:
            self._say("")
            self._memory.keepFolder("caseFolder", folder)
            self._teaching.openCases(folder, self._say)

    def _onWithdraw(self) -> None:
        number = selectedCase(self.ui.caseTable)
        said = _("Take case {number} out of the folder? Its files are kept beside, and its number is not given again.")
        if number is not None and self._confirm(said.format(number=number)):
            self._say("")
            self._teaching.withdraw(number, self._say)

    def _onTerm(self) -> None:
        segmentID = self._mapping.selectedSegment
        entry = self._pickTerm(self._mapping.termOf(segmentID))
        if entry:
            self._mapping.setTerm(segmentID, entry)

    def _onModalityEdited(self) -> None:
        self._enable()

    def _onAdd(self) -> None:
        volume, folder = self._volume, self._teaching.caseFolder
        try:
            case = caseOf(volume, self._segmentation, self._mapping.mapped(), self._session.vocabulary)
        except UserError as error:
            self._say(str(error))
            return
        ui, modality = self.ui, self._modality()
        earlier = self._earlierCase()
        split = earlier.split if earlier else ui.splitComboBox.itemData(ui.splitComboBox.currentIndex) or None
        subject = ui.subjectLineEdit.text.strip() or None

        def added(number: int, split: str, passedOver: Sequence[str]) -> None:
            self.isAdding = False
            if self._session.scene.GetNodeByID(volume.GetID() or "") is volume:
                markAsCase(volume, number, folder)
            said = _("Added as case {number}, for {use}. The scene may be closed.")
            self._say(" ".join([said.format(number=number, use=useText(split)), *passedOver]))
            self._update()

        def failed(text: str) -> None:
            self.isAdding = False
            self._say(text)
            self._update()

        self.isAdding, self._lastModality = True, modality
        self._say(_("Adding..."))
        self._teaching.addCase(case, modality, split, subject, added, failed)
        self._update()

    # What happens meanwhile

    def _onTopic(self, topic: str) -> None:
        if topic == "models":
            self._openFolder()
        if topic in ("models", "cases", "versions"):
            self._update()

    def _onNodeModified(self, caller: Any = None, event: Any = None) -> None:
        """The node also has what other panels choose, a slider's every step among it: that changes nothing here."""
        node = self._node
        hasOthers = node.inputVolume is not self._volume or node.caseSegmentation is not self._segmentation
        if hasOthers or node.model != self._model:
            self._update()

    def _onSceneClosed(self, caller: Any = None, event: Any = None) -> None:
        self._segmentation, self._volume, self._told = None, None, ""
        self._listModalities()
        self._update()

    # What is shown

    def _update(self, caller: Any = None, event: Any = None) -> None:
        """Bring every widget in line with parameter node, scene and worker."""
        self._follow()
        model = self._teaching.modelFrom(self._model)
        known = model.structures if model else None
        showCases(self.ui.caseTable, self._teaching.cases, known)
        self.ui.casesLabel.text = countText(self._teaching.cases) if self._teaching.caseFolder else ""
        self._mapping.show(self._segmentation, known, model.vocabulary if model else self._session.vocabulary)
        new, earlier = self._mapping.newStructures(), self._earlierCase()
        said = [_("New to the model: {names}.").format(names=", ".join(new))] if new else []
        if earlier is not None:
            twice = _("This volume is case {number} already; adding it makes a second case of it, for {use} as well.")
            said.append(twice.format(number=earlier.number, use=useText(earlier.split)))
        self.ui.mappingLabel.text = " ".join(said)
        self.ui.splitComboBox.enabled = earlier is None
        self._enable()

    def _follow(self) -> None:
        node = self._node
        if node is None:
            return
        self._model = node.model
        self._segmentation = node.caseSegmentation
        painted = self._segmentation.GetSegmentation() if self._segmentation is not None else None
        if painted is not self._segments.subject:
            self._segments.of(painted, *SEGMENT_EVENTS)
        volume = node.inputVolume
        # Slicer adds a volume first, and says what it is afterwards.
        told = (volumes.modalityOf(volume) or "") if volume is not None else ""
        if volume is not self._volume or told != self._told or self.ui.modalityComboBox.count == 0:
            self._volume, self._told = volume, told
            self._listModalities()

    def _enable(self) -> None:
        ui, reason = self.ui, self._reasonNot()
        ui.reasonLabel.text, ui.reasonLabel.visible = reason, bool(reason)
        ui.addCaseButton.enabled = not reason and not self.isAdding
        ui.addCaseButton.toolTip = reason or _(
            "Copy volume and painted structures into the folder. Nothing is learned yet, and the scene may be closed."
        )
        ui.withdrawButton.enabled = selectedCase(ui.caseTable) is not None
        ui.termButton.enabled = bool(self._mapping.selectedSegment)

    def _reasonNot(self) -> str:
        """Why no case can be added, and what to do about it; "" where one can."""
        if reason := self._session.reasonWithout(self._node.model if self._node is not None else ""):
            return reason
        if not self._teaching.caseFolder:
            return _("No folder is chosen; choose one for the cases above.")
        if self._node is None or self._volume is None:
            return _("No volume is chosen; load a scan and choose it.")
        if self._segmentation is None:
            return _("No segmentation is chosen; choose the one that was painted on this volume.")
        if not self._modality():
            return _("It is not said what made the scan; choose its kind.")
        mapped = self._mapping.mapped()
        if not mapped:
            return _("No segment is checked; check those that the model is to learn.")
        if not any(segment.isComplete for segment in mapped):
            return _(
                "No structure is said to be complete, and parts alone do not say where one ends; finish at least one."
            )
        return ""

    def _earlierCase(self) -> KnownCase | None:
        """The case that was made of the volume before: a second one must not be used to check what it taught."""
        number = caseNumberOf(self._volume, self._teaching.caseFolder) if self._volume is not None else None
        return next((case for case in self._teaching.cases if case.number == number), None)

    def _listModalities(self) -> None:
        """What the model reads and what is common, with what the scene tells of the volume chosen."""
        model = self._session.modelAt(self._model)
        offered = list(dict.fromkeys([*(model.modalities if model else ()), *MODALITIES]))
        box = self.ui.modalityComboBox
        box.clear()
        box.addItems(offered)
        box.setEditText(self._likelyModality(self._told, offered))

    def _likelyModality(self, told: str, offered: list[str]) -> str:
        """The kind that fits what is told; that of the case before where several do; "" where none stands out."""
        fitting = [name for name in offered if name == told] or [
            name for name in offered if not told or name.split("-")[0] == told.split("-")[0]
        ]
        if self._lastModality and (self._lastModality in fitting or not fitting):
            return self._lastModality
        return fitting[0] if len(fitting) == 1 else "" if fitting else told

    def _modality(self) -> str:
        return "-".join(self.ui.modalityComboBox.currentText.strip().lower().split())

    def _say(self, text: str) -> None:
        self.ui.messageLabel.text = text
        self.ui.messageLabel.visible = bool(text)
