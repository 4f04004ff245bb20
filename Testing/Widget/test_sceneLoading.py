"""A scene is loaded, added or closed while the module is open: what was chosen stays, or is what the file says."""

from __future__ import annotations

import gc
import sys
import weakref

import numpy as np
import pytest
import slicer
import vtk
from CFSegmenterUI import maps, segmentations, workerLink

from CFSegmenterLib.structures import Vocabulary
from Testing.Extension.sources import MODULE
from Testing.Host.modules import ScriptedModule
from Testing.Widget.answeredWorker import Link, manifest

SHAPE = (6, 5, 4)
NODES = ("inputVolume", "outputSegmentation", "caseSegmentation", "exampleSegmentation", "shownMap", "probePoint")
VOCABULARY = Vocabulary.load()


@pytest.fixture
def link(monkeypatch):
    """The worker, whose answers the test gives."""
    link = Link()
    monkeypatch.setattr(workerLink, "WorkerLink", lambda: link)
    return link


@pytest.fixture
def views(scene):
    """Slice views as the application has them: a loaded scene says what they show, but makes no new ones."""
    views = [scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(2)]
    for view in views:
        view.SetSingletonTag(view.GetID())
    return views


@pytest.fixture
def module(application, scene, link, views):
    """The module, opened, with a model."""
    module = ScriptedModule(MODULE / "CFSegmenter.py").load()
    module.widgetRepresentation().show()
    module.enter()
    link.last.answer({"models": [{"folder": "/models/general", "manifest": manifest()}]})
    yield module
    module.widget().cleanup()
    link.questions.clear()  # a real one does not keep them, and what they would tell


def addScan(name):
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE[::-1])
    return slicer.util.addVolumeFromArray(array, name=name)


def choose(module, scene):
    """Two scans, of which the second is at work: with segments, a painted example and a map in the views."""
    _first, second = addScan("first"), addScan("second")
    liver = np.zeros(SHAPE, bool)
    liver[1:4, 1:4, 1:3] = True
    found, painted = (segmentations.newSegmentation(scene, second) for _ in range(2))
    painted.SetName("painted")
    for node in (found, painted):
        made = segmentations.Provenance("", "", "2026-11-25")
        segmentations.writeSegments(node, second, {"liver": liver}, made, VOCABULARY)
    node = choicesOf(module)
    node.inputVolume, node.outputSegmentation = second, found
    node.caseSegmentation = node.exampleSegmentation = painted
    node.exampleSegment = "CFSegmenter_liver"
    node.probePoint = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "point")
    node.targets, node.threshold = ["liver"], 0.1
    similarity = np.where(liver, 0.8, -0.5).astype(np.float32)
    module.widget().inspectPanel._show(maps.writeMap(second, similarity, "liver", "similarity"))


def saveWithoutChoices(module, path):
    """Save the scene as somebody does who does not use the module."""
    node = choicesOf(module).parameterNode
    node.SetSaveWithScene(False)
    assert slicer.util.saveScene(str(path))
    node.SetSaveWithScene(True)


def choicesOf(module):
    return module.widget().logic.getParameterNode()


def namesOf(module):
    """What is chosen, by name: IDs and addresses are others after a scene was loaded."""
    node = choicesOf(module)
    chosen = {name: getattr(node, name) for name in NODES}
    return {name: each.GetName() if each else None for name, each in chosen.items()}


def seen(module, scene, views):
    """What the panels and the slice views show of it."""
    segment, inspect, cases = (module.widget().segmentPanel.ui, module.widget().inspectPanel.ui, casesOf(module).ui)
    selectors = (
        *(segment.inputVolumeSelector, segment.outputSegmentationSelector),
        *(cases.inputVolumeSelector, cases.caseSegmentationSelector, inspect.exampleSelector),
    )
    layers = [scene.GetNodeByID(view.GetForegroundVolumeID() or "") for view in views]
    return (
        *(each.currentNode().GetName() for each in selectors),
        *([item.text() for item in inspect.mapList.selectedItems()], inspect.thresholdSlider.value),
        [layer is choicesOf(module).shownMap for layer in layers],
    )


def casesOf(module):
    return module.widget().teachPanels.casesPanel


SEEN = ("second", "second segmentation", "second", "painted", "painted", ["liver"], 0.1, [True, True])


def testWhatIsChosenStaysWhenASceneIsAddedThatSaysNothingOfIt(module, scene, views, tmp_path):
    addScan("another")
    saveWithoutChoices(module, tmp_path / "scene.mrb")
    scene.Clear(0)
    choose(module, scene)
    before, chosen = namesOf(module), [getattr(choicesOf(module), name) for name in NODES]
    assert seen(module, scene, views) == SEEN
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert [volume.GetName() for volume in maps.scansIn(scene)] == ["first", "second", "another"]
    assert namesOf(module) == before and None not in before.values()
    assert [getattr(choicesOf(module), name) for name in NODES] == chosen
    assert seen(module, scene, views) == SEEN


