"""Stand-in for qMRMLNodeComboBox: lists the nodes of a real scene.

Which node is current when rows come and go is Qt's decision, as in Slicer, and so it is another one than the user's at
times: the first node where there was none and "None" is no choice, a neighbour of a node that is deleted, and the first
node or "None" after a scene was loaded or closed, since all rows are made anew then.
"""

from __future__ import annotations

import vtk
from PySide6.QtCore import Property, QObject, Signal
from PySide6.QtWidgets import QComboBox, QVBoxLayout, QWidget

from Testing.Host.observers import Observers


def setting(type_, name: str, first):
    """A stored property and its setter; a change lists the nodes anew."""
    key = f"_setting_{name}"

    def read(self):
        return self.__dict__.get(key, first)

    def write(self, value):
        if value != read(self):
            self.__dict__[key] = value
            self._refresh()

    return Property(type_, read, write), write


class qMRMLSortFilterProxyModel(QObject):
    """What decides which nodes a selector, its parent, lists."""

    hiddenNodeIDs, setHiddenNodeIDs = setting("QStringList", "hiddenNodeIDs", [])

    def _refresh(self):
        self.parent()._refresh()


class qMRMLNodeComboBox(QWidget):
    """Chooses a node of certain classes."""

    currentNodeChanged = Signal((object,), (bool,))
    currentNodeIDChanged = Signal(str)
    currentNodeRenamed = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUser = Signal(object)
    nodeAboutToBeRemoved = Signal(object)
    nodeAboutToBeEdited = Signal(object)

    addEnabled, setAddEnabled = setting(bool, "addEnabled", True)
    baseName, setBaseName = setting(str, "baseName", "")
    hideChildNodeTypes, setHideChildNodeTypes = setting("QStringList", "hideChildNodeTypes", [])
    nodeTypes, setNodeTypes = setting("QStringList", "nodeTypes", [])
    noneDisplay, setNoneDisplay = setting(str, "noneDisplay", "None")
    noneEnabled, setNoneEnabled = setting(bool, "noneEnabled", False)
    removeEnabled, setRemoveEnabled = setting(bool, "removeEnabled", True)
    selectNodeUponCreation, setSelectNodeUponCreation = setting(bool, "selectNodeUponCreation", True)
    showChildNodeTypes, setShowChildNodeTypes = setting(bool, "showChildNodeTypes", True)
    showHidden, setShowHidden = setting(bool, "showHidden", False)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None
        self._attributes = []
        self._proxyModel = qMRMLSortFilterProxyModel(self)
        self._current = ""
        self._isSwitching = False
        self._sceneObservers = Observers(self)
        self._nodeObservers = Observers(self)
        self._box = QComboBox(self)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._box)
        self._box.currentIndexChanged.connect(self._tell)
        self._box.activated.connect(self._onActivated)

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is self._scene:
            return
        self._scene = scene
        self._sceneObservers.clear()
        if scene is not None:
            self._sceneObservers.addWithNode(scene, scene.NodeAddedEvent, self._onNodeAdded)
            self._sceneObservers.addWithNode(scene, scene.NodeAboutToBeRemovedEvent, self._onNodeAboutToBeRemoved)
            for event in (scene.EndImportEvent, scene.EndCloseEvent):
                self._sceneObservers.add(scene, event, self._makeRowsAnew)
        self._isSwitching = True
        self._makeRowsAnew()
        self._isSwitching = False
        self._tell()

    # The chosen node

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node):
        """Choose a node (or its ID); None, or one that is not listed, chooses nothing."""
        nodeId = node if isinstance(node, str) else node.GetID() if node else ""
        row = self._box.findData(nodeId) if nodeId in self._ids else -1
        self._box.setCurrentIndex(row if row >= 0 else self._firstRow - 1)

    def getCurrentNodeID(self):
        return self._current

    def setCurrentNodeID(self, nodeId):
        self.setCurrentNode(nodeId)

    currentNodeID = Property(str, getCurrentNodeID, setCurrentNodeID)
    currentNodeId = Property(str, getCurrentNodeID, setCurrentNodeID)

    def setCurrentNodeIndex(self, index):
        self._box.setCurrentIndex(self._firstRow + index)

    # The listed nodes

    def nodeCount(self):
        return len(self._ids)

    def nodeFromIndex(self, index):
        return self._scene.GetNodeByID(self._ids[index]) if 0 <= index < len(self._ids) else None

    def sortFilterProxyModel(self):
        return self._proxyModel

    def addAttribute(self, nodeType, name, value=None):
        """List nodes of this class only when they have the attribute (with this value)."""
        self._attributes.append((nodeType, name, value))
        self._refresh()

    def removeAttribute(self, nodeType, name):
        self._attributes = [one for one in self._attributes if one[:2] != (nodeType, name)]
        self._refresh()

    # What the user does by its menu

    def addNode(self, nodeType=None):
        className = nodeType or self.nodeTypes[0]
        base = self.baseName or className.removeprefix("vtkMRML").removesuffix("Node")
        node = self._scene.AddNewNodeByClass(className, self._scene.GenerateUniqueName(base))
        for wanted, name, value in self._attributes:
            if node.IsA(wanted):
                node.SetAttribute(name, "" if value is None else str(value))
        self._refresh()
        if self.selectNodeUponCreation:
            self.setCurrentNode(node)
        self.nodeAddedByUser.emit(node)
        return node

    def removeCurrentNode(self):
        if self.currentNode():
            self._scene.RemoveNode(self.currentNode())

    # Inside

    def _isListed(self, node) -> bool:
        if node is None or (node.GetHideFromEditors() and not self.showHidden):
            return False
        if node.GetID() in self._proxyModel.hiddenNodeIDs:
            return False
        className = node.GetClassName()
        exact = className in self.nodeTypes
        derived = self.showChildNodeTypes and any(node.IsA(one) for one in self.nodeTypes)
        if not (exact or derived) or className in self.hideChildNodeTypes:
            return False
        return all(self._matches(node, *one) for one in self._attributes)

    @staticmethod
    def _matches(node, nodeType, name, value) -> bool:
        if not node.IsA(nodeType):
            return True
        found = node.GetAttribute(name)
        return found is not None and (value is None or found == str(value))

    @property
    def _firstRow(self) -> int:
        """Of the nodes: "None" stands before them."""
        return 1 if self._box.count() and self._box.itemData(0) == "" else 0

    @property
    def _ids(self) -> list[str]:
        return [self._box.itemData(row) for row in range(self._firstRow, self._box.count())]

    def _listed(self) -> list:
        scene = self._scene
        nodes = [scene.GetNthNode(i) for i in range(scene.GetNumberOfNodes())] if scene else []
        return [one for one in nodes if self._isListed(one)]

    def _makeRowsAnew(self):
        self._box.model().removeRows(self._firstRow, self._box.count() - self._firstRow)
        self._refresh()

    def _refresh(self):
        """Take out the rows that are not to be listed any more, and put in those that are missing."""
        if self.noneEnabled != bool(self._firstRow):
            if self.noneEnabled:
                self._box.insertItem(0, self.noneDisplay, "")
            else:
                self._box.removeItem(0)
        nodes = self._listed()
        wanted = [one.GetID() for one in nodes]
        for nodeId in [one for one in self._ids if one not in wanted]:
            self._box.removeItem(self._box.findData(nodeId))
        for number, node in enumerate(nodes):
            if node.GetID() not in self._ids:
                self._box.insertItem(self._firstRow + number, node.GetName(), node.GetID())
        self._nodeObservers.clear()
        for node in nodes:
            self._nodeObservers.add(node, vtk.vtkCommand.ModifiedEvent, self._onNodeModified)

    def _tell(self):
        """Say which node is current, where that is another one than before."""
        nodeId = self._box.currentData() or ""
        if self._isSwitching or nodeId == self._current:
            return
        self._current = nodeId
        node = self.currentNode()
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(nodeId)

    def _onActivated(self, index):
        self.nodeActivated.emit(self.currentNode())

    def _onNodeAdded(self, node):
        if self._isListed(node) and not self._scene.IsImporting():
            self._refresh()
            self.nodeAdded.emit(node)

    def _onNodeAboutToBeRemoved(self, node):
        if node is not None and node.GetID() in self._ids and not self._scene.IsClosing():
            self.nodeAboutToBeRemoved.emit(node)
            self._box.removeItem(self._box.findData(node.GetID()))

    def _onNodeModified(self):
        for nodeId in self._ids:
            node = self._scene.GetNodeByID(nodeId)
            index = self._box.findData(nodeId)
            if node is not None and self._box.itemText(index) != node.GetName():
                self._box.setItemText(index, node.GetName())
                if nodeId == self._current:
                    self.currentNodeRenamed.emit(node.GetName())
