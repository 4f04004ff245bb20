"""The inspect panel on a real scene and a real session; the worker's answers are given by the test."""

import numpy as np
import pytest
import slicer
import vtk
from CFSegmenterUI import maps
from CFSegmenterUI.inspectPanel import InspectPanel
from CFSegmenterUI.probePoint import SETTLE_MILLISECONDS
from CFSegmenterUI.session import Session
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QComboBox, QSlider
from vtk.util.numpy_support import vtk_to_numpy

from CFSegmenterLib.structures import Vocabulary
from Testing.Host.proxies import unwrap
from Testing.Widget.answeredWorker import Link, click, clickRow, manifest, newParameterNode, openPanel, rowTexts

SHAPE = (6, 5, 4)
HIGH = (slice(0, 2), slice(0, 3), slice(0, 4))
"""24 voxels that resemble what is asked for."""
QUERY = {"embedding": np.ones(8, np.float32), "vector": np.ones(32, np.float32)}
RANKED = [["liver", 0.83], ["spleen", 0.11], ["background", -0.2]]


@pytest.fixture
def link():
    return Link()


@pytest.fixture
def session(scene, link):
    return Session(scene, link, Vocabulary.load())


@pytest.fixture
def volume(scene):
    return addVolume("CT")


@pytest.fixture
def sliceViews(scene):
    """Two slice views, one of which shows something of the user's."""
    views = [scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(2)]
    mine = addVolume("mine")
    views[0].SetBackgroundVolumeID(mine.GetID())
    views[0].SetForegroundOpacity(0.25)
    return views


@pytest.fixture
def panel(session, sliceViews):
    panel = openPanel(InspectPanel, session)
    panel.session = session
    yield panel
    panel.cleanup()


@pytest.fixture
def ready(panel, session, link, volume):
    """The panel with a model and a volume."""
    learnModels(session, link)
    node = newParameterNode()
    node.inputVolume = volume
    panel.setParameterNode(node)
    panel.node = node
    return panel


def addVolume(name):
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE[::-1])
    return slicer.util.addVolumeFromArray(array, name=name)


def learnModels(session, link):
    session.refreshModels()
    link.last.answer({"models": [{"folder": "/models/general", "manifest": manifest()}]})
    link.questions.clear()


def similarities():
    array = np.full(SHAPE, -0.5, np.float32)
    array[HIGH] = 0.8
    return array


def encoded(link):
    assert link.last.verb == "encode"
    link.last.answer({"protocol_name": "abdomen CT"})


def answerMap(link, array=None, **message):
    """Let the worker encode where it was asked to, and answer with a map."""
    if link.last.verb == "encode":
        encoded(link)
    link.last.answer(message, {"map": similarities() if array is None else array})


def showMapOf(panel, link, name):
    panel.ui.classComboBox.currentText = name
    click(panel.ui.showMapButton)
    answerMap(link)


def listed(panel):
    return [panel.ui.mapList.item(row).text() for row in range(panel.ui.mapList.count)]


def shownIn(view, scene):
    return scene.GetNodeByID(view.GetForegroundVolumeID() or "")


def setSlider(widget, steps):
    """Press the arrow keys on the slider inside a ctkSliderWidget."""
    slider = unwrap(widget).findChild(QSlider)
    for _ in range(abs(steps)):
        QTest.keyClick(slider, Qt.Key.Key_Right if steps > 0 else Qt.Key.Key_Left)


def place(panel, process, ras):
    """What a slice view does when the user clicks into it in place mode, then what the panel does."""
    node = panel.node.probePoint
    node.AddControlPoint(*ras)
    interaction = slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    interaction.SetCurrentInteractionMode(interaction.ViewTransform)
    process(until=lambda: panel.session.busy)


# What is asked, and what is seen of it


def testSaysWhyNothingCanBeAsked(panel, session, link, volume):
    def reason():
        assert not panel.ui.showMapButton.enabled
        assert not panel.ui.placeButton.enabled
        assert panel.ui.reasonLabel.visible
        return panel.ui.reasonLabel.text

    node = newParameterNode()
    panel.setParameterNode(node)
    assert "No model" in reason()
    learnModels(session, link)
    assert "No volume" in reason()
    node.inputVolume = volume
    assert not panel.ui.reasonLabel.visible
    assert panel.ui.showMapButton.enabled


