"""Stand-in for `slicer.app` with Qt."""

from __future__ import annotations

import ctypes
import functools
import os
import sys

import slicer

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

from PySide6 import QtCore, QtWidgets

from Testing.Host.application import SceneApplication
from Testing.Host.proxies import unwrap, wrap
from Testing.Host.qtModule import installQt
from Testing.Host.scene import startScene

if sys.version_info < (3, 12):
    # PySide6 6.12 gives one reference to None, True or False too many away at many calls, which Python before 3.12,
    # where these live for ever, does not survive in a long test run. So they are given enough to give away.
    for single in (None, True, False):
        ctypes.c_ssize_t.from_address(id(single)).value += 1 << 40


class ModuleEvents(QtCore.QObject):
    """The signals of the module manager, and those of the application that Qt's own does not have."""

    lastWindowClosed = QtCore.Signal()
    moduleAboutToBeUnloaded = QtCore.Signal(str)
    moduleLoaded = QtCore.Signal(str)
    startupCompleted = QtCore.Signal()


class ModuleManager:
    """`slicer.app.moduleManager()`."""

    def __init__(self):
        self.events = wrap(ModuleEvents())
        self.connect = self.events.connect
        self.disconnect = self.events.disconnect

    def module(self, name):
        return getattr(slicer.modules, name.lower(), None)

    def unload(self, name):
        """Only here: tell a module's widget that the application is about to end."""
        self.events.moduleAboutToBeUnloaded.emit(name)


class Application(SceneApplication):
    """`slicer.app` of a process with Qt. It takes over logic, files and folder of the application without."""

    def __init__(self, before: SceneApplication, qtApplication: QtWidgets.QApplication):
        self.__dict__.update(before.__dict__)
        self._qt = wrap(qtApplication)
        self._modules = ModuleManager()

    def moduleManager(self):
        return self._modules

    def processEvents(self, *_):
        self._qt.processEvents()

    def topLevelWidgets(self):
        return self._qt.topLevelWidgets()

    def translate(self, context, text):
        return text

    def thread(self):
        return self._qt.thread()

    def settings(self):
        return sys.modules["qt"].QSettings()

    userSettings = settings

    def startupEnvironment(self):
        return sys.modules["qt"].QProcessEnvironment.systemEnvironment()

    def connect(self, signature, slot):
        return self._senderOf(signature).connect(signature, slot)

    def disconnect(self, signature, slot=None):
        return self._senderOf(signature).disconnect(signature, slot)

    def setOverrideCursor(self, cursor):
        self._qt.setOverrideCursor(cursor)

    def restoreOverrideCursor(self):
        self._qt.restoreOverrideCursor()

    def moduleDocumentationUrl(self, name):
        return "https://slicer.readthedocs.io/"

    def _senderOf(self, signature):
        return self._modules.events if signature.startswith("startupCompleted") else self._qt


@functools.cache
def startApplication() -> Application:
    """Give `slicer` its application with Qt, once in a process; a scene that was started before stays the same.

    Afterwards `qt`, `ctk` and the widgets of `slicer` can be imported.
    """
    startScene()
    qtApplication = QtWidgets.QApplication.instance() or QtWidgets.QApplication(["slicer-host", "-style", "fusion"])
    qtApplication.setQuitOnLastWindowClosed(False)
    qtApplication.setOrganizationName("CFSegmenter")
    qtApplication.setApplicationName("slicer-host")
    ini, user = QtCore.QSettings.Format.IniFormat, QtCore.QSettings.Scope.UserScope
    QtCore.QSettings.setDefaultFormat(ini)
    QtCore.QSettings.setPath(ini, user, slicer.app.temporaryPath)
    slicer.app = Application(slicer.app, qtApplication)
    installQt()
    return slicer.app


def saveScreenshot(widget, path, width: int | None = None, height: int | None = None) -> None:
    """Write a picture of a widget as it would look on the screen; it is shown for that."""
    shown = unwrap(widget)
    if width and height:
        shown.resize(width, height)
    shown.show()
    QtWidgets.QApplication.processEvents()
    shown.grab().save(str(path))
