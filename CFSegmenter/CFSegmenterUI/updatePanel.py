"""The update panel: how long a model may learn from the cases, and how far it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from CFSegmenterLib.budget import parse_budget
from CFSegmenterLib.errors import UserError

from . import compat
from .caseTable import casesText
from .lossPlot import LossPlot
from .runText import durationText
from .teaching import Teaching
from .updateMemory import UpdateMemory
from .updateRun import UpdateRun, UpdateState

BUDGETS = ("10min", "1h", "overnight")
"""Offered as time to learn, as the worker reads them; any other can be typed."""
FEW = 4
"""With fewer cases none is kept to check the model with, unless the user says so."""
STEPS = 1000
"""Of the progress bar."""


class UpdatePanel:
    """An UpdatePanel starts, shows and cancels the update of a model with the cases of a folder."""

    def __init__(
        self,
        parent: qt.QWidget,
        teaching: Teaching,
        memory: UpdateMemory,
        resourcePath: Callable[[str], str],
        chooseFolder: Callable[[str], str],
        confirm: Callable[[str], bool],
        done: Callable[[str], None],
    ):
        """
        Args:
            parent, teaching, memory, resourcePath: the widget to fill, what does the work, what is remembered from
                one scene to the next, where the module's resources are.
            chooseFolder: asks for a folder under a title, "" when the user thinks better of it.
            confirm: asks whether to go on.
            done: hears of a new version that waits for a decision.
        """
        self._teaching, self._memory = teaching, memory
        self._session = teaching.session
        self._chooseFolder, self._confirm, self._done = chooseFolder, confirm, done
        self._node: Any = None
        self._guiTag: Any = None
        self._nodeTag: Any = None
        self._said = ""
        widget = slicer.util.loadUI(resourcePath("UI/UpdatePanel.ui"))
        parent.layout().addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(self._session.scene)
        self.ui.progressBar.setRange(0, STEPS)
        for budget in BUDGETS:
            self.ui.budgetComboBox.addItem(_budgetText(budget), budget)
        self._plot = LossPlot(self._session.scene)
        self._run = UpdateRun(teaching, memory, self._onRun)
        self._connect()
        teaching.addListener(self._onTopic)
        self._session.addListener(self._onTopic)
        self._update()

    @property
    def isTraining(self) -> bool:
        """Whether an update is under way."""
        return self._run.isUnderWay

    def setParameterNode(self, node: Any) -> None:
        """Show the choices of `node` and write the user's into it; None lets go of it."""
        if self._node is not None:
            self._node.disconnectGui(self._guiTag)
            self._node.RemoveObserver(self._nodeTag)
        self._node = node
        if node is not None:
            for name in ("storeFolder", "unlabelledFolder"):
                if not getattr(node, name):
                    setattr(node, name, self._memory.folders.get(name, ""))
            self._guiTag = compat.connectGui(node, self.ui)
            self._nodeTag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onNodeModified)
            self._showBudget(node.updateBudget)
            self._openStore()
        self._update()

    def cleanup(self) -> None:
        """Let go of the parameter node and of the session; an update that is under way is not asked for any more."""
        self.setParameterNode(None)
        self._run.cleanup()
        self._teaching.removeListener(self._onTopic)
        self._session.removeListener(self._onTopic)

    # What the user does

    def _connect(self) -> None:
        ui = self.ui
        ui.storeFolderLineEdit.connect("editingFinished()", self._openStore)
        ui.storeFolderButton.connect("clicked(bool)", self._onStoreButton)
        ui.unlabelledFolderLineEdit.connect("editingFinished()", self._keepUnlabelled)
        ui.unlabelledFolderButton.connect("clicked(bool)", self._onUnlabelledButton)
        ui.budgetComboBox.connect("editTextChanged(QString)", self._onBudget)
        ui.updateButton.connect("clicked(bool)", self._onUpdateButton)
        ui.plotButton.connect("toggled(bool)", self._onPlot)
        ui.discardButton.connect("clicked(bool)", self._onDiscard)

    def _onStoreButton(self) -> None:
        folder = self._chooseFolder(_("Folder for the versions of the model"))
        if folder and self._node is not None:
            self._node.storeFolder = folder
            self._openStore()

    def _openStore(self) -> None:
        """Read the versions in the folder that the parameter node names, unless they are those that are shown."""
        if self._node is None or not self._session.models:
            return  # without a model there is no worker to ask yet
        folder = self._node.storeFolder.strip()
        if folder != self._teaching.storeFolder:
            self._memory.keepFolder("storeFolder", folder)
            self._teaching.openStore(folder, self._say)
        self._run.look()

    def _onUnlabelledButton(self) -> None:
        folder = self._chooseFolder(_("Folder of scans without annotation"))
        if folder and self._node is not None:
            self._node.unlabelledFolder = folder
            self._keepUnlabelled()

    def _keepUnlabelled(self) -> None:
        if self._node is not None:
            self._memory.keepFolder("unlabelledFolder", self._node.unlabelledFolder.strip())

    def _onBudget(self, text: str) -> None:
        if self._node is not None:
            number = self.ui.budgetComboBox.findText(text)
            self._node.updateBudget = self.ui.budgetComboBox.itemData(number) if number >= 0 else text.strip()

    def _onUpdateButton(self) -> None:
        self._said = ""
        if self._run.isUnderWay:
            self._run.cancel()
            return
        node = self._node
        self._run.start(
            {
                "store": self._teaching.storeFolder,
                "model": self._teaching.modelFrom(node.model).folder,
                "cases": [self._teaching.caseFolder],
                "unlabelled": node.unlabelledFolder.strip() or None,
                "budget": node.updateBudget,
                "settings": self._settings(),
                "device": node.device,
            }
        )

    def _settings(self) -> dict[str, Any]:
        """What the user wants otherwise than the library does it by itself."""
        node, settings = self._node, {}
        distillation = {"pseudo_labels": node.updatePseudoLabels, "similarity_weighted": node.updateSimilarityWeights}
        if any(distillation.values()):
            settings["distillation"] = distillation
        if node.updateLearningRate.strip():
            settings["learning_rate"] = float(node.updateLearningRate)
        return settings

    def _onPlot(self, on: bool) -> None:
        if on:
            self._plot.present()
        else:
            self._plot.putAway()

    def _onDiscard(self) -> None:
        if self._confirm(_("Forget the update that was stopped, and what it had learned? The cases stay.")):
            self._said = ""
            self._run.discard()

    # What happens meanwhile

    def _onRun(self) -> None:
        """The update has come further, or to its end."""
        state = self._run.state
        if state is not None and state.losses:
            self._plot.show(state.losses)
        if state is not None and state.state == "done":
            if self._run.store == self._teaching.storeFolder:
                self._teaching.openStore(self._run.store, self._say, lambda: self._done(state.version or ""))
            else:  # another scene, with another folder, was opened meanwhile
                said = _("Version {version} is ready in {folder}; choose that folder to decide about it.")
                self._said = said.format(version=state.version, folder=self._run.store)
        self._update()

    def _onTopic(self, topic: str) -> None:
        if topic == "models":
            self._openStore()
        if topic in ("models", "cases", "versions"):
            self._update()

    def _modelSaid(self) -> str:
        """What will be taught, in words."""
        model = self._model()
        if model is None:
            return _("none yet")
        if self._teaching.active is None:
            return model.title
        return _("{model}, in use in the folder below").format(model=model.title)

    def _onNodeModified(self, caller: Any = None, event: Any = None) -> None:
        self._update()

    # What is shown

    def _update(self) -> None:
        """Bring every widget in line with parameter node, cases, versions and the update under way."""
        ui, state = self.ui, self._run.state
        isUnderWay, isStopped = self._run.isUnderWay, state is not None and state.state == "stopped"
        ui.modelLabel.text = self._modelSaid()
        reason = "" if isUnderWay else self._reasonNot()
        ui.planLabel.text = _whileText() if isUnderWay else reason or self._plan()
        ui.updateButton.text = _("Cancel") if isUnderWay else _("Go on") if isStopped else _("Update")
        ui.updateButton.enabled = not reason and not (state is not None and state.state == "cancelling")
        ui.updateButton.toolTip = reason or (
            _("Stop after the step at work. What it has learned is kept to go on from.")
            if isUnderWay
            else _("Make a new version of the model that has learned from the cases. The one in use is not changed.")
        )
        ui.progressBar.visible = isUnderWay
        if isUnderWay:
            # Before the first step is done there is nothing to tell: the bar then runs to and fro.
            ui.progressBar.setRange(0, STEPS if state.fraction > 0 else 0)
            ui.progressBar.setValue(round(STEPS * state.fraction))
        ui.statusLabel.text = self._said or (_stateText(state) if state is not None else "")
        ui.statusLabel.visible = bool(ui.statusLabel.text)
        ui.plotButton.enabled = ui.plotButton.checked or (self._plot.canPresent and bool(state and state.losses))
        ui.discardButton.visible = isStopped
        for widget in (ui.storeFolderLineEdit, ui.storeFolderButton, ui.budgetComboBox, ui.advancedCollapsibleButton):
            widget.enabled = not isUnderWay

    def _reasonNot(self) -> str:
        """Why nothing can be learned, and what to do about it; "" where it can."""
        if self._node is None:
            return _("No model is loaded yet; choose one under Models.")
        if reason := self._session.reasonWithout(self._node.model):
            return reason
        if not self._teaching.caseFolder:
            return _("No folder of cases is chosen; choose one above.")
        if not any(case.split == "training" for case in self._teaching.cases):
            return _("There is no case to learn from; add one above.")
        if not self._teaching.storeFolder:
            return _("It is not said where the new version goes; choose a folder for the versions.")
        if not self._node.updateBudget:
            return _("It is not said how long it may learn; choose a time.")
        rate = self._node.updateLearningRate.strip()
        if rate and not _isPositive(rate):
            return _("The learning rate is not a number above 0; correct it, or leave it empty.")
        try:
            parse_budget(self._node.updateBudget)
        except UserError as error:
            return str(error)
        return ""

    def _plan(self) -> str:
        """What an update would learn from, and whether it can be checked."""
        cases, known = self._teaching.cases, self._model().structures
        new = list(dict.fromkeys(name for case in cases for name in case.structures if name not in known))
        checking = sum(case.split == "validation" for case in cases)
        said = _("{cases} to learn from.").format(cases=casesText(sum(case.split == "training" for case in cases)))
        if new:
            said += " " + _("New: {names}.").format(names=", ".join(new))
        if checking:
            return said + " " + _("{count} kept to check it with.").format(count=checking)
        if len(cases) < FEW:
            said += " " + _("With fewer than {few} cases none is kept to check it with.").format(few=FEW)
            return said + " " + _("How good it is stays unknown.")
        return said + " " + _("None is kept to check it with; add one for validation.")

    def _showBudget(self, budget: str) -> None:
        box = self.ui.budgetComboBox
        number = box.findData(budget)
        box.setEditText(box.itemText(number) if number >= 0 else budget)

    def _model(self) -> Any:
        return self._teaching.modelFrom(self._node.model if self._node is not None else "")

    def _say(self, text: str) -> None:
        self._said = text
        self._update()


