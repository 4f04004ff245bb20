"""Stand-in for `slicer.app` as far as it needs no Qt."""

from __future__ import annotations

import tempfile
import types

import slicer

from Testing.Host.fileIo import CoreIOManager


class SceneApplication:
    """What `slicer.util` and the logic of a module ask of `slicer.app`.

    Like Slicer in its tests: testing mode, no main window, and no layout until a test makes one.
    """

    applicationName = "Slicer"
    applicationVersion = "5.12.4"
    majorVersion = 5
    minorVersion = 12

    def __init__(self, logic):
        self._logic = logic
        self._files = CoreIOManager()
        self._folder = tempfile.TemporaryDirectory(prefix="slicer-host-")
        self._layoutManager = None
        self._renderPauses = 0
        self.dataLogics = ()  # of the scene's bundles; held here because nobody else does
        self.temporaryPath = self.slicerHome = self._folder.name

    def applicationLogic(self):
        return self._logic

    def coreIOManager(self):
        return self._files

    ioManager = coreIOManager

    def mrmlScene(self):
        return slicer.mrmlScene

    def layoutManager(self):
        return self._layoutManager

    def setLayoutManager(self, manager):
        """Only here: give the application views (see `views.LayoutManager`), or take them away with None."""
        self._layoutManager = manager

    def testingEnabled(self):
        return True

    def commandOptions(self):
        return types.SimpleNamespace(noMainWindow=True)

    def pauseRender(self):
        self._renderPauses += 1

    def resumeRender(self):
        self._renderPauses -= 1

    def mainWindow(self):
        return None

    def topLevelWidgets(self):
        return ()

    def processEvents(self, *_):
        """Without Qt there are no events."""