def testMapLiesOverTheVolumeInEverySliceView(ready, link, volume, sliceViews, scene):
    showMapOf(ready, link, "spleen")
    assert link.last.message["structure"] == "spleen"
    assert listed(ready) == ["spleen"]
    mapNode = shownIn(sliceViews[0], scene)
    assert mapNode is maps.mapsOf(volume)[0]
    for view in sliceViews:
        assert view.GetBackgroundVolumeID() == volume.GetID()
        assert view.GetForegroundVolumeID() == mapNode.GetID()
        assert view.GetForegroundOpacity() == 0.5
    assert ready.node.mapStructure == "spleen"


def testProgressIsShownAndCancelEndsIt(ready, link, sliceViews, scene):
    assert not ready.ui.cancelButton.visible
    click(ready.ui.showMapButton)
    assert not ready.ui.showMapButton.enabled
    link.last.tell(12, 120, "window 12 of 120", 40.0)
    assert "window 12 of 120" in ready.ui.statusLabel.text
    assert "40 s left" in ready.ui.statusLabel.text
    assert (ready.ui.progressBar.value, ready.ui.progressBar.maximum) == (12, 120)
    click(ready.ui.cancelButton)
    assert link.last.isCancelled
    link.last.giveUp()
    assert "Cancelled" in ready.ui.statusLabel.text
    assert not ready.ui.cancelButton.visible
    assert ready.ui.showMapButton.enabled
    assert listed(ready) == []


def testFailureIsOneSentence(ready, link):
    click(ready.ui.showMapButton)
    link.last.refuse("There is too little memory for this volume.")
    assert ready.ui.statusLabel.text == "There is too little memory for this volume."
    assert ready.ui.showMapButton.enabled


def testOpacitySliderChangesTheViews(ready, link, sliceViews):
    showMapOf(ready, link, "liver")
    before = sliceViews[1].GetForegroundOpacity()
    setSlider(ready.ui.opacitySlider, -20)
    assert sliceViews[1].GetForegroundOpacity() == pytest.approx(ready.ui.opacitySlider.value) != before
    assert ready.node.mapOpacity == pytest.approx(ready.ui.opacitySlider.value)


def testThresholdSliderMovesWhatIsShownOfTheMap(ready, link, volume):
    showMapOf(ready, link, "liver")
    display = maps.mapsOf(volume)[0].GetDisplayNode()
    assert display.GetApplyThreshold()
    assert display.GetLowerThreshold() == pytest.approx(0.3)
    setSlider(ready.ui.thresholdSlider, 10)
    assert display.GetLowerThreshold() == pytest.approx(ready.ui.thresholdSlider.value) != pytest.approx(0.3)
    ready.node.threshold = -1.0
    assert not display.GetApplyThreshold()


def testSegmentIsMadeAtTheThreshold(ready, link, volume):
    from CFSegmenterUI.segmentations import maskOf

    showMapOf(ready, link, "liver")
    click(ready.ui.segmentButton)
    node = ready.node.outputSegmentation
    identities = node.GetSegmentation().GetSegmentIDs()
    assert len(identities) == 1
    assert node.GetSegmentation().GetSegment(identities[0]).GetName() == "liver from 0.30"
    assert np.array_equal(maskOf(node, identities[0], volume), similarities() >= 0.3)
    assert "liver from 0.30" in ready.ui.statusLabel.text


def testSegmentNamesTheModelThatMadeTheMapNotTheOneChosenSince(ready, link, session):
    own = {"folder": "/models/own", "manifest": manifest("own", "7")}
    showMapOf(ready, link, "liver")
    session.refreshModels()
    link.last.answer({"models": [{"folder": "/models/general", "manifest": manifest()}, own]})
    ready.node.model = own["folder"]
    click(ready.ui.segmentButton)
    showMapOf(ready, link, "spleen")
    click(ready.ui.segmentButton)
    segmentation = ready.node.outputSegmentation.GetSegmentation()
    made = {}
    for segment in (segmentation.GetNthSegment(number) for number in range(2)):
        model, version = vtk.reference(""), vtk.reference("")
        assert segment.GetTag("CFSegmenter.Model", model) and segment.GetTag("CFSegmenter.Version", version)
        made[segment.GetName()] = str(model), str(version)
    assert made == {"liver from 0.30": ("general", "1"), "spleen from 0.30": ("own", "7")}


