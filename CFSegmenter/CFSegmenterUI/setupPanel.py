"""The setup panel: what is missing before the first use, installing it on a click, and where the worker runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.worker.framing import PROTOCOL, Frame

from . import dependencies
from .dependencies import Missing
from .session import Session
from .workerCommand import SETTING, setOwnCommand

GIGABYTE = 1e9
CHECK_MS = 1000
"""Whether an update or a case needs the worker is asked so often while the module is shown."""


class SetupPanel:
    """A SetupPanel shows what is missing while something is, and keeps the command of a worker elsewhere."""

    def __init__(
        self,
        parent: qt.QWidget,
        session: Session,
        resourcePath: Callable[[str], str],
        isWorkerNeeded: Callable[[], bool] = lambda: False,
        chooseFolder: Callable[[], str] | None = None,
        confirm: Callable[[str], bool] | None = None,
    ):
        """
        Args:
            parent, session, resourcePath: the widget to fill, what does the work, where the module's resources are.
            isWorkerNeeded: whether something besides the session would be lost with the worker.
            chooseFolder: asks for the folder of wheels, "" when the user thinks better of it; None takes Qt's dialog.
            confirm: asks whether to go on; None takes Slicer's dialog.
        """
        self._session = session
        self._requirements = resourcePath("requirements.txt")
        self._isWorkerNeeded = isWorkerNeeded
        self._chooseFolder = chooseFolder or self._folderDialog
        self._askUser = confirm or dependencies.confirmInstall
        self._hasAgreed = self._isInstalling = self._isGone = False
        self._missing = Missing()
        self._request: Any = None
        self._widget = slicer.util.loadUI(resourcePath("UI/SetupPanel.ui"))
        parent.layout().addWidget(self._widget)
        self._widget.setMRMLScene(session.scene)
        self.ui = slicer.util.childWidgetVariables(self._widget)
        self._commandHint = self.ui.commandLineEdit.toolTip
        self.ui.commandLineEdit.text = str(qt.QSettings().value(SETTING, "") or "")
        self.ui.installButton.connect("clicked(bool)", self._onInstall)
        self.ui.wheelsButton.connect("clicked(bool)", self._onInstallWheels)
        self.ui.commandLineEdit.connect("editingFinished()", self._onCommandEdited)
        self.ui.testButton.connect("clicked(bool)", self._onTest)
        self._clock = qt.QTimer()
        self._clock.setInterval(CHECK_MS)
        self._clock.connect("timeout()", self._enable)
        session.addListener(self._onSession)
        self._sayInstalled("")
        self._sayTested("")
        self._look()

    @property
    def isMissingSomething(self) -> bool:
        """Whether the worker cannot be started before something is installed."""
        return bool(self._missing)

    def setParameterNode(self, node: Any) -> None:
        """The user comes (or leaves, with None): packages may have been installed meanwhile."""
        if node is None:
            self._clock.stop()
        else:
            self._look()
            self._enable()
            self._clock.start()

    def cleanup(self) -> None:
        """Let go of the session."""
        self._isGone = True
        self._clock.stop()
        self._session.removeListener(self._onSession)
        if self._request is not None:
            self._request.cancel()

    # What is missing

    def _look(self) -> None:
        self._missing = dependencies.findMissing(self._requirements)
        self.ui.installWidget.visible = self.isMissingSomething
        self.ui.missingLabel.text = self._missing.text
        canInstall = bool(self._missing.requirements) and not self._missing.python
        self.ui.sizeLabel.visible = canInstall
        self.ui.sizeLabel.text = self._sizeText()
        self._allowInstalling(canInstall and not self._isInstalling)

    def _allowInstalling(self, isAllowed: bool) -> None:
        self.ui.installButton.enabled = self.ui.wheelsButton.enabled = isAllowed

    def _sizeText(self) -> str:
        if self._missing.torch:
            size = _("PyTorch takes up to 3 GB on disk, much less without a graphics card; the others are small.")
        else:
            size = _("These are small.")
        return size + " " + _("Nothing is installed before you click and agree.")

    def _onInstall(self) -> None:
        self._install(None)

    def _onInstallWheels(self) -> None:
        folder = self._chooseFolder()
        if folder:
            self._install(folder)

    def _install(self, wheels: str | None) -> None:
        self._hasAgreed = False
        problem = ""
        # Where pip says something Slicer hears of clicks, too: a second one must not start a second installation.
        self._isInstalling = True
        self._allowInstalling(False)
        try:
            dependencies.install(self._requirements, wheels, self._confirm)
        except UserError as error:
            problem = str(error)
        finally:
            self._isInstalling = False
            self._look()
        if not self.isMissingSomething:
            self._sayInstalled(_("Everything is installed."))
            self._session.refreshModels(self._sayInstalled)
        elif problem:
            self._sayInstalled(problem)
        elif self._hasAgreed:
            self._sayInstalled(_("Restart Slicer, then install the rest here."))
        else:
            self._sayInstalled(_("Nothing was installed."))

    def _confirm(self, question: str) -> bool:
        self._hasAgreed = bool(self._askUser(question))
        if self._hasAgreed:
            self._sayInstalled(_("Installing. This takes minutes, in which Slicer may not respond; leave it running."))
            slicer.app.processEvents()
        return self._hasAgreed

    def _sayInstalled(self, text: str) -> None:
        self.ui.installedLabel.text = text
        self.ui.installedLabel.visible = bool(text)

    def _folderDialog(self) -> str:
        return qt.QFileDialog.getExistingDirectory(self._widget, _("Folder of wheel files (*.whl)"))

    # Where the worker runs

    def _onCommandEdited(self) -> None:
        """Take a changed command: the worker that runs, and the models that are known, are those of the old one."""
        if not self._takeCommand() or self._reasonNot():
            return
        self._session.stop()
        if not self.isMissingSomething:
            self._session.refreshModels(self._sayTested)

    def _takeCommand(self) -> bool:
        """Remember the command, and answer whether it is another one than before."""
        said = self.ui.commandLineEdit.text.strip()
        if said == str(qt.QSettings().value(SETTING, "") or ""):
            return False
        setOwnCommand(said)
        self._sayTested("")
        self._look()
        return True

    def _onTest(self) -> None:
        self._takeCommand()
        if reason := self._reasonNot():
            self._sayTested(reason)
            return
        self._session.stop()
        self._sayTested(_("Waiting for the worker to answer..."))
        self._request = self._session.link.request(
            "hello", {"protocol": PROTOCOL}, done=self._onAnswer, failed=self._onNoAnswer, cancelled=self._onNoAnswer
        )
        self._enable()

    def _onAnswer(self, frame: Frame) -> None:
        said = frame.message
        self._endTest(
            _("CFSegmenter {version} answers on {device} ({precision}), with {memory:.1f} GB of free memory.").format(
                version=said["version"],
                device=said["device"],
                precision=said["precision"],
                memory=said["memory_free"] / GIGABYTE,
            )
        )
        self._session.refreshModels()

    def _onNoAnswer(self, text: str = "", gone: bool = False) -> None:
        self._endTest(text or _("The test was cancelled."))

    def _endTest(self, text: str) -> None:
        self._request = None
        if not self._isGone:
            self._sayTested(text)
            self._enable()

    def _sayTested(self, text: str) -> None:
        self.ui.testedLabel.text = text
        self.ui.testedLabel.visible = bool(text)

    def _onSession(self, topic: str) -> None:
        self._enable()

    def _enable(self) -> None:
        ui, reason = self.ui, self._reasonNot()
        ui.testButton.enabled = self._request is None and not reason
        ui.testButton.toolTip = reason or _("Start the worker and show who answers.")
        ui.commandLineEdit.enabled = not reason
        ui.commandLineEdit.toolTip = reason or self._commandHint

    def _reasonNot(self) -> str:
        """Why the worker must not be started anew, which breaks off what it is doing; "" where it may."""
        if self._session.busy:
            return _("CFSegmenter is busy; wait for it, or cancel it first.")
        if self._isWorkerNeeded():
            return _("An update or a case on its way would end with the worker; wait for it, or cancel the update.")
        return ""
