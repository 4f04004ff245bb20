"""The four panels of the section "Teach": cases, update, report and what to annotate next."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .annotateNextPanel import AnnotateNextPanel
from .casesPanel import CasesPanel
from .reportPanel import ReportPanel
from .session import Session
from .teaching import Teaching
from .updateMemory import UpdateMemory
from .updatePanel import UpdatePanel


class TeachPanels:
    """TeachPanels are one panel to the module, and four to the user, about the same cases and versions."""

    def __init__(
        self,
        parent: qt.QWidget,
        session: Session,
        resourcePath: Callable[[str], str],
        chooseFolder: Callable[[str], str] | None = None,
        confirm: Callable[[str], bool] | None = None,
        pickTerm: Callable[[str], str] | None = None,
        openFile: Callable[[str], None] | None = None,
    ):
        """
        Args:
            parent, session, resourcePath: the widget to fill, what does the work, where the module's resources are.
            chooseFolder: asks for a folder under a title, "" when the user thinks better of it; None takes Qt's dialog.
            confirm: asks whether to go on; None takes Slicer's dialog.
            pickTerm, openFile: see `CasesPanel` and `ReportPanel`.
        """
        self._parent = parent
        choose, ask = chooseFolder or self._folderDialog, confirm or self._confirmDialog
        self.teaching = Teaching(session)
        memory = UpdateMemory(qt.QSettings())
        common = (parent, self.teaching)
        self.casesPanel = CasesPanel(*common, memory, resourcePath, choose, ask, pickTerm)
        self.updatePanel = UpdatePanel(*common, memory, resourcePath, choose, ask, self._onUpdated)
        self.reportPanel = ReportPanel(*common, resourcePath, ask, openFile)
        self.nextPanel = AnnotateNextPanel(*common, resourcePath)
        self._panels = (self.casesPanel, self.updatePanel, self.reportPanel, self.nextPanel)

    @property
    def needsWorker(self) -> bool:
        """Whether an update is under way, or a case on its way to the folder, which would end with the worker."""
        return self.updatePanel.isTraining or self.casesPanel.isAdding

    def setParameterNode(self, node: Any) -> None:
        """Show the choices of `node` and write the user's into it; None lets go of it."""
        for panel in self._panels:
            panel.setParameterNode(node)

    def cleanup(self) -> None:
        """Let go of the parameter node, the scene and the session."""
        for panel in self._panels:
            panel.cleanup()
        self.teaching.stop()

    def _onUpdated(self, version: str) -> None:
        self.reportPanel.present(version)

    def _folderDialog(self, title: str) -> str:
        return qt.QFileDialog.getExistingDirectory(self._parent, title)

    @staticmethod
    def _confirmDialog(text: str) -> bool:
        return slicer.util.confirmYesNoDisplay(text, windowTitle=_("CFSegmenter"))