def testThresholdThatNothingReachesLeavesNoSegmentation(ready, link, scene):
    showMapOf(ready, link, "liver")
    ready.node.threshold = 0.95
    click(ready.ui.segmentButton)
    assert "0.95" in ready.ui.statusLabel.text
    assert scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
    assert ready.node.outputSegmentation is None


def testLegendIsShownWithTheMapUnlessItIsUnchecked(ready, link, volume):
    logic = slicer.modules.colors.logic()
    showMapOf(ready, link, "liver")
    legend = logic.GetColorLegendDisplayNode(maps.mapsOf(volume)[0])
    assert legend.GetVisibility()
    click(ready.ui.legendCheckBox)
    assert not legend.GetVisibility()
    click(ready.ui.legendCheckBox)
    assert legend.GetVisibility()
    click(ready.ui.restoreButton)
    assert not legend.GetVisibility()


def testBestClassAndMarginHaveNoThreshold(ready, link, volume):
    click(ready.ui.marginButton)
    answerMap(link, np.full(SHAPE, 0.5, np.float32))
    assert link.last.verb == "margin"
    assert not ready.ui.thresholdSlider.enabled
    assert not ready.ui.segmentButton.enabled
    click(ready.ui.bestButton)
    answerMap(link, np.ones(SHAPE, np.int16), names=["background", "liver", "spleen"])
    assert link.last.verb == "best"
    assert len(listed(ready)) == 2
    assert {maps.kindOf(mapNode) for mapNode in maps.mapsOf(volume)} == {"margin", "best"}
    assert not ready.ui.thresholdSlider.enabled


def testEarlierMapIsShownAgainByAClick(ready, link, volume, sliceViews, scene):
    showMapOf(ready, link, "liver")
    showMapOf(ready, link, "spleen")
    assert maps.titleOf(shownIn(sliceViews[0], scene)) == "spleen"
    clickRow(ready.ui.mapList, listed(ready).index("liver"))
    assert maps.titleOf(shownIn(sliceViews[0], scene)) == "liver"
    assert [item.text() for item in ready.ui.mapList.selectedItems()] == ["liver"]
    assert len(link.questions) == 3  # it was not asked for again


def testRestoreViewsGivesBackWhatTheUserHad(ready, link, sliceViews, scene):
    assert not ready.ui.restoreButton.enabled
    showMapOf(ready, link, "liver")
    showMapOf(ready, link, "spleen")
    click(ready.ui.restoreButton)
    assert scene.GetNodeByID(sliceViews[0].GetBackgroundVolumeID()).GetName() == "mine"
    assert sliceViews[0].GetForegroundOpacity() == 0.25
    assert shownIn(sliceViews[0], scene) is None
    assert not ready.ui.mapList.selectedItems()
    assert not ready.ui.restoreButton.enabled
    assert len(listed(ready)) == 2


def testMapThatTheUserDeletesLeavesTheViews(ready, link, sliceViews, volume, scene):
    showMapOf(ready, link, "liver")
    scene.RemoveNode(maps.mapsOf(volume)[0])
    assert listed(ready) == []
    assert shownIn(sliceViews[0], scene) is None
    assert not ready.ui.segmentButton.enabled


def testAnswerIsNotLaidOverAnotherVolume(ready, link, sliceViews, volume, scene):
    click(ready.ui.showMapButton)
    ready.node.inputVolume = addVolume("another")
    answerMap(link)
    assert shownIn(sliceViews[0], scene) is None
    assert listed(ready) == []  # of this volume
    ready.node.inputVolume = volume
    assert len(listed(ready)) == 1


def testVolumeRemovedMeanwhileIsSaid(ready, link, volume, scene):
    click(ready.ui.showMapButton)
    scene.RemoveNode(volume)
    answerMap(link)
    assert maps.mapsIn(scene) == []
    assert ready.ui.statusLabel.text == "The volume was removed while it was being worked on."
    assert "No volume" in ready.ui.reasonLabel.text
    assert not ready.ui.cancelButton.visible


