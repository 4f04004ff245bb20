"""Choosing a structure from Slicer's terminologies."""

from __future__ import annotations

import qt
import slicer
from slicer.i18n import tr as _


def chooseTerm(entry: str, parent: qt.QWidget) -> str:
    """Show a terminology entry in Slicer's navigator and let the user choose another.

    Args:
        entry: serialized, "" to begin with none.

    Returns:
        The serialized entry that was chosen; "" where the user thought better of it.
    """
    logic = slicer.modules.terminologies.logic()
    navigator = slicer.qSlicerTerminologyNavigatorWidget()
    shown = slicer.vtkSlicerTerminologyEntry()
    if entry and logic.DeserializeTerminologyEntry(entry, shown):
        navigator.setTerminologyEntry(shown)
    dialog = qt.QDialog(parent)
    dialog.windowTitle = _("Structure")
    layout = qt.QVBoxLayout(dialog)
    layout.addWidget(navigator)
    buttons = qt.QDialogButtonBox()  # given to PythonQt's constructor, the buttons may be taken for an orientation
    buttons.setStandardButtons(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
    layout.addWidget(buttons)
    buttons.connect("accepted()", dialog.accept)
    buttons.connect("rejected()", dialog.reject)
    isChosen = dialog.exec_() == qt.QDialog.Accepted
    chosen = slicer.vtkSlicerTerminologyEntry()
    found = logic.SerializeTerminologyEntry(chosen) if isChosen and navigator.terminologyEntry(chosen) else ""
    dialog.deleteLater()
    return found
