"""The modules `qt` and `ctk`, and the widgets of `slicer`, as Slicer's Python sees them."""

from __future__ import annotations

import enum
import sys
import types

import slicer
from PySide6 import QtCore, QtGui, QtWidgets
from shiboken6 import Shiboken

from Testing.Host.enumerators import EnumScope, isEnumeration
from Testing.Host.genericWidgets import isEmulated, widgetClass
from Testing.Host.proxies import proxyClass, wrap
from Testing.Host.uiLoader import QUiLoader


class QtNamespace:
    """`qt.Qt`: `qt.Qt.Checked`, `qt.Qt.CheckState.Checked`."""

    def __getattr__(self, name):
        member = getattr(QtCore.Qt, name)
        if isEnumeration(member):
            return EnumScope(member)
        return wrap(member) if isinstance(member, enum.Enum) else member


class QtModule(types.ModuleType):
    """The module `qt`: all classes of Qt. What only PySide6 has (Signal, Slot, Property) is missing, as it is there."""

    Qt = QtNamespace()
    QUiLoader = proxyClass(QUiLoader)

    def __getattr__(self, name):
        found = None
        if name.lower().startswith("q"):
            found = next((getattr(one, name) for one in (QtCore, QtGui, QtWidgets) if hasattr(one, name)), None)
        if found is None:
            raise AttributeError(f"module 'qt' has no attribute '{name}'")
        if isinstance(found, type) and issubclass(found, Shiboken.Object):
            found = proxyClass(found)
        setattr(self, name, found)
        return found


def _widgetsOf(module: str, *prefixes: str):
    """A module's `__getattr__` that finds the widgets whose names start so."""

    def find(name):
        if not name.startswith(prefixes) or not isEmulated(name):
            raise AttributeError(f"module '{module}' has no attribute '{name}'")
        return proxyClass(widgetClass(name))

    return find


def installQt() -> None:
    """Make `qt`, `ctk`, `PythonQt.QtCore`, `PythonQt.QtGui`, `slicer.qMRML...` and `slicer.qSlicer...` importable."""
    qt = QtModule("qt")
    ctk = types.ModuleType("ctk")
    ctk.__getattr__ = _widgetsOf("ctk", "ctk")
    slicer.__getattr__ = _widgetsOf("slicer", "qMRML", "qSlicer")
    pythonQt = types.ModuleType("PythonQt")
    pythonQt.QtCore = pythonQt.QtGui = qt
    sys.modules |= {"qt": qt, "ctk": ctk, "PythonQt": pythonQt, "PythonQt.QtCore": qt, "PythonQt.QtGui": qt}
