"""Stand-ins for Slicer's Python files that are not in the wheel, as far as a module uses them.

`slicer.ScriptedLoadableModule`, `slicer.i18n` and `slicer.packaging`; `slicer.parameterNodeWrapper` has its own file.
"""

from __future__ import annotations

import sys
import types
import unittest
from pathlib import Path

import slicer

from Testing.Host import parameterNode

ABOUT_TO_BE_UNLOADED = "moduleAboutToBeUnloaded(QString)"


class ScriptedLoadableModule:
    """What a module tells about itself."""

    def __init__(self, parent):
        self.parent = parent
        self.moduleName = type(self).__name__

    def resourcePath(self, fileName):
        return str(Path(self.parent.path).parent / "Resources" / fileName)

    def getDefaultModuleDocumentationLink(self, docPage=None):
        return ""

    def runTest(self, msec=100, **keywords):
        test = getattr(sys.modules[self.__module__], f"{self.moduleName}Test")()
        test.messageDelay = msec
        test.runTest(**keywords)


class ScriptedLoadableModuleWidget:
    """A module's panel."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Widget")
        self.developerMode = False
        self.parent = self._ownParent() if parent is None else parent
        self.layout = self.parent.layout()
        if parent is None:
            self.setup()
            self.parent.show()
        slicer.app.moduleManager().connect(ABOUT_TO_BE_UNLOADED, self._onModuleAboutToBeUnloaded)

    def resourcePath(self, fileName):
        return str(Path(slicer.util.modulePath(self.moduleName)).parent / "Resources" / fileName)

    def setup(self):
        """Subclasses build their widgets here."""

    def cleanup(self):
        """Subclasses let go of everything here."""

    def setupDeveloperSection(self):
        """There is none."""

    @staticmethod
    def _ownParent():
        import qt

        parent = slicer.qMRMLWidget()
        parent.setLayout(qt.QVBoxLayout())
        parent.setMRMLScene(slicer.mrmlScene)
        return parent

    def _onModuleAboutToBeUnloaded(self, moduleName):
        if moduleName == self.moduleName:
            self.cleanup()
            slicer.app.moduleManager().disconnect(ABOUT_TO_BE_UNLOADED, self._onModuleAboutToBeUnloaded)


class ScriptedLoadableModuleLogic:
    """A module's logic: it finds or makes the module's parameter node."""

    def __init__(self, parent=None):
        self.moduleName = type(self).__name__.removesuffix("Logic")
        self.isSingletonParameterNode = True

    def getAllParameterNodes(self):
        nodes = slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode")
        return [one for one in nodes if one.GetAttribute("ModuleName") == self.moduleName]

    def getParameterNode(self):
        if self.isSingletonParameterNode:
            node = slicer.mrmlScene.GetSingletonNode(self.moduleName, "vtkMRMLScriptedModuleNode")
        else:
            node = next(iter(self.getAllParameterNodes()), None)
        if node is None:
            return slicer.mrmlScene.AddNode(self.createParameterNode())
        node.SetAttribute("ModuleName", self.moduleName)  # closing the scene has cleared it
        return node

    def createParameterNode(self):
        node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
        node.UnRegister(None)
        if self.isSingletonParameterNode:
            node.SetSingletonTag(self.moduleName)
        node.SetAttribute("ModuleName", self.moduleName)
        node.SetName(slicer.mrmlScene.GenerateUniqueName(self.moduleName))
        return node


class ScriptedLoadableModuleTest(unittest.TestCase):
    """A module's test."""

    def delayDisplay(self, message, requestedDelay=None, msec=None):
        slicer.app.processEvents()

    def runTest(self):
        """Run every method whose name holds "test", one after the other."""
        for name in [one for one in dir(self) if "test" in one and one != "runTest"]:
            self.setUp()
            getattr(self, name)()
            self.tearDown()


MODULE_CLASSES = (
    ScriptedLoadableModule,
    ScriptedLoadableModuleWidget,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
)


class Packaging(types.ModuleType):
    """`slicer.packaging`: installs nothing, but remembers in `requests` what it was asked for."""

    def __init__(self):
        super().__init__("slicer.packaging")
        self.requests = []

    def load_requirements(self, path):
        lines = (one.strip() for one in Path(path).read_text(encoding="utf-8").splitlines())
        return [one for one in lines if one and not one.startswith(("#", "-"))]

    def pip_check(self, requirements):
        return True

    def pip_ensure(
        self,
        requirements,
        constraints=None,
        skip_packages=None,
        prompt_install=True,
        prompt_restart=True,
        requester=None,
        skip_in_testing=True,
        show_progress=True,
    ):
        self.requests.append(("ensure", requirements, requester))

    def pip_install(self, requirements, **keywords):
        self.requests.append(("install", requirements, keywords))


def install() -> None:
    """Make the stand-ins importable from `slicer`."""
    scripted = types.ModuleType("slicer.ScriptedLoadableModule")
    scripted.__all__ = [one.__name__ for one in MODULE_CLASSES]
    for class_ in MODULE_CLASSES:
        setattr(scripted, class_.__name__, class_)
    i18n = types.ModuleType("slicer.i18n")
    i18n.tr = lambda text: text
    i18n.translate = lambda context, text: text
    wrapper = types.ModuleType("slicer.parameterNodeWrapper")
    for name in parameterNode.__all__:
        setattr(wrapper, name, getattr(parameterNode, name))
    for module in (scripted, i18n, wrapper, Packaging()):
        sys.modules[module.__name__] = module
        setattr(slicer, module.__name__.removeprefix("slicer."), module)
