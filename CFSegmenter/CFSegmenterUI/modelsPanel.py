"""The models panel: which versions of which models there are, what they know, and which one is used."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from .modelDetails import ModelDetails
from .modelFolders import ModelFolders
from .models import ModelInfo
from .session import Session

ACTIVE, NAME, VERSION, CREATED, COUNT, MODALITIES = range(6)
"""Columns of the list."""


class ModelsPanel:
    """A ModelsPanel lists the session's models, shows one in detail, and writes the active one's folder."""

    def __init__(
        self,
        parent: qt.QWidget,
        session: Session,
        resourcePath: Callable[[str], str],
        chooseFolder: Callable[[], str] | None = None,
        openFolder: Callable[[str], None] | None = None,
    ):
        """
        Args:
            parent, session, resourcePath: the widget to fill, what does the work, where the module's resources are.
            chooseFolder: asks for a folder, "" when the user thinks better of it; None takes Qt's dialog.
            openFolder: shows a folder; None takes the desktop's file manager.
        """
        self._session = session
        self._chooseFolder = chooseFolder or self._folderDialog
        self._openFolder = openFolder or _openFolder
        self._node: Any = None
        self._nodeTag: Any = None
        self._folders = ModelFolders(qt.QSettings())
        self._models: tuple[ModelInfo, ...] = ()
        self._widget = slicer.util.loadUI(resourcePath("UI/ModelsPanel.ui"))
        parent.layout().addWidget(self._widget)
        self._widget.setMRMLScene(session.scene)
        self.ui = slicer.util.childWidgetVariables(self._widget)
        self._details = ModelDetails(self.ui)
        header = self.ui.modelTree.header()
        for column in (ACTIVE, NAME, VERSION, CREATED, COUNT):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(MODALITIES, qt.QHeaderView.Stretch)
        self.ui.modelTree.connect("itemSelectionChanged()", self._showSelected)
        self.ui.modelTree.connect("itemDoubleClicked(QTreeWidgetItem*,int)", self._onUse)
        self.ui.useButton.connect("clicked(bool)", self._onUse)
        self.ui.importButton.connect("clicked(bool)", self._onImport)
        self.ui.openButton.connect("clicked(bool)", self._onOpen)
        self.ui.refreshButton.connect("clicked(bool)", self._onRefresh)
        session.addListener(self._onSession)
        self.showProblem("")
        self._list()

    def setParameterNode(self, node: Any) -> None:
        """Mark the active model of `node` and write the user's choice into it; None lets go of it."""
        if self._node is not None:
            self._node.RemoveObserver(self._nodeTag)
        self._node = node
        if node is not None:
            self._nodeTag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, self._mark)
        self._mark()

    def showProblem(self, text: str) -> None:
        """Say why there are no models, or what else went wrong; "" takes it away."""
        self.ui.messageLabel.text = text
        self.ui.messageLabel.visible = bool(text)

    def cleanup(self) -> None:
        """Let go of the parameter node and of the session."""
        self.setParameterNode(None)
        self._session.removeListener(self._onSession)

    # What the user does

    def _onUse(self) -> None:
        model = self._selected()
        if model is None or self._node is None:
            return
        # The shipped model's folder is another one on every computer: a scene says "" for it.
        self._node.model = "" if model is self._session.modelAt("") else model.folder

    def _onImport(self) -> None:
        folder = self._chooseFolder()
        if not folder:
            return
        isNew = folder not in self._folders.paths

        def broken(text: str = "") -> None:
            if isNew:
                self._folders.remove(folder)
            self.showProblem(text)

        self._folders.add(folder)
        self.showProblem(_("Looking for models..."))
        self._session.refreshModels(broken, done=lambda models: self._showImported(folder), cancelled=broken)

    def _onOpen(self) -> None:
        self._openFolder(self._selected().folder)

    def _onRefresh(self) -> None:
        self.showProblem(_("Looking for models..."))
        self._session.refreshModels(self.showProblem, cancelled=lambda: self.showProblem(""))

    # What is shown

    def _onSession(self, topic: str) -> None:
        if topic == "models":
            self.showProblem("\n".join(self._session.damaged.values()))
            self._list()

    def _showImported(self, folder: str) -> None:
        """Select the first model of the folder, and say which there are; a folder without one is forgotten again."""

        def isInside(modelFolder: str) -> bool:
            return Path(folder) in (Path(modelFolder), *Path(modelFolder).parents)

        inside = [model for model in self._models if isInside(model.folder)]
        damaged = [why for modelFolder, why in self._session.damaged.items() if isInside(modelFolder)]
        if not inside:
            self._folders.remove(folder)
            said = _("{folder} holds no model; choose a folder with manifest.json in it, or one above it.")
            self.showProblem("\n".join(damaged) or said.format(folder=folder))
            return
        self._select(inside[0])
        names = ", ".join(model.title for model in inside)
        imported = _("Imported: {names}. Press Use to work with it.").format(names=names)
        self.showProblem("\n".join([imported, *damaged]))

    def _list(self) -> None:
        """All models anew; the one that was selected stays selected, at first the active one is."""
        selected = self._selected()
        self._models = self._session.models
        tree = self.ui.modelTree
        tree.blockSignals(True)
        tree.clear()
        for model in self._models:
            item = qt.QTreeWidgetItem()
            item.setText(NAME, model.name)
            item.setText(VERSION, model.version)
            item.setText(CREATED, model.created)
            item.setText(COUNT, str(len(model.structures)))
            item.setText(MODALITIES, ", ".join(name.upper() for name in model.modalities))
            item.setToolTip(NAME, model.folder)
            item.setToolTip(MODALITIES, item.text(MODALITIES))
            tree.addTopLevelItem(item)
        tree.blockSignals(False)
        kept = next((model for model in self._models if selected and model.folder == selected.folder), None)
        self._select(kept or self._active())
        self._mark()

    def _mark(self, caller: Any = None, event: Any = None) -> None:
        """A check mark in front of the active model."""
        active = self._active()
        for row, model in enumerate(self._models):
            self.ui.modelTree.topLevelItem(row).setText(ACTIVE, "✓" if model is active else "")
        self._enable()

    def _showSelected(self) -> None:
        self._details.show(self._selected())
        self._enable()

    def _enable(self) -> None:
        model = self._selected()
        canUse = model is not None and self._node is not None and model is not self._active()
        self.ui.useButton.enabled = canUse
        self.ui.openButton.enabled = model is not None and os.path.isdir(model.folder)
        self.ui.detailsCollapsibleButton.visible = model is not None

    def _select(self, model: ModelInfo | None) -> None:
        if model is not None:
            self.ui.modelTree.setCurrentItem(self.ui.modelTree.topLevelItem(self._models.index(model)))
        self._showSelected()

    def _selected(self) -> ModelInfo | None:
        rows = [self.ui.modelTree.indexOfTopLevelItem(item) for item in self.ui.modelTree.selectedItems()]
        return self._models[rows[0]] if rows else None

    def _active(self) -> ModelInfo | None:
        return self._session.modelAt(self._node.model if self._node is not None else "")

    def _folderDialog(self) -> str:
        return qt.QFileDialog.getExistingDirectory(self._widget, _("Folder of a model, or of several"))


def _openFolder(folder: str) -> None:
    qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(folder))