def testMapOfAScanThatWasDeletedLeavesTheViewsAndThePanelGoesOn(ready, link, sliceViews, volume, scene):
    showMapOf(ready, link, "liver")
    ready.setParameterNode(None)  # the user deletes it under Data
    scene.RemoveNode(volume)
    ready.setParameterNode(newParameterNode())
    assert shownIn(sliceViews[0], scene) is None
    assert not ready.ui.restoreButton.enabled
    assert "No volume" in ready.ui.reasonLabel.text


def testMapOfAScanThatIsDeletedWhileItIsInspectedLeavesTheViews(ready, link, sliceViews, volume, scene):
    showMapOf(ready, link, "liver")
    scene.RemoveNode(volume)
    assert ready.node.shownMap is None
    assert shownIn(sliceViews[0], scene) is None


def testModelThatIsGoneIsSaid(ready):
    ready.node.model = "/home/me/deleted"
    assert "not in /home/me/deleted any more" in ready.ui.reasonLabel.text
    assert not ready.ui.showMapButton.enabled


# A map of one frame


@pytest.fixture
def cine(ready, scene):
    """A sequence of two frames, as the volume that is inspected; the first one is shown."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    frame = addVolume("cine")
    for index in ("0", "1"):
        sequence.SetDataNodeAtValue(frame, index)
    scene.RemoveNode(frame)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    ready.node.inputVolume = browser.GetProxyNode(sequence)
    return ready.node.inputVolume


def showFrame(cine, number):
    """Move the sequence slider, as the user does."""
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(cine)
    browser.SetSelectedItemNumber(number)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)


def testMapOfOneFrameIsHiddenOverAnotherAndSaysWhy(ready, link, cine, sliceViews, scene):
    showMapOf(ready, link, "liver")
    mapNode = shownIn(sliceViews[0], scene)
    legend = slicer.modules.colors.logic().GetColorLegendDisplayNode(mapNode)
    assert not ready.ui.hiddenLabel.visible
    showFrame(cine, 1)
    assert [shownIn(view, scene) for view in sliceViews] == [None, None]
    assert ready.ui.hiddenLabel.visible
    assert "made of frame 1 and is hidden" in ready.ui.hiddenLabel.text
    assert not ready.ui.segmentButton.enabled, "it would be a segment of the wrong frame"
    assert not legend.GetVisibility()
    setSlider(ready.ui.opacitySlider, -20)
    showFrame(cine, 0)
    assert [shownIn(view, scene) for view in sliceViews] == [mapNode, mapNode]
    assert sliceViews[0].GetForegroundOpacity() == pytest.approx(ready.ui.opacitySlider.value) != 0.5
    assert not ready.ui.hiddenLabel.visible
    assert ready.ui.segmentButton.enabled
    assert legend.GetVisibility()


def testLabelsOfOneFrameAreHiddenOverAnotherToo(ready, link, cine, sliceViews):
    click(ready.ui.bestButton)
    answerMap(link, np.ones(SHAPE, np.int16), names=["background", "liver", "spleen"])
    assert sliceViews[0].GetLabelVolumeID()
    showFrame(cine, 1)
    assert not sliceViews[0].GetLabelVolumeID()


def testMapOfOneFrameIsHiddenOverAnotherWhileAnotherModuleIsOpen(ready, link, cine, sliceViews, scene):
    showMapOf(ready, link, "liver")
    mapNode = shownIn(sliceViews[0], scene)
    ready.setParameterNode(None)
    showFrame(cine, 1)
    assert shownIn(sliceViews[0], scene) is None
    showFrame(cine, 0)
    assert shownIn(sliceViews[0], scene) is mapNode
    showFrame(cine, 1)
    scene.RemoveNode(mapNode)
    showFrame(cine, 0)
    assert shownIn(sliceViews[0], scene) is None


def testMapOfTheFrameThatIsShownTakesThePlaceOfAnothers(ready, link, cine, sliceViews, scene):
    showMapOf(ready, link, "liver")
    showMapOf(ready, link, "spleen")
    showFrame(cine, 1)
    clickRow(ready.ui.mapList, listed(ready).index("liver"))
    assert shownIn(sliceViews[0], scene) is None
    assert ready.ui.hiddenLabel.visible
    showMapOf(ready, link, "spleen")
    assert maps.titleOf(shownIn(sliceViews[0], scene)) == "spleen"
    assert not ready.ui.hiddenLabel.visible
    showFrame(cine, 0)
    assert shownIn(sliceViews[0], scene) is None
    click(ready.ui.restoreButton)
    assert scene.GetNodeByID(sliceViews[0].GetBackgroundVolumeID()).GetName() == "mine"
    assert not ready.ui.hiddenLabel.visible
    showFrame(cine, 1)
    assert shownIn(sliceViews[0], scene) is None


# The probe


def testPlacedPointIsRanked(ready, link, process, scene):
    click(ready.ui.placeButton)
    interaction = scene.GetNodeByID("vtkMRMLInteractionNodeSingleton")
    assert interaction.GetCurrentInteractionMode() == interaction.Place
    assert scene.GetNodeByID("vtkMRMLSelectionNodeSingleton").GetActivePlaceNodeID() == ready.node.probePoint.GetID()
    assert ready.ui.placeButton.checked
    place(ready, process, (1, 2, 3))
    assert not ready.ui.placeButton.checked
    encoded(link)
    assert link.last.verb == "probe"
    assert link.last.message["ras"] == [1, 2, 3]
    link.last.answer({"ranked": RANKED}, QUERY)
    rows = [["liver", "0.83", ""], ["spleen", "0.11", ""], ["background", "-0.20", ""]]
    assert rowTexts(ready.ui.rankingTable) == rows
    bars = [ready.ui.rankingTable.cellWidget(row, 2).value for row in range(3)]
    assert bars == [83, 11, 0]
    assert ready.node.probePoint.GetNthControlPointLabel(0) == "liver 0.83"


def testMovedPointIsAskedAboutAgainAndReplacedPointGoes(ready, link, process):
    click(ready.ui.placeButton)
    place(ready, process, (1, 2, 3))
    encoded(link)
    link.last.answer({"ranked": RANKED}, QUERY)
    count = len(link.questions)
    QTest.qWait(2 * SETTLE_MILLISECONDS)
    assert len(link.questions) == count  # its new label is no move
    node = ready.node.probePoint
    node.SetNthControlPointPosition(0, 4, 1, 2)
    process(until=lambda: len(link.questions) > count)
    assert link.last.message["ras"] == [4, 1, 2]
    link.last.answer({"ranked": RANKED[1:]}, QUERY)
    assert rowTexts(ready.ui.rankingTable)[0][0] == "spleen"
    click(ready.ui.placeButton)
    place(ready, process, (0, 0, 1))
    assert node.GetNumberOfControlPoints() == 1
    assert link.last.message["ras"] == [0, 0, 1]


def testPointMovedWhileTheWorkerIsBusyIsAskedAboutAfterwards(ready, link, process):
    click(ready.ui.placeButton)
    place(ready, process, (1, 2, 3))
    ready.node.probePoint.SetNthControlPointPosition(0, 2, 2, 2)
    QTest.qWait(2 * SETTLE_MILLISECONDS)
    encoded(link)
    link.last.answer({"ranked": RANKED}, QUERY)
    assert link.last.message["ras"] == [2, 2, 2]


def testShowsWhatResemblesThePoint(ready, link, process, volume):
    assert not ready.ui.resembleButton.enabled
    click(ready.ui.placeButton)
    place(ready, process, (1, 2, 3))
    encoded(link)
    link.last.answer({"ranked": RANKED}, QUERY)
    click(ready.ui.resembleButton)
    assert link.last.verb == "similarity"
    assert np.array_equal(link.last.arrays["vector"], QUERY["vector"])
    answerMap(link)
    assert listed(ready) == ["like the probed point"]
    assert ready.ui.thresholdSlider.enabled


def testPointOutsideTheVolumeIsSaid(ready, link, process):
    click(ready.ui.placeButton)
    place(ready, process, (1, 2, 3))
    encoded(link)
    link.last.answer({"ranked": RANKED}, QUERY)
    ready.node.probePoint.SetNthControlPointPosition(0, 900, 0, 0)
    process(until=lambda: ready.session.busy)
    link.last.refuse("The point lies outside the volume.")
    assert ready.ui.statusLabel.text == "The point lies outside the volume."
    assert rowTexts(ready.ui.rankingTable) == []
    assert not ready.ui.resembleButton.enabled


def testRemovedPointLeavesNoRanking(ready, link, process):
    click(ready.ui.placeButton)
    place(ready, process, (1, 2, 3))
    encoded(link)
    link.last.answer({"ranked": RANKED}, QUERY)
    ready.node.probePoint.RemoveAllControlPoints()
    process(until=lambda: not rowTexts(ready.ui.rankingTable))
    assert not ready.ui.resembleButton.enabled


def testPreviewUnderTheMouseIsNotAskedAbout(ready, link):
    click(ready.ui.placeButton)
    node = ready.node.probePoint
    node.SetNthControlPointPosition(node.AddControlPoint(0, 0, 0), 1, 2, 3, node.PositionPreview)
    QTest.qWait(2 * SETTLE_MILLISECONDS)
    assert link.questions == []


# The painted example


@pytest.fixture
def painted(volume):
    """A segmentation with one painted segment of 24 voxels."""
    from CFSegmenterUI.segmentations import Provenance, newSegmentation, writeSegments

    node = newSegmentation(slicer.mrmlScene, volume)
    mask = np.zeros(SHAPE, bool)
    mask[HIGH] = True
    writeSegments(node, volume, {"liver": mask}, Provenance("", "", "2026-11-24"), Vocabulary.load())
    return node


def testFindsWhatResemblesAPaintedSegment(ready, link, painted, process):
    ready.ui.exampleCollapsibleButton.collapsed = False
    process()
    assert not ready.ui.exampleButton.enabled
    ready.ui.exampleSelector.setCurrentNode(painted)
    boxes = unwrap(ready.ui.exampleSelector).findChildren(QComboBox)
    box = next(each for each in boxes if each.findText("liver") >= 0)
    box.setFocus()
    QTest.keyClicks(box, "liver")
    assert ready.node.exampleSegmentation is painted
    assert ready.node.exampleSegment == painted.GetSegmentation().GetNthSegmentID(0)
    click(ready.ui.exampleButton)
    encoded(link)
    assert link.last.verb == "prototype"
    assert np.count_nonzero(link.last.arrays["mask"]) == 24
    link.last.answer({"name": "liver"}, QUERY)
    assert link.last.verb == "similarity"
    assert np.array_equal(link.last.arrays["embedding"], QUERY["embedding"])
    answerMap(link)
    assert listed(ready) == ["like liver"]


def testExampleThatWasDeletedMeanwhileIsNoLongerChosen(ready, painted):
    other = painted.GetSegmentation().AddEmptySegment("other", "other")
    node, first = ready.node, painted.GetSegmentation().GetNthSegmentID(0)
    node.exampleSegmentation, node.exampleSegment = painted, first
    ready.setParameterNode(None)
    painted.GetSegmentation().RemoveSegment(first)  # in the Segment Editor
    ready.setParameterNode(node)
    assert node.exampleSegment == ready.ui.exampleSelector.currentSegmentID() == ""
    ready.ui.exampleSelector.setCurrentSegmentID(other)
    assert node.exampleSegment == other


# State


def testChoicesComeBackWithTheScene(ready, volume, painted):
    node = ready.node
    ready.setParameterNode(None)
    node.mapStructure, node.mapOpacity, node.threshold = "left kidney", 0.8, -0.25
    node.exampleSegmentation, node.exampleSegment = painted, painted.GetSegmentation().GetNthSegmentID(0)
    ready.setParameterNode(node)
    assert ready.ui.classComboBox.currentText == "left kidney"
    assert ready.ui.opacitySlider.value == 0.8
    assert ready.ui.thresholdSlider.value == -0.25
    assert ready.ui.exampleSelector.currentNode() is painted
    assert ready.ui.exampleSelector.currentSegmentID() == node.exampleSegment


def testLoadedSceneGoesOnWithTheMapThatItShowed(ready, link, scene, sliceViews, session, tmp_path):
    showMapOf(ready, link, "spleen")
    showMapOf(ready, link, "liver")
    click(ready.ui.legendCheckBox)
    ready.node.threshold = 0.1
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    ready.setParameterNode(None)
    scene.Clear(0)
    ready.setParameterNode(newParameterNode())
    assert listed(ready) == []
    ready.setParameterNode(None)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    node = newParameterNode()
    ready.setParameterNode(node)
    assert [item.text() for item in ready.ui.mapList.selectedItems()] == ["liver"]
    assert not ready.ui.legendCheckBox.checked
    ready.ui.thresholdSlider.value = 0.7
    display = node.shownMap.GetDisplayNode()
    assert display.GetApplyThreshold() and display.GetLowerThreshold() == 0.7
    click(ready.ui.restoreButton)
    views = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene)
    assert sorted(view.GetForegroundOpacity() for view in views) == [0.0, 0.25]
    assert [
        scene.GetNodeByID(view.GetBackgroundVolumeID()).GetName() for view in views if view.GetBackgroundVolumeID()
    ] == ["mine"]


def drawnOf(mapNode):
    """How many voxels of a map a slice view gets to see."""
    connection = mapNode.GetDisplayNode().GetImageDataConnection()
    connection.GetProducer().Update()
    image = connection.GetProducer().GetOutputDataObject(connection.GetIndex())
    return int(np.count_nonzero(vtk_to_numpy(image.GetPointData().GetScalars())[:, 3]))


def loadScene(panel, path):
    """Load a scene while the panel is open: meanwhile the module lets go of the choices."""
    panel.setParameterNode(None)
    slicer.util.loadScene(str(path))
    panel.node = newParameterNode()
    panel.setParameterNode(panel.node)


def testSceneLoadedWhileThePanelIsOpenShowsOfItsMapWhatIsAboveTheThreshold(ready, link, scene, tmp_path):
    showMapOf(ready, link, "liver")
    assert drawnOf(ready.node.shownMap) == 24
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    ready.setParameterNode(None)
    scene.Clear(0)
    ready.setParameterNode(newParameterNode())  # when the scene was closed, before the file is read
    loadScene(ready, tmp_path / "scene.mrb")
    assert drawnOf(ready.node.shownMap) == 24


def testMapIsStillShownWhenASceneIsAdded(ready, link, scene, sliceViews, volume, tmp_path):
    for view in sliceViews:
        view.SetSingletonTag(view.GetID())  # that of the file takes its place, as in Slicer
    scan = volume.GetName()
    showMapOf(ready, link, "liver")
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    loadScene(ready, tmp_path / "scene.mrb")
    assert len(maps.mapsIn(scene)) == 2
    shown = ready.node.shownMap
    assert shown is not None
    assert drawnOf(shown) == 24
    assert maps.volumeOf(shown) is ready.node.inputVolume
    for view in sliceViews:
        assert shownIn(view, scene) is shown
        assert scene.GetNodeByID(view.GetBackgroundVolumeID()).GetName() == scan
    click(ready.ui.restoreButton)
    assert scene.GetNodeByID(sliceViews[0].GetBackgroundVolumeID()).GetName() == "mine"


def testMapIsStillShownWhenASceneWithoutAnyIsAdded(panel, session, link, scene, sliceViews, volume, tmp_path):
    for view in sliceViews:
        view.SetSingletonTag(view.GetID())
    for choices in slicer.util.getNodesByClass("vtkMRMLScriptedModuleNode", scene):
        scene.RemoveNode(choices)  # who saved this one does not use the module
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    learnModels(session, link)
    node = newParameterNode()
    node.inputVolume = volume
    panel.setParameterNode(node)
    showMapOf(panel, link, "liver")
    mapNode = node.shownMap
    loadScene(panel, tmp_path / "scene.mrb")
    assert panel.node.shownMap is mapNode
    assert [shownIn(view, scene) for view in sliceViews] == [mapNode, mapNode]
    click(panel.ui.restoreButton)
    assert scene.GetNodeByID(sliceViews[0].GetBackgroundVolumeID()).GetName() == "mine"


def testNothingIsWrittenAfterThePanelWasLeft(ready, link, sliceViews, scene):
    click(ready.ui.showMapButton)
    ready.setParameterNode(None)
    answerMap(link)
    assert shownIn(sliceViews[0], scene) is None
    assert not ready.ui.segmentButton.enabled
    ready.setParameterNode(ready.node)
    assert len(listed(ready)) == 1


def testClosedSceneLeavesAnEmptyPanel(ready, link, scene):
    showMapOf(ready, link, "liver")
    ready.setParameterNode(None)  # as the module does when a scene is about to close
    scene.Clear(0)
    ready.setParameterNode(newParameterNode())
    assert listed(ready) == []
    assert not ready.ui.restoreButton.enabled
    assert "No volume" in ready.ui.reasonLabel.text
