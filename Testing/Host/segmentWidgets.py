"""Stand-ins for widgets of segmentations: the choice of a segment, and the button that shows surfaces."""

from __future__ import annotations

import slicer
from PySide6.QtCore import Property, Signal
from PySide6.QtWidgets import QComboBox, QPushButton, QVBoxLayout

from Testing.Host.nodeComboBox import qMRMLNodeComboBox
from Testing.Host.observers import Observers
from Testing.Host.widgets import qMRMLWidget

SEGMENTATION_EVENTS = ("SegmentAdded", "SegmentRemoved", "SegmentModified", "SegmentsOrderModified")


class qMRMLSegmentSelectorWidget(qMRMLWidget):
    """Chooses one segment; the selection of several is not emulated."""

    currentNodeChanged = Signal((object,), (bool,))
    currentSegmentChanged = Signal(str)
    segmentSelectionChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._segment = ""
        self._refreshing = False
        self._observers = Observers(self)
        self._nodes = qMRMLNodeComboBox(self)
        self._nodes.setNodeTypes(["vtkMRMLSegmentationNode"])
        self._box = QComboBox(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._nodes)
        layout.addWidget(self._box)
        self._nodes.currentNodeChanged[object].connect(self._onNodeChanged)
        self._box.currentIndexChanged.connect(self._onPicked)
        self.mrmlSceneChanged.connect(self._nodes.setMRMLScene)

    def _setNoneEnabled(self, enabled):
        self._nodes.setNoneEnabled(enabled)
        self._refresh()

    noneEnabled = Property(bool, lambda self: self._nodes.noneEnabled, _setNoneEnabled)
    setNoneEnabled = _setNoneEnabled
    segmentationNodeSelectorVisible = Property(
        bool, lambda self: not self._nodes.isHidden(), lambda self, visible: self._nodes.setVisible(visible)
    )

    def setSegmentationNodeSelectorVisible(self, visible):
        self._nodes.setVisible(visible)

    def currentNode(self):
        return self._nodes.currentNode()

    def currentNodeID(self):
        return self._nodes.currentNodeID

    def setCurrentNode(self, node):
        self._nodes.setCurrentNode(node)

    def setCurrentNodeID(self, nodeId):
        self._nodes.setCurrentNode(nodeId)

    def segmentIDs(self):
        node = self.currentNode()
        return list(node.GetSegmentation().GetSegmentIDs()) if node else []

    def currentSegmentID(self):
        return self._segment

    def setCurrentSegmentID(self, segmentId):
        if not segmentId or segmentId in self.segmentIDs():
            self._select(segmentId or "")

    def selectedSegmentIDs(self):
        return [self._segment] if self._segment else []

    def setSelectedSegmentIDs(self, segmentIds):
        self.setCurrentSegmentID(segmentIds[0] if segmentIds else "")

    def _onNodeChanged(self, node):
        self._observers.clear()
        if node is not None:
            for event in SEGMENTATION_EVENTS:
                self._observers.add(node.GetSegmentation(), getattr(slicer.vtkSegmentation, event), self._refresh)
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self._refresh()

    def _refresh(self):
        self._refreshing = True
        self._box.clear()
        if self.noneEnabled:
            self._box.addItem("None", "")
        for segmentId in self.segmentIDs():
            self._box.addItem(self.currentNode().GetSegmentation().GetSegment(segmentId).GetName(), segmentId)
        self._refreshing = False
        ids = self.segmentIDs()
        # The first takes the place of one that was deleted, also where there may be none.
        first = "" if not ids or (self.noneEnabled and not self._segment) else ids[0]
        self._select(self._segment if self._segment in ids else first)

    def _select(self, segmentId):
        changed = segmentId != self._segment
        self._segment = segmentId
        self._refreshing = True
        self._box.setCurrentIndex(self._box.findData(segmentId))
        self._refreshing = False
        if changed:
            self.currentSegmentChanged.emit(segmentId)
            self.segmentSelectionChanged.emit(self.selectedSegmentIDs())

    def _onPicked(self, index):
        if not self._refreshing:
            self._select(self._box.itemData(index) or "")


class qMRMLSegmentationShow3DButton(QPushButton):
    """Makes the surfaces of a segmentation and shows them, or takes them away; its menu is not emulated."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._node = None
        self._observers = Observers(self)
        self.setCheckable(True)
        self.clicked.connect(self._onClicked)
        self._refresh()

    def segmentationNode(self):
        return self._node

    def setSegmentationNode(self, node):
        if node is self._node:
            return
        self._node = node
        self._observers.clear()
        if node is not None:
            segmentation = node.GetSegmentation()
            for event in ("SegmentAdded", "SegmentRemoved", "ContainedRepresentationNamesModified"):
                self._observers.add(segmentation, getattr(slicer.vtkSegmentation, event), self._refresh)
        self._refresh()

    def _refresh(self):
        segmentation = self._node.GetSegmentation() if self._node else None
        self.setEnabled(segmentation is not None and segmentation.GetNumberOfSegments() > 0)
        self.setChecked(segmentation is not None and segmentation.ContainsRepresentation("Closed surface"))

    def _onClicked(self, on):
        if on:
            self._node.CreateClosedSurfaceRepresentation()
            self._node.GetDisplayNode().SetVisibility3D(True)
        else:
            self._node.RemoveClosedSurfaceRepresentation()