@pytest.mark.parametrize("how", ["closes the other", "is added"])
def testALoadedSceneGoesOnWithItsOwnChoicesAndItsMap(module, scene, views, tmp_path, how):
    choose(module, scene)
    before = namesOf(module)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    addScan("the user's")
    assert slicer.app.ioManager().loadScene(str(tmp_path / "scene.mrb"), how == "closes the other")
    assert namesOf(module) == before and None not in before.values()
    assert seen(module, scene, views) == SEEN
    assert maps.volumeOf(choicesOf(module).shownMap) is choicesOf(module).inputVolume


def testChoicesThatComeBeforeTheirNodesInTheFileAreReadWhenAllIsThere(module, scene, views, tmp_path):
    choose(module, scene)
    script = choicesOf(module)  # keeps them, as a run does
    choices = script.parameterNode
    order = [scene.GetNthNode(number) for number in range(scene.GetNumberOfNodes())]
    assert order.index(choices) < order.index(choicesOf(module).shownMap), "a scene is written in this order"
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert choices.GetNodeReference("shownMap") is choicesOf(module).shownMap is script.shownMap is not None
    module.widget().inspectPanel.ui.thresholdSlider.value = 0.7
    assert choicesOf(module).shownMap.GetDisplayNode().GetLowerThreshold() == 0.7


def testALoadedScanIsOfferedThoughItsIDWasThatOfAMap(module, scene, tmp_path):
    choicesOf(module).inputVolume = [addScan("first"), addScan("second")][1]
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    identity = choicesOf(module).inputVolume.GetID()
    scene.Clear(0)
    mapNode = maps.writeMap(addScan("the user's"), np.zeros(SHAPE, np.float32), "liver", "similarity")
    assert mapNode.GetID() == identity
    assert slicer.app.ioManager().loadScene(str(tmp_path / "scene.mrb"))
    assert module.widget().segmentPanel.ui.inputVolumeSelector.currentNode().GetName() == "second"


def testASceneThatIsAddedWhileAnotherModuleIsOpenConnectsNothing(module, scene, tmp_path):
    choose(module, scene)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    before = namesOf(module)
    module.exit()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert namesOf(module) == before
    choicesOf(module).device = "cpu"
    assert module.widget().segmentPanel.ui.deviceComboBox.currentText == "auto"


def testARunThatIsUnderWayWhenASceneIsAddedEndsInTheScanThatItBeganWith(module, scene, link, tmp_path):
    addScan("another")
    saveWithoutChoices(module, tmp_path / "scene.mrb")
    scene.Clear(0)
    choose(module, scene)
    found = choicesOf(module).outputSegmentation
    ui = module.widget().segmentPanel.ui
    ui.applyButton.click()
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert ui.applyButton.text == "Cancel"
    link.last.answer({"protocol_name": "abdomen CT"})
    layer = np.zeros(SHAPE, np.uint8)
    layer[0, 0, :3] = 1
    link.last.answer({"places": [{"name": "liver", "layer": 0, "value": 1}]}, {"layer0": layer})
    assert segmentations.maskOf(found, "CFSegmenter_liver", choicesOf(module).inputVolume).sum() == 3
    assert ui.statusLabel.text.startswith("1 of 1 structures found")


def testWhatWasSaidOfSegmentsStaysWhenASceneIsAddedAndWhenTheUserComesBackFromPainting(module, scene, tmp_path):
    choose(module, scene)
    saveWithoutChoices(module, tmp_path / "scene.mrb")
    cases = casesOf(module)
    cases._mapping.setStructure("CFSegmenter_liver", "spleen")
    cases.ui.modalityComboBox.setEditText("mr-t2")

    def said():
        return cases.ui.mappingTable.cellWidget(0, 1).text, cases.ui.modalityComboBox.currentText

    assert said() == ("spleen", "mr-t2")
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert said() == ("spleen", "mr-t2")
    module.exit()
    choicesOf(module).caseSegmentation.GetSegmentation().AddEmptySegment("new", "new")
    module.enter()
    assert said() == ("spleen", "mr-t2") and cases.ui.mappingTable.rowCount == 2
    scene.Clear(0)
    choose(module, scene)
    assert cases.ui.mappingTable.cellWidget(0, 1).text == "liver", "another segment has this ID by now"


def testAScanThatAScriptChoosesIsShownWithWhatWasFoundInIt(module, scene, views):
    choose(module, scene)
    panel, script = module.widget().segmentPanel, choicesOf(module)
    script.inputVolume = slicer.util.getNode("first")
    assert panel.ui.inputVolumeSelector.currentNode().GetName() == "first"
    assert panel.ui.outputSegmentationSelector.currentNode() is None
    script.inputVolume = slicer.util.getNode("second")
    assert panel.ui.inputVolumeSelector.currentNode().GetName() == "second"
    assert panel.ui.outputSegmentationSelector.currentNode() is not None


