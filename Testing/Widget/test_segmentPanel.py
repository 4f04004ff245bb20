"""The segment panel before a run: why Apply cannot be clicked, what it would take, and what can be chosen."""

import numpy as np
import qt
import slicer
from CFSegmenterUI import maps
from CFSegmenterUI.presets import Presets
from CFSegmenterUI.segmentPanel import SegmentPanel
from CFSegmenterUI.session import RunOptions
from PySide6.QtTest import QTest

from Testing.Host.proxies import unwrap
from Testing.Widget.answeredWorker import openPanel
from Testing.Widget.segmentPanelFixtures import (  # fixtures among them
    MANIFEST,
    SHAPE,
    add,
    cine,
    click,
    enter,
    knownModel,
    link,
    panel,
    parameterNode,
    ready,
    session,
    volume,
)

# Why Apply cannot be clicked


def testApplySaysWhatIsMissing(panel, session, link, parameterNode, volume, scene):
    def reason():
        assert not panel.ui.applyButton.enabled
        assert panel.ui.estimateLabel.visible
        assert panel.ui.estimateLabel.text == panel.ui.applyButton.toolTip
        return panel.ui.estimateLabel.text

    panel.setParameterNode(parameterNode)
    assert "model" in reason()
    session.refreshModels()
    link.lastOf("models").answer({"models": [{"folder": "/models/general", "manifest": MANIFEST}]})
    assert panel.ui.modelLabel.text == "general 3"
    assert "volume" in reason()
    panel.ui.inputVolumeSelector.setCurrentNode(volume)
    assert "structure" in reason()
    add(panel, "liver")
    assert panel.ui.applyButton.enabled
    scene.RemoveNode(volume)
    assert "volume" in reason()


def testApplySaysThatModelsAreLookedForAndWhyNoneWereFound(panel, session, link, parameterNode, volume):
    parameterNode.inputVolume = volume
    panel.setParameterNode(parameterNode)
    session.refreshModels()
    assert panel.ui.estimateLabel.text.startswith("Looking for models")
    link.last.refuse("The worker could not be started; correct the worker command.")
    assert panel.ui.estimateLabel.text == "The worker could not be started; correct the worker command."
    session.refreshModels()
    link.last.giveUp()
    assert panel.ui.estimateLabel.text.startswith("No model is loaded")
    session.refreshModels()
    link.last.answer({"models": [{"folder": "/models/general", "manifest": MANIFEST}]})
    assert "No structure is checked" in panel.ui.estimateLabel.text


def testApplySaysThatTheChosenModelIsGone(ready, parameterNode):
    add(ready, "liver")
    parameterNode.model = "/home/me/deleted"
    assert not ready.ui.applyButton.enabled
    said = "The chosen model is not in /home/me/deleted any more; choose another one under Models."
    assert ready.ui.estimateLabel.text == said
    parameterNode.model = ""
    assert ready.ui.applyButton.enabled


def testAnEstimateStandsThereBeforeApplyAndFollowsTheChoices(ready, parameterNode):
    add(ready, "liver")
    first = ready.ui.estimateLabel.text
    assert "GB" in first or "MB" in first
    large = slicer.util.addVolumeFromArray(np.zeros((200, 300, 300), np.uint8), name="large")
    ready.ui.inputVolumeSelector.setCurrentNode(large)
    assert ready.ui.estimateLabel.text != first


def testTheEstimateSaysWhereTheWorkersMemoryIsTooLittle(ready, link):
    link.machine = {"device": "cpu", "precision": "32-true", "memory_free": 100_000_000}
    add(ready, "liver")
    assert "100 MB are free: crop the volume" in ready.ui.estimateLabel.text


def testTheEstimateIsOfTheDeviceThatIsChosen(ready, link, parameterNode):
    link.machine = {"device": "cuda", "precision": "32-true", "memory_free": 8_000_000_000}
    slicer.util.updateVolumeFromArray(parameterNode.inputVolume, np.zeros((60, 60, 60), np.int16))
    add(ready, "liver")
    onCard = ready.ui.estimateLabel.text
    parameterNode.device = "cpu"
    assert ready.ui.estimateLabel.text != onCard
    parameterNode.device = "cuda"
    assert ready.ui.estimateLabel.text == onCard


def testApplyWaitsWhileAnotherPanelIsAtWork(ready, session, volume, link):
    add(ready, "liver")
    task = session.margin(volume, RunOptions("/models/general"))
    assert not ready.ui.applyButton.enabled and "busy" in ready.ui.estimateLabel.text
    task.cancel()
    link.questions[-1].giveUp()
    assert ready.ui.applyButton.enabled


# Choosing


def testCheckedStructuresAreInTheParameterNodeAndComeBackFromIt(ready, parameterNode, session):
    add(ready, "spleen", "left kidney")
    assert set(parameterNode.targets) == {"left kidney", "spleen"}
    other = openPanel(SegmentPanel, session)
    other.setParameterNode(parameterNode)
    assert other.ui.targetsLabel.text == "2 of 6 checked."
    parameterNode.targets = ["heart"]
    assert ready.ui.targetsLabel.text == other.ui.targetsLabel.text == "1 of 6 checked."
    other.cleanup()


