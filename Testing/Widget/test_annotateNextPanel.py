"""The panel "annotate next" on a real session; the worker's answers are given by the test."""

import numpy as np
import pytest
import slicer
from CFSegmenterUI import maps, taughtCase

from Testing.Widget.answeredWorker import click, clickRow, newParameterNode, rowTexts
from Testing.Widget.teachFixtures import (
    CASES,
    SHAPE,
    aCase,
    asked,
    isAsked,
    link,
    node,
    openCases,
    segmentation,
    session,
    teach,
    user,
    volume,
)

__all__ = ["link", "node", "segmentation", "session", "teach", "user", "volume"]


@pytest.fixture
def volumes(volume):
    """Three scans: CT, MR and PET."""
    others = [slicer.util.addVolumeFromArray(np.zeros(SHAPE[::-1], np.int16), name=name) for name in ("MR", "PET")]
    return [volume, *others]


@pytest.fixture
def panel(teach, node, volumes):
    panel = teach.nextPanel
    panel.ui.nextCollapsibleButton.collapsed = False
    return panel


def answer(link, margin, encodes=True):
    if encodes:
        asked(link, "encode").answer({"protocol_name": "abdomen CT"})
    asked(link, "doubt").answer({"margin": margin})


def ranked(panel):
    return [(row[0], row[1]) for row in rowTexts(panel.ui.nextTable)]


def testVolumesAreRankedByMarginTheLeastFirst(panel, link):
    click(panel.ui.rankButton)
    for margin in (0.6, 0.2, 0.4):
        answer(link, margin)
    assert ranked(panel) == [("MR", "0.20"), ("PET", "0.40"), ("CT", "0.60")]
    assert panel.ui.rankButton.text == "Rank volumes"
    assert not panel.ui.progressBar.visible


def testProgressIsThatOfTheWholeRun(panel, link):
    click(panel.ui.rankButton)
    assert panel.ui.rankButton.text == "Cancel"
    answer(link, 0.5)
    asked(link, "encode").tell(2, 4, "window 2 of 4")
    assert panel.ui.progressBar.value / panel.ui.progressBar.maximum == pytest.approx(0.5)
    assert panel.ui.statusLabel.text == "Looking at MR"


def testCancelKeepsWhatIsKnown(panel, link):
    click(panel.ui.rankButton)
    answer(link, 0.5)
    click(panel.ui.rankButton)
    question = asked(link, "encode")
    assert question.isCancelled
    question.giveUp()
    assert ranked(panel) == [("CT", "0.50")]
    assert panel.ui.statusLabel.text == "Cancelled."
    click(panel.ui.rankButton)
    answer(link, 0.1)
    assert ranked(panel) == [("MR", "0.10"), ("CT", "0.50")], "what is known is not asked again"


def testCasesMapsAndLabelMapsAreNotAsked(panel, teach, node, link, volumes):
    openCases(teach, node, link, aCase(1))
    taughtCase.markAsCase(volumes[0], 1, CASES)
    taughtCase.markAsCase(volumes[1], 9, CASES)  # a case that was withdrawn
    maps.writeMap(volumes[1], np.zeros(SHAPE, np.float32), "liver", "similarity")
    click(panel.ui.rankButton)
    answer(link, 0.5)
    answer(link, 0.4)
    assert ranked(panel) == [("PET", "0.40"), ("MR", "0.50")]
    assert not isAsked(link, "encode")


def testAVolumeThatBecomesACaseLeavesTheList(panel, teach, node, link, volumes):
    openCases(teach, node, link)
    click(panel.ui.rankButton)
    for margin in (0.6, 0.2, 0.4):
        answer(link, margin)
    taughtCase.markAsCase(volumes[1], 1, CASES)
    teach.teaching.openCases(CASES)
    asked(link, "cases").answer({"cases": [aCase(1)]})
    assert [name for name, _margin in ranked(panel)] == ["PET", "CT"]