def testTheSelfTestPassesWhileTheUserHasThePanelOpen(module, monkeypatch):
    monkeypatch.undo()  # it asks a real worker
    test = sys.modules["CFSegmenter"].CFSegmenterTest()
    test.runTest()


@pytest.mark.parametrize("isOpen", [True, False])
def testNothingOfASceneThatIsClosedAndOfAVisitThatIsOverIsKept(module, scene, isOpen):
    choose(module, scene)
    held = [vtk.vtkWeakReference() for _ in range(2)]
    node = choicesOf(module)
    for reference, segmentation in zip(held, (node.caseSegmentation, node.outputSegmentation), strict=True):
        reference.Set(segmentation.GetSegmentation())
    del node, segmentation
    shown = weakref.ref(module.widget()._parameterNode)
    module.exit()
    gc.collect()
    assert shown() is None
    if isOpen:
        module.enter()
    scene.Clear(0)
    gc.collect()
    assert [reference.Get() for reference in held] == [None, None]


# Volumes come and go


def testTheFirstScanOfAnEmptySceneCanBeSegmentedAtOnce(module, scene):
    ui = module.widget().segmentPanel.ui
    choicesOf(module).targets = ["liver"]
    scan = addScan("first")  # Slicer adds it empty
    assert ui.inputVolumeSelector.currentNode() is scan
    assert ui.applyButton.enabled, ui.estimateLabel.text


def testAllFramesOfTheFirstSequenceOfAnEmptySceneCanBeSegmentedAtOnce(module, scene):
    frame = addScan("frame")
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    for index in ("0", "1"):
        sequence.SetDataNodeAtValue(frame, index)
    scene.RemoveNode(frame)
    choicesOf(module).targets = ["liver"]
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    ui = module.widget().segmentPanel.ui
    assert ui.inputVolumeSelector.currentNode() is browser.GetProxyNode(sequence)
    assert ui.allFramesCheckBox.visible
    assert ui.applyButton.enabled, ui.estimateLabel.text


def testASequenceThatPlaysDoesNotMakeThePanelUpdateItself(module, scene, monkeypatch):
    scan = addScan("first")
    panel = module.widget().segmentPanel
    assert choicesOf(module).inputVolume is scan
    updates = []
    monkeypatch.setattr(panel, "_update", lambda: updates.append(1))
    scan.Modified()
    assert updates == []
    scan.SetSpacing(2, 2, 2)
    assert updates


@pytest.mark.parametrize("position", [0, 1, 2])
def testADeletedScanMakesRoomForItsNeighbourWithWhatWasFoundInThat(module, scene, views, position):
    scans = [addScan(name) for name in ("a", "b", "c")]
    mask = {"liver": np.ones(SHAPE, bool)}
    made = segmentations.Provenance("", "", "2026-11-25")
    found = [segmentations.newSegmentation(scene, scan) for scan in scans]
    for node, scan in zip(found, scans, strict=True):
        segmentations.writeSegments(node, scan, mask, made, VOCABULARY)
    ui = module.widget().segmentPanel.ui
    ui.inputVolumeSelector.setCurrentNode(scans[position])
    similarity = maps.writeMap(scans[position], np.zeros(SHAPE, np.float32), "liver", "similarity")
    module.widget().inspectPanel._show(similarity)
    scene.RemoveNode(scans[position])
    neighbour = {0: 1, 1: 2, 2: 1}[position]
    node = choicesOf(module)
    assert node.inputVolume is scans[neighbour]
    assert node.outputSegmentation is found[neighbour]
    assert node.shownMap is None
    assert not any(view.GetForegroundVolumeID() for view in views)
    module.exit()
    module.enter()
    assert choicesOf(module).inputVolume is not None
    for scan in [scan for number, scan in enumerate(scans) if number != position]:
        scene.RemoveNode(scan)
    assert choicesOf(module).inputVolume is None
    assert "No volume" in ui.estimateLabel.text


def testOnlyVolumesThatTheSelectorListsAreScans(module, scene):
    hidden = addScan("hidden")
    hidden.SetHideFromEditors(True)
    for kind in ("vtkMRMLVectorVolumeNode", "vtkMRMLLabelMapVolumeNode"):
        scene.AddNewNodeByClass(kind)
    addScan("seen")
    assert "hidden" not in [volume.GetName() for volume in maps.scansIn(scene)]
    assert {volume.GetClassName() for volume in maps.scansIn(scene)} == {"vtkMRMLScalarVolumeNode"}
    assert maps.scansIn(scene)[-1].GetName() == "seen"