def testOnlyWhatTheModelCanSegmentIsOfferedAWholeOfItsPartsToo(ready):
    tree = ready.ui.targetTree
    regions = [tree.topLevelItem(number) for number in range(tree.topLevelItemCount)]
    names = {region.child(number).text(0) for region in regions for number in range(region.childCount())}
    assert names == {"liver", "spleen", "left kidney", "right kidney", "kidney", "heart"}


def testANameIsAddedInAnySpellingAndTheLineIsEmptied(ready, parameterNode):
    enter(ready.ui.addLineEdit, "Kidney, L")
    assert list(parameterNode.targets) == ["left kidney"]
    assert ready.ui.addLineEdit.text == ""


def testANameThatCannotBeAddedIsAnsweredInOneSentence(ready, parameterNode):
    QTest.keyClicks(unwrap(ready.ui.addLineEdit), "spleeen")
    click(ready.ui.addButton)
    assert '"spleeen" is not the name of a structure. The nearest that it knows: spleen' in ready.ui.targetsLabel.text
    assert ready.ui.addLineEdit.text == "spleeen", "it is there to be corrected"
    assert list(parameterNode.targets) == []


def testAllAndNone(ready, parameterNode):
    click(ready.ui.allButton)
    assert ready.ui.targetsLabel.text == "6 of 6 checked."
    assert len(parameterNode.targets) == 6
    click(ready.ui.noneButton)
    assert list(parameterNode.targets) == []
    assert not ready.ui.applyButton.enabled


def testASetIsRememberedUnderANameForTheNextTime(ready, parameterNode, session):
    add(ready, "liver", "heart")
    box = ready.ui.presetComboBox
    assert not ready.ui.savePresetButton.enabled, "a set needs a name"
    QTest.keyClicks(unwrap(box.lineEdit()), "my two")
    click(ready.ui.savePresetButton)
    click(ready.ui.noneButton)

    another = openPanel(SegmentPanel, session)
    another.setParameterNode(parameterNode)
    chooseItem(another.ui.presetComboBox, "my two")
    assert set(parameterNode.targets) == {"heart", "liver"}
    assert another.ui.deletePresetButton.enabled
    click(another.ui.deletePresetButton)
    assert another.ui.presetComboBox.count == 0
    assert not another.ui.deletePresetButton.enabled
    another.cleanup()


def chooseItem(box, text):
    """As with the mouse: open the list, go to the item, press Enter."""
    box.setCurrentIndex(box.findText(text))
    unwrap(box).activated.emit(box.currentIndex)


def testARememberedSetSaysWhatThisModelLacks(ready):
    Presets(qt.QSettings()).save("abdomen", ["liver", "pancreas"])
    ready._listPresets()
    chooseItem(ready.ui.presetComboBox, "abdomen")
    assert ready.ui.targetsLabel.text == "1 of 6 checked. This model was not taught: pancreas."


def testLabelMapsAreNotOffered(ready, scene, volume):
    scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    assert ready.ui.inputVolumeSelector.nodeCount() == 1


def testMapsAreNotOfferedAndAScanIsThoughItsIDWasThatOfAMap(ready, parameterNode, scene, volume, tmp_path):
    selector = ready.ui.inputVolumeSelector
    mapNode = maps.writeMap(volume, np.zeros(SHAPE, np.float32), "liver", "similarity")
    assert selector.nodeCount() == 1 and selector.currentNode() is volume
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    identity = mapNode.GetID()
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert selector.nodeCount() == 1 and selector.nodeFromIndex(0).GetName() == "CT"
    scene.Clear(0)
    slicer.util.addVolumeFromArray(np.zeros((3, 3, 3), np.int16))
    assert slicer.util.addVolumeFromArray(np.zeros((3, 3, 3), np.int16)).GetID() == identity
    assert selector.nodeCount() == 2


def testAllFramesIsOfferedForAFrameOfASequenceOnly(ready, cine, volume):
    box = ready.ui.allFramesCheckBox
    assert not box.visible
    ready.ui.inputVolumeSelector.setCurrentNode(cine)
    assert box.visible
    ready.ui.inputVolumeSelector.setCurrentNode(volume)
    assert not box.visible


def testDeviceAndKindOfScanAreAskedOfTheWorker(ready, parameterNode, link):
    add(ready, "liver")
    click(ready.ui.advancedCollapsibleButton)
    ready.ui.deviceComboBox.setCurrentIndex(ready.ui.deviceComboBox.findText("cpu"))
    chooseItem(ready.ui.protocolComboBox, "abdomen MR T2")
    assert (parameterNode.device, parameterNode.protocol) == ("cpu", "abdomen MR T2")
    click(ready.ui.applyButton)
    asked = link.lastOf("encode").message
    assert (asked["model"], asked["device"], asked["protocol_name"]) == ("/models/general", "cpu", "abdomen MR T2")
