"""The test that users run inside Slicer, run here: real MRML, a real worker, and the tiny model that comes along."""

from __future__ import annotations

import sys

import pytest
import slicer

from Testing.Extension.sources import MODULE
from Testing.Host.modules import ScriptedModule

TESTS = ("test_FirstVisit", "test_MasksAndMapsGoIntoTheScene", "test_PanelOpensAndCloses")


@pytest.fixture
def module(application, scene):
    """The module as Slicer loads it."""
    module = ScriptedModule(MODULE / "CFSegmenter.py").load()
    yield module
    module.widget().cleanup()


@pytest.fixture
def selfTest(module):
    """Its test, which says by `said` what it does."""

    class Told(sys.modules["CFSegmenter"].CFSegmenterTest):
        def delayDisplay(self, message, *_, **__):
            said.append(message)

    said: list[str] = []
    test = Told()
    test.said = said
    return test


def testSelfTestPassesInAnEmptySceneAndLeavesNothingBehind(selfTest, scene):
    assert tuple(name for name in dir(selfTest) if name.startswith("test_")) == TESTS
    selfTest.runTest()
    assert len(selfTest.said) == 7  # every step was taken, and none was skipped
    assert not slicer.util.getNodesByClass("vtkMRMLVolumeNode", scene)


def testSelfTestLeavesThePanelThatTheUserHasOpenAtWork(module, selfTest, scene):
    module.enter()
    selfTest.setUp()
    selfTest.test_PanelOpensAndCloses()
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    module.widget().segmentPanel.ui.inputVolumeSelector.setCurrentNode(volume)
    assert module.widget().logic.getParameterNode().inputVolume is volume


def testSelfTestIsSkippedWithAReasonWhereSomethingMustBeInstalledFirst(selfTest, monkeypatch):
    from CFSegmenterUI import dependencies

    missing = dependencies.Missing(torch=True)
    monkeypatch.setattr(dependencies, "findMissing", lambda requirements: missing)
    selfTest.setUp()
    with pytest.raises(Exception, match="still needs torch"):
        selfTest.test_FirstVisit()
    selfTest.runTest()
    assert selfTest.said == [f"test_FirstVisit was skipped: {missing.text}"]
