"""The report panel: what an update has changed, and the decision about it."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

import qt
import slicer
from slicer.i18n import tr as _

from .modelFolders import ModelFolders
from .models import storeOf
from .teaching import Teaching, Version
from .updateReport import showAgreement, showScores, summaryText, warningsText


class ReportPanel:
    """A ReportPanel shows the report of one version of the store and asks for accepting, rejecting, rolling back."""

    def __init__(
        self,
        parent: qt.QWidget,
        teaching: Teaching,
        resourcePath: Callable[[str], str],
        confirm: Callable[[str], bool],
        openFile: Callable[[str], None] | None = None,
    ):
        """
        Args:
            parent, teaching, resourcePath: the widget to fill, what does the work, where the module's resources are.
            confirm: asks whether to go on.
            openFile: shows a page; None takes the desktop's browser.
        """
        self._teaching = teaching
        self._session = teaching.session
        self._confirm = confirm
        self._openFile = openFile or _openFile
        self._node: Any = None
        self._folders = ModelFolders(qt.QSettings())
        self._listed: tuple[Any, ...] = ()
        self._report: Mapping[str, Any] | None = None
        self._page = self._pageText = ""
        self._shown = ""
        self._isDeciding = False
        widget = slicer.util.loadUI(resourcePath("UI/ReportPanel.ui"))
        parent.layout().addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(self._session.scene)
        self.ui.versionComboBox.connect("currentIndexChanged(int)", self._onVersion)
        self.ui.openButton.connect("clicked(bool)", self._onOpen)
        self.ui.acceptButton.connect("clicked(bool)", self._onAccept)
        self.ui.rejectButton.connect("clicked(bool)", self._onReject)
        self.ui.rollBackButton.connect("clicked(bool)", self._onRollBack)
        self._say("")
        teaching.addListener(self._onTopic)
        self._list()

    def setParameterNode(self, node: Any) -> None:
        """Write the accepted version into `node` as the active model; None lets go of it."""
        self._node = node

    def cleanup(self) -> None:
        """Let go of the session."""
        self._node = None
        self._teaching.removeListener(self._onTopic)

    def present(self, version: str) -> None:
        """Show a version that waits for a decision."""
        number = self.ui.versionComboBox.findData(version)
        if number >= 0:
            self.ui.versionComboBox.currentIndex = number
            self._say("")

    # What the user does

    def _onVersion(self) -> None:
        version = self._version()
        if version is None or version.version == self._shown:
            return
        self._shown, self._report, self._page, self._pageText = version.version, None, "", ""
        self._say("")
        if version.hasReport:
            self._teaching.report(version.version, self._heard, self._say)
        self._update()

    def _heard(self, report: Mapping[str, Any], page: str, text: str) -> None:
        if str(report["version"]) == self._shown:  # else the user has gone on to another
            self._report, self._page, self._pageText = report, page, text
            self._update()

    def _onOpen(self) -> None:
        page = self._page
        if not os.path.isfile(page):  # it lies on another computer, where the worker runs
            page = os.path.join(slicer.app.temporaryPath, f"CFSegmenter-report-{self._shown}.html")
            with open(page, "w", encoding="utf-8") as written:
                written.write(self._pageText)
        self._openFile(page)

    def _onAccept(self) -> None:
        self._decide(lambda failed: self._accept(self._shown, False, self._node, failed))

    def _accept(self, version: str, confirmed: bool, node: Any, failed: Callable[[str], None]) -> None:
        def answered(why: str) -> None:
            if not why:
                self._use(node, _("Version {version} is used from now on.").format(version=version))
            elif self._confirm(why + " " + _("Accept version {version} all the same?").format(version=version)):
                self._accept(version, True, node, failed)
            else:
                self._decided(_("Not accepted; version {version} still waits.").format(version=version))

        self._teaching.accept(version, confirmed, answered, failed)

    def _onReject(self) -> None:
        said = _("Version {version} was rejected. It is kept, and can still be accepted.").format(version=self._shown)
        self._decide(lambda failed: self._teaching.reject(self._shown, lambda: self._decided(said), failed))

    def _onRollBack(self) -> None:
        active = self._teaching.active
        said = _("Use the version again that was used before version {version}? Version {version} is kept.")
        if active is None or not self._confirm(said.format(version=active.version)):
            return
        node = self._node

        def done() -> None:
            now = self._teaching.active
            self._use(node, _("Version {version} is used again.").format(version=now.version if now else ""))

        self._decide(lambda failed: self._teaching.rollBack(done, failed))

    def _decide(self, ask: Callable[[Callable[[str], None]], None]) -> None:
        self._isDeciding = True
        self._say("")
        # The store is a place for models like any other: its versions are then found after the next start, too.
        # As the worker writes it: what the user typed may be another way to say the same folder.
        self._folders.add(storeOf(self._teaching.versions[0].folder) or self._teaching.storeFolder)
        ask(self._decided)
        self._update()

    def _use(self, node: Any, text: str) -> None:
        """Make the store's active version the one that the scene works with."""
        active = self._teaching.active
        if node is not None and active is not None:
            node.model = active.folder
        self._decided(text)

    def _decided(self, text: str) -> None:
        self._isDeciding = False
        self._say(text)
        self._update()

    # What is shown

    def _onTopic(self, topic: str) -> None:
        if topic == "versions":
            self._list()
            if self._teaching.damaged:
                self._say("\n".join(self._teaching.damaged))

    def _list(self) -> None:
        """All versions anew, the newest first; the one that was shown stays, at first the newest is."""
        box, versions = self.ui.versionComboBox, self._teaching.versions[::-1]
        listed = tuple((version.version, _titleOf(version)) for version in versions)
        if listed != self._listed:
            self._listed = listed
            box.blockSignals(True)
            box.clear()
            for version, title in listed:
                box.addItem(title, version)
            kept = box.findData(self._shown) if self._shown else -1
            box.currentIndex = kept if kept >= 0 else 0 if listed else -1
            box.blockSignals(False)
            if kept < 0:
                self._shown, self._report, self._page, self._pageText = "", None, "", ""
            self._onVersion()
        self._update()

    def _update(self) -> None:
        """Bring every widget in line with the version that is shown."""
        ui, version, report = self.ui, self._version(), self._report
        ui.reportCollapsibleButton.enabled = bool(self._teaching.versions)
        ui.summaryLabel.text = self._summary(version)
        scores, agreement = (report["scores"], report["agreement"]) if report else ((), ())
        showScores(ui.scoreTable, scores)
        showAgreement(ui.agreementTable, agreement)
        ui.scoreTable.visible, ui.agreementTable.visible = bool(scores), bool(agreement)
        ui.scoresLabel.visible = bool(scores)
        ui.scoresLabel.text = _("Dice on cases it did not learn from. ▲ better ▼ worse ≈ same")
        ui.warningsLabel.text = warningsText(report) if report else ""
        ui.warningsLabel.visible = bool(ui.warningsLabel.text)
        ui.openButton.enabled = bool(self._pageText) or os.path.isfile(self._page)
        canDecide = version is not None and not version.isActive and not self._isDeciding
        ui.acceptButton.enabled = canDecide
        ui.rejectButton.enabled = canDecide and version.status != "rejected"
        active = self._teaching.active
        ui.rollBackButton.enabled = active is not None and len(self._teaching.versions) > 1 and not self._isDeciding

    def _summary(self, version: Version | None) -> str:
        if version is None:
            return _("No version yet: an update makes one.")
        if self._report is not None:
            return summaryText(self._report)
        if version.hasReport:
            return _("Reading the report...")
        return _("{name}, as it was brought here.").format(name=version.manifest["name"])

    def _version(self) -> Version | None:
        shown = self.ui.versionComboBox.itemData(max(0, self.ui.versionComboBox.currentIndex))
        return next((version for version in self._teaching.versions if version.version == shown), None)

    def _say(self, text: str) -> None:
        self.ui.messageLabel.text = text
        self.ui.messageLabel.visible = bool(text)


def _titleOf(version: Version) -> str:
    if version.isActive:
        return _("{version}, in use").format(version=version.version)
    said = {"proposed": _("waits for a decision"), "accepted": _("accepted before"), "rejected": _("rejected")}
    return f"{version.version}, {said.get(version.status, version.status)}"


def _openFile(path: str) -> None:
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path))
