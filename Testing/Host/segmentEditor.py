"""Stand-in for qMRMLSegmentEditorWidget: shows a segmentation, and goes back to what it was."""

from __future__ import annotations

import slicer
from PySide6.QtCore import Property

from Testing.Host.widgets import qMRMLWidget


class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Without effects and views; its undo is that of Slicer, and sees all changes of the segmentation."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._editorNode = None
        self._history = slicer.vtkSegmentationHistory()

    def mrmlSegmentEditorNode(self):
        return self._editorNode

    def setMRMLSegmentEditorNode(self, node):
        self._editorNode = node
        self._follow()

    def segmentationNode(self):
        return self._editorNode.GetSegmentationNode() if self._editorNode else None

    def segmentationNodeID(self):
        node = self.segmentationNode()
        return node.GetID() if node else ""

    def setSegmentationNode(self, node):
        self._editorNode.SetAndObserveSegmentationNode(node)
        self._follow()

    def _setMaximumNumberOfUndoStates(self, count):
        self._history.SetMaximumNumberOfStates(count)

    maximumNumberOfUndoStates = Property(
        int, lambda self: self._history.GetMaximumNumberOfStates(), _setMaximumNumberOfUndoStates
    )
    setMaximumNumberOfUndoStates = _setMaximumNumberOfUndoStates

    def saveStateForUndo(self):
        if self.segmentationNode():
            self._history.SaveState()

    def undo(self):
        self._history.RestorePreviousState()

    def redo(self):
        self._history.RestoreNextState()

    def _follow(self):
        node = self.segmentationNode()
        self._history.SetSegmentation(node.GetSegmentation() if node else None)