def _budgetText(budget: str) -> str:
    return {"10min": _("10 minutes"), "1h": _("1 hour"), "overnight": _("Overnight")}[budget]


def _whileText() -> str:
    """What to know of an update that is under way."""
    return _(
        "It learns as long as Slicer is open; when you quit, what it has learned is kept, and you can go on with it."
    )


def _stateText(state: UpdateState) -> str:
    """How far an update is, or how it ended."""
    if state.state == "done":
        return _("Version {version} is ready; read its report below and decide.").format(version=state.version)
    if state.state == "failed":
        return state.message or _("The update failed; the worker's log says why.")
    if state.state == "stopped":
        said = state.message or _("The update was stopped; what it had learned is kept.")
        return said + " " + _("Go on, or discard it.")
    if state.state == "cancelling":
        return _("Cancelling; what it has learned is kept...")
    phases = {"preparing": _("Preparing"), "training": _("Learning"), "comparing": _("Comparing old and new")}
    parts = [phases.get(state.phase, state.phase) or _("Starting")]
    if state.loss is not None:
        parts.append(_("loss {loss:.3f}").format(loss=state.loss))
    if state.secondsLeft is not None:
        parts.append(_("{time} left").format(time=durationText(state.secondsLeft)))
    return ", ".join(parts)


def _isPositive(text: str) -> bool:
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False
