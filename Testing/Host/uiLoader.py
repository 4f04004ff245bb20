"""`qt.QUiLoader`: reads a .ui file with the widgets of Slicer and CTK in it."""

from __future__ import annotations

from xml.etree import ElementTree

from PySide6 import QtCore, QtUiTools, QtWidgets

from Testing.Host.genericWidgets import isEmulated, widgetClass
from Testing.Host.proxies import NamedSlot, wrap
from Testing.Host.signals import connect


class QUiLoader(QtUiTools.QUiLoader):
    """Qt's loader, with a stand-in for every class of Slicer and CTK."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._unknown = []

    def createWidget(self, className, parent=None, name=""):
        """Called by Qt for every widget of the file."""
        if isEmulated(className):
            widget = widgetClass(className)(parent)
            widget.setObjectName(name)
            return widget
        if not hasattr(QtWidgets, className) and className != "Line":
            self._unknown.append(f"{name} ({className})")
        return super().createWidget(className, parent, name)

    def load(self, device, parent=None):
        """The top widget of a .ui file.

        Raises:
            RuntimeError: the file is no .ui file, or names a class that does not exist.
        """
        root = ElementTree.fromstring(bytes(device.readAll()))
        links = self._takeConnections(root)
        buffer = QtCore.QBuffer()
        buffer.setData(ElementTree.tostring(root))
        buffer.open(QtCore.QIODevice.OpenModeFlag.ReadOnly)
        widget = super().load(buffer, parent)
        if self._unknown:
            raise RuntimeError(f"unknown widget classes: {', '.join(self._unknown)}")
        if widget is None:
            raise RuntimeError(self.errorString())
        for sender, signal, receiver, slot in links:
            connect(self._find(widget, sender), signal, NamedSlot(wrap(self._find(widget, receiver)), slot), wrap)
        return widget

    @staticmethod
    def _takeConnections(root: ElementTree.Element) -> list[tuple[str, ...]]:
        """Remove the connections: their signatures hold types that PySide6 does not know, so we make them ourselves."""
        connections = root.find("connections")
        if connections is None:
            return []
        root.remove(connections)
        return [tuple(one.findtext(end) for end in ("sender", "signal", "receiver", "slot")) for one in connections]

    @staticmethod
    def _find(widget: QtWidgets.QWidget, name: str) -> QtCore.QObject:
        found = widget if widget.objectName() == name else widget.findChild(QtCore.QObject, name)
        if found is None:
            raise RuntimeError(f"a connection names {name}, which the file does not hold")
        return found