def testAVolumeThatTheModelCannotReadDoesNotStopTheOthers(panel, link):
    click(panel.ui.rankButton)
    answer(link, 0.6)
    asked(link, "encode").refuse("The model does not read PET.")
    answer(link, 0.4)
    assert ranked(panel) == [("PET", "0.40"), ("CT", "0.60")]
    assert panel.ui.statusLabel.text == "MR: The model does not read PET."


def testWithoutAWorkerTheOthersAreNotTried(panel, link):
    click(panel.ui.rankButton)
    link.isRunning = False
    asked(link, "encode").refuse("The worker could not be started.")
    assert panel.ui.statusLabel.text == "CT: The worker could not be started."
    assert not isAsked(link, "encode")


def testAVolumeRemovedMeanwhileIsPassedOver(panel, link, scene, volumes):
    click(panel.ui.rankButton)
    scene.RemoveNode(volumes[1])
    answer(link, 0.6)
    answer(link, 0.4)
    assert ranked(panel) == [("PET", "0.40"), ("CT", "0.60")]


def testADoubleClickShowsTheVolumeAndChoosesIt(panel, node, link, scene, volumes):
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    click(panel.ui.rankButton)
    for margin in (0.6, 0.2, 0.4):
        answer(link, margin)
    clickRow(panel.ui.nextTable, 0, double=True)
    assert composite.GetBackgroundVolumeID() == volumes[1].GetID()
    assert node.inputVolume is volumes[1]


def testWhileSomethingElseIsAtWorkTheButtonSaysSo(panel, teach, node, link, volumes):
    teach.teaching.session.segment(volumes[0], ["liver"], None, optionsOf(teach, node))
    assert not panel.ui.rankButton.enabled
    assert "busy" in panel.ui.rankButton.toolTip


def testAnotherModelIsAskedAnew(panel, teach, node, link):
    click(panel.ui.rankButton)
    for margin in (0.6, 0.2, 0.4):
        answer(link, margin)
    node.device = "cpu"
    click(panel.ui.rankButton)
    assert asked(link, "encode").message["device"] == "cpu"
    assert ranked(panel) == []


def testAClosedSceneLeavesNothingInTheList(panel, teach, link, scene):
    click(panel.ui.rankButton)
    for margin in (0.6, 0.2, 0.4):
        answer(link, margin)
    teach.setParameterNode(None)
    scene.Clear(0)
    assert ranked(panel) == []


def testMarginsAreNotThoseOfVolumesWithTheSameIDsInTheSceneThatIsLoadedNext(panel, link, scene, tmp_path, process):
    click(panel.ui.rankButton)
    for margin in (0.6, 0.2, 0.4):
        answer(link, margin)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    assert slicer.app.ioManager().loadScene(str(tmp_path / "scene.mrb"))  # closes the one that there is
    process()
    assert ranked(panel) == []


def testAVolumeThatGetsItsVoxelsAfterItWasAddedCanBeRanked(teach, session, scene, process):
    panel = teach.nextPanel
    teach.setParameterNode(newParameterNode())
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CT")
    slicer.util.updateVolumeFromArray(volume, np.zeros(SHAPE[::-1], np.int16))
    process()
    assert panel.ui.rankButton.enabled


def testVolumesThatAreLoadedTogetherCanBeRanked(teach, session, scene, process):
    panel = teach.nextPanel
    teach.setParameterNode(newParameterNode())
    assert "load some" in panel.ui.rankButton.toolTip
    scene.StartState(scene.BatchProcessState)
    for name in ("CT", "MR"):
        slicer.util.addVolumeFromArray(np.zeros(SHAPE[::-1], np.int16), name=name)
    scene.EndState(scene.BatchProcessState)
    process()
    assert panel.ui.rankButton.enabled


def optionsOf(teach, node):
    from CFSegmenterUI.session import RunOptions

    return RunOptions(teach.teaching.session.modelAt(node.model).folder)
