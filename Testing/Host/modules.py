"""Loads a scripted module from its file, as the application does. To be imported after `startApplication()`."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import qt
import slicer

from Testing.Host.proxies import unwrap


class ScriptedModule:
    """`slicer.modules.<name>` of a scripted module: what its Python file describes, and its panel once asked for."""

    def __init__(self, path: Path):
        self.path = str(path)
        self.name = Path(path).stem
        self.title = self.helpText = self.acknowledgementText = ""
        self.categories = []
        self.contributors = []
        self.dependencies = []
        self.icon = None
        self._representation = None
        self._widget = None

    def load(self) -> ScriptedModule:
        """Run the file, and register the module under its name."""
        folder = str(Path(self.path).parent)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        spec = importlib.util.spec_from_file_location(self.name, self.path)
        python = sys.modules[self.name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(python)
        setattr(slicer.modules, self.name.lower(), self)
        setattr(slicer.modules, f"{self.name}Instance", getattr(python, self.name)(self))
        return self

    def logic(self):
        """That of the panel, which Slicer finds as the widget's attribute."""
        return getattr(self.widget(), "logic", None)

    def widgetRepresentation(self):
        """The panel, made at the first call."""
        if self._representation is None:
            self._representation = slicer.qSlicerScriptedLoadableModuleWidget()
            self._representation.setLayout(qt.QVBoxLayout())
            self._representation.setMRMLScene(slicer.mrmlScene)
            unwrap(self._representation).newPython = self._newWidget
            self._representation.reload()
        return self._representation

    def widget(self):
        """The Python object behind the panel."""
        self.widgetRepresentation()
        return self._widget

    def _newWidget(self):
        """The Python object behind the panel, of what the module's file says now."""
        self._widget = getattr(sys.modules[self.name], f"{self.name}Widget")(self._representation)
        setattr(slicer.modules, f"{self.name}Widget", self._widget)
        return self._widget

    def reload(self) -> None:
        """The developer presses *Reload*."""
        slicer.util.reloadScriptedModule(self.name)

    def enter(self) -> None:
        """The user selects the module."""
        unwrap(self.widgetRepresentation()).entered = True
        if hasattr(self._widget, "enter"):
            self._widget.enter()

    def exit(self) -> None:
        """The user selects another module."""
        unwrap(self.widgetRepresentation()).entered = False
        if hasattr(self._widget, "exit"):
            self._widget.exit()

    def unload(self) -> None:
        """The application ends."""
        slicer.app.moduleManager().unload(self.name)
