"""The segment panel during a run and after it: progress, cancelling, results, frames of a sequence."""

import numpy as np
import slicer
from CFSegmenterUI import labelmaps, segmentations

from Testing.Widget.segmentPanelFixtures import (  # fixtures among them
    SHAPE,
    add,
    cine,
    click,
    encode,
    knownModel,
    link,
    maskFrame,
    panel,
    parameterNode,
    ready,
    run,
    session,
    volume,
)


def testApplyBecomesCancelAndProgressIsSaidInWords(ready, link):
    ui = ready.ui
    add(ready, "liver")
    click(ui.applyButton)
    assert ui.applyButton.text == "Cancel" and ui.progressBar.visible
    assert not ui.estimateLabel.visible
    link.lastOf("encode").tell(2, 41, "window 3 of 41", 12.3)
    assert ui.statusLabel.text == "Encoding window 3 of 41, 12 s left"
    assert (ui.progressBar.value, ui.progressBar.maximum) == (2, 41)
    encode(link)
    link.lastOf("segment").tell(0, 4, "deciding", None)
    assert ui.statusLabel.text == "Deciding"
    link.lastOf("segment").answer(*maskFrame({"liver": 3}))
    assert ui.applyButton.text == "Apply" and ui.applyButton.enabled
    assert not ui.progressBar.visible


def testCancelIsHeardAtOnceAndSaidWhenItIsDone(ready, link, parameterNode):
    ui = ready.ui
    add(ready, "liver")
    click(ui.applyButton)
    click(ui.applyButton)
    question = link.lastOf("encode")
    assert question.isCancelled
    assert ui.statusLabel.text == "Cancelling..." and not ui.applyButton.enabled
    question.tell(3, 41, "window 4 of 41", 11.0)
    assert ui.statusLabel.text == "Cancelling...", "progress on the way does not overwrite it"
    question.giveUp()
    assert ui.statusLabel.text.startswith("Cancelled")
    assert ui.applyButton.text == "Apply" and ui.applyButton.enabled
    assert parameterNode.outputSegmentation is None


def testTheResultLineHasVolumesAndWhatWasNotFound(ready, link, parameterNode):
    add(ready, "liver", "spleen", "heart")
    run(ready, link, {"liver": 30, "heart": 2, "spleen": 0})
    said = ready.ui.statusLabel.text
    assert said.startswith("2 of 3 structures found in ")
    assert "liver 30 ml, heart 2.0 ml" in said
    assert "Read as abdomen CT." in said
    assert said.endswith("Nothing found for: spleen.")
    segmentation = parameterNode.outputSegmentation
    assert ready.ui.outputSegmentationSelector.currentNode() is segmentation
    assert segmentation.GetSegmentation().GetNumberOfSegments() == 2


def testTheWorkersDoubtsStandUnderTheResult(ready, link):
    add(ready, "liver")
    click(ready.ui.applyButton)
    encode(link)
    answer, layers = maskFrame({"liver": 3})
    doubt = "Liver: learned in MR T2 scans only, while this scan is read as 'abdomen CT'."
    link.lastOf("segment").answer({**answer, "caveats": [doubt]}, layers)
    assert ready.ui.statusLabel.text.splitlines()[-1] == doubt


def another(scene, name="follow-up"):
    node = slicer.util.addVolumeFromArray(np.ones(SHAPE[::-1], np.int16), name=name)
    node.SetSpacing(10, 10, 10)
    return node


def testWhatWasFoundInOneScanStaysWhenAnotherIsSegmented(ready, link, scene, parameterNode, volume):
    add(ready, "liver")
    run(ready, link, {"liver": 5})
    first = parameterNode.outputSegmentation
    ready.ui.inputVolumeSelector.setCurrentNode(another(scene))
    assert parameterNode.outputSegmentation is None
    run(ready, link, {"liver": 3})
    second = parameterNode.outputSegmentation
    assert second is not first and second.GetName() == "follow-up segmentation"
    assert segmentations.maskOf(first, "CFSegmenter_liver", volume).sum() == 5
    ready.ui.inputVolumeSelector.setCurrentNode(volume)
    assert parameterNode.outputSegmentation is first


def testWhereTheSegmentsAreIsSaidWhenAnotherScanIsChosenMeanwhile(ready, link, scene, parameterNode, volume):
    add(ready, "liver")
    click(ready.ui.applyButton)
    ready.ui.inputVolumeSelector.setCurrentNode(another(scene))
    encode(link)
    link.lastOf("segment").answer(*maskFrame({"liver": 5}))
    assert ready.ui.statusLabel.text == "What was found in CT is in CT segmentation."
    assert parameterNode.outputSegmentation is None
    ready.ui.inputVolumeSelector.setCurrentNode(volume)
    assert parameterNode.outputSegmentation.GetName() == "CT segmentation"


def testTheOutputThatASceneWasSavedWithIsNotExchanged(ready, link, scene, parameterNode):
    add(ready, "liver")
    run(ready, link, {"liver": 5})
    found = parameterNode.outputSegmentation
    ready.setParameterNode(None)
    parameterNode.inputVolume = another(scene)  # as a scene says it that is loaded
    ready.setParameterNode(parameterNode)
    assert parameterNode.outputSegmentation is found


def testWhatWasCorrectedByHandIsKeptAndSaid(ready, link, parameterNode, volume):
    add(ready, "liver")
    run(ready, link, {"liver": 12})
    node = parameterNode.outputSegmentation
    layer = node.GetSegmentation().GetSegment("CFSegmenter_liver").GetRepresentation(labelmaps.representationName())
    labelmaps.arrayOf(layer)[0, 0, 0] = 0
    layer.Modified()
    add(ready, "spleen")
    run(ready, link, {"liver": 12, "spleen": 4})
    said = ready.ui.statusLabel.text
    assert said.startswith("1 of 1 structures found in ")
    assert said.endswith("Kept as changed by hand: liver; delete such a segment to have it found anew.")
    assert segmentations.maskOf(node, "CFSegmenter_liver", volume).sum() == 11


def testASecondRunOnTheSameVolumeUsesTheEncodingAndSaysSo(ready, link, parameterNode):
    add(ready, "liver")
    run(ready, link, {"liver": 5})
    assert "encoded already" not in ready.ui.statusLabel.text
    first = parameterNode.outputSegmentation
    add(ready, "spleen")
    assert ready.ui.estimateLabel.text == "The scan is encoded already: answers at once."
    run(ready, link, {"liver": 5, "spleen": 4})
    assert link.verbs == ["encode", "segment", "segment"]
    assert "The volume was encoded already." in ready.ui.statusLabel.text
    assert parameterNode.outputSegmentation is first


def testAllFramesAreSegmentedAndTheSegmentsFollowTheFrame(ready, link, cine, parameterNode):
    browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(cine)
    ready.ui.inputVolumeSelector.setCurrentNode(cine)
    ready.ui.allFramesCheckBox.click()
    add(ready, "heart", "liver")
    assert ready.ui.estimateLabel.text.startswith("Each of 2 frames: ")
    click(ready.ui.applyButton)
    assert link.questions[0].arrays["image"].max() == 0, "the first frame, though the second was shown"
    link.questions[0].tell(1, 4, "window 2 of 4", 3.0)
    assert (ready.ui.progressBar.value, ready.ui.progressBar.maximum) == (1, 8)
    encode(link)
    link.questions[1].answer(*maskFrame({"heart": 90, "liver": 0}))
    assert ready.ui.applyButton.text == "Cancel"
    assert link.questions[2].arrays["image"].max() == 1
    encode(link)
    link.questions[3].answer(*maskFrame({"heart": 40, "liver": 0}))

    said = ready.ui.statusLabel.text
    assert said.startswith("2 frames: 1 of 2 structures found in ")
    assert "heart 40 to 90 ml" in said and said.endswith("Nothing found for: liver.")
    assert browser.GetSelectedItemNumber() == 1
    sequence = browser.GetSequenceNode(parameterNode.outputSegmentation)
    assert [sequence.GetNthIndexValue(i) for i in range(sequence.GetNumberOfDataNodes())] == ["0", "1"]


def testOfASequenceOnlyTheFrameThatIsShownIsSegmentedUnlessAllAreAsked(ready, link, cine, parameterNode):
    ready.ui.inputVolumeSelector.setCurrentNode(cine)
    add(ready, "heart")
    for shown in (1, 0):
        browser = slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(cine)
        browser.SetSelectedItemNumber(shown)
        slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        run(ready, link, {"heart": 3})
        assert link.lastOf("encode").arrays["image"].max() == shown
    assert link.verbs == ["encode", "segment"] * 2
    assert browser.GetSequenceNode(parameterNode.outputSegmentation) is None


def beginAllFrames(ready, link, cine):
    """Ask for the heart in all frames, and have the first one answered."""
    ready.ui.inputVolumeSelector.setCurrentNode(cine)
    ready.ui.allFramesCheckBox.click()
    add(ready, "heart")
    click(ready.ui.applyButton)
    encode(link)
    link.lastOf("segment").answer(*maskFrame({"heart": 9}))


def browserOf(cine):
    return slicer.modules.sequences.logic().GetFirstBrowserNodeForProxyNode(cine)


def showFrame(cine, number):
    """Move the sequence slider, as the user does."""
    browserOf(cine).SetSelectedItemNumber(number)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browserOf(cine))


def countsIn(cine, scene):
    """Structure -> voxels, of what is shown with the frame that is shown."""
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene)
    own = segmentations.ownSegments(node)
    return {name: int(segmentations.maskOf(node, own[name], cine).sum()) for name in own}


def paint(cine, scene):
    """Two voxels of the user's own, in the segmentation as it is shown."""
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene)
    segmentID = node.GetSegmentation().AddEmptySegment("mine", "mine")
    mask = np.zeros(SHAPE, np.uint8)
    mask[5, 4, 2:] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.T, node, segmentID, cine)


def testARunOverFramesGoesOnWhicheverFrameTheUserLooksAt(ready, link, cine, scene):
    ready.ui.inputVolumeSelector.setCurrentNode(cine)
    ready.ui.allFramesCheckBox.click()
    add(ready, "heart")
    click(ready.ui.applyButton)
    assert slicer.util.arrayFromVolume(cine).max() == 1, "the frame that was shown is shown still"
    showFrame(cine, 0)
    encode(link)
    showFrame(cine, 1)
    link.lastOf("segment").answer(*maskFrame({"heart": 9}))
    assert link.lastOf("encode").arrays["image"].max() == 1
    encode(link)
    showFrame(cine, 0)
    link.lastOf("segment").answer(*maskFrame({"heart": 4}))
    assert ready.ui.statusLabel.text.startswith("2 frames: 1 of 1 structures found")
    assert browserOf(cine).GetSelectedItemNumber() == 0
    assert countsIn(cine, scene) == {"heart": 9}
    showFrame(cine, 1)
    assert countsIn(cine, scene) == {"heart": 4}


def testAFrameThatTheRunHasNotReachedShowsNothingOfAnother(ready, link, cine, scene):
    beginAllFrames(ready, link, cine)
    assert countsIn(cine, scene) == {}
    showFrame(cine, 0)
    assert countsIn(cine, scene) == {"heart": 9}
    click(ready.ui.applyButton)
    link.lastOf("encode").giveUp()
    assert ready.ui.statusLabel.text == "Cancelled. 1 of 2 frames are done."
    assert countsIn(cine, scene) == {"heart": 9}
    showFrame(cine, 1)
    assert countsIn(cine, scene) == {}


def testWhatWasFoundInOneFrameBeforeIsNotCarriedIntoTheOthers(ready, link, cine, scene):
    showFrame(cine, 0)
    ready.ui.inputVolumeSelector.setCurrentNode(cine)
    add(ready, "heart")
    run(ready, link, {"heart": 30})
    paint(cine, scene)
    ready.ui.allFramesCheckBox.click()
    click(ready.ui.applyButton)
    encode(link)
    link.lastOf("segment").answer(*maskFrame({"heart": 9}))
    assert countsIn(cine, scene) == {"heart": 9}
    showFrame(cine, 1)
    assert countsIn(cine, scene) == {}
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene)
    assert segmentations.maskOf(node, "mine", cine).sum() == 2, "the user's own is in all of them"


def testWhatTheUserPaintsInAFrameStaysWithIt(ready, link, cine, scene):
    beginAllFrames(ready, link, cine)
    showFrame(cine, 0)
    paint(cine, scene)
    encode(link)
    link.lastOf("segment").answer(*maskFrame({"heart": 4}))
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene)
    assert segmentations.maskOf(node, "mine", cine).sum() == 2, "painted while the other frame was segmented"
    showFrame(cine, 1)
    assert node.GetSegmentation().GetSegment("mine") is None
    showFrame(cine, 0)
    assert segmentations.maskOf(node, "mine", cine).sum() == 2
    assert countsIn(cine, scene) == {"heart": 9}


def testAFrameMayBePaintedInWhileItIsSegmented(ready, link, cine, scene):
    beginAllFrames(ready, link, cine)
    paint(cine, scene)
    encode(link)
    link.lastOf("segment").answer(*maskFrame({"heart": 4}))
    (node,) = slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene)
    assert segmentations.maskOf(node, "mine", cine).sum() == 2
    assert countsIn(cine, scene) == {"heart": 4}


def testASecondRunOverFramesUsesTheirEncodings(ready, link, cine, scene):
    beginAllFrames(ready, link, cine)
    encode(link)
    link.lastOf("segment").answer(*maskFrame({"heart": 4}))
    link.questions.clear()
    showFrame(cine, 0)
    add(ready, "liver")
    click(ready.ui.applyButton)
    link.last.answer(*maskFrame({"heart": 8, "liver": 2}))
    link.last.answer(*maskFrame({"heart": 5, "liver": 3}))
    assert link.verbs == ["segment"] * 2
    assert countsIn(cine, scene) == {"heart": 8, "liver": 2}
    showFrame(cine, 1)
    assert countsIn(cine, scene) == {"heart": 5, "liver": 3}


def testARunOverFramesThatFailsSaysHowManyAreDone(ready, link, cine, scene):
    beginAllFrames(ready, link, cine)
    link.lastOf("encode").refuse("There is too little memory for this volume; crop it.")
    said = "There is too little memory for this volume; crop it. 1 of 2 frames are done."
    assert ready.ui.statusLabel.text == said
    showFrame(cine, 0)
    assert countsIn(cine, scene) == {"heart": 9}


def testASegmentationThatCannotTakeTheFramesFollowsNone(ready, link, cine, scene, parameterNode):
    transform = scene.AddNewNodeByClass("vtkMRMLTransformNode")
    ready.ui.inputVolumeSelector.setCurrentNode(cine)
    parameterNode.outputSegmentation = segmentations.newSegmentation(scene, cine)
    paint(cine, scene)
    cine.SetAndObserveTransformNodeID(transform.GetID())
    ready.ui.allFramesCheckBox.click()
    add(ready, "heart")
    click(ready.ui.applyButton)
    encode(link)
    link.lastOf("segment").answer(*maskFrame({"heart": 9}))
    assert "is not under the same transform as" in ready.ui.statusLabel.text
    assert "frames are done" not in ready.ui.statusLabel.text
    assert len(slicer.util.getNodesByClass("vtkMRMLSequenceNode", scene)) == 1, "the volume's"
    assert countsIn(cine, scene) == {}


def testARunOverFramesEndsWhenItsSegmentationIsDeleted(ready, link, cine, scene):
    beginAllFrames(ready, link, cine)
    scene.RemoveNode(scene.GetFirstNodeByClass("vtkMRMLSegmentationNode"))
    encode(link)
    link.lastOf("segment").answer(*maskFrame({"heart": 4}))
    assert ready.ui.statusLabel.text == "The segmentation was removed while it was being worked on."
    assert scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
    browser = browserOf(cine)
    assert browser.GetSelectedItemNumber() == 1
    assert len(slicer.util.getNodesByClass("vtkMRMLSequenceNode", scene)) == 1, "the volume's"


def testARunOverFramesOutlivesTheSceneThatIsClosedUnderIt(ready, link, cine, scene):
    beginAllFrames(ready, link, cine)
    click(ready.ui.applyButton)
    ready.setParameterNode(None)
    scene.Clear(0)
    link.lastOf("encode").giveUp()
    assert ready.ui.statusLabel.text == "Cancelled."
    assert not ready.ui.progressBar.visible


def testAFailureIsSaidAndTheButtonComesBack(ready, link):
    add(ready, "liver")
    click(ready.ui.applyButton)
    link.lastOf("encode").refuse("There is too little memory for this volume; crop it.")
    assert ready.ui.statusLabel.text == "There is too little memory for this volume; crop it."
    assert ready.ui.applyButton.text == "Apply" and ready.ui.applyButton.enabled


def testAVolumeRemovedDuringTheRunIsSaidAndNothingIsWritten(ready, link, scene, volume):
    add(ready, "liver")
    click(ready.ui.applyButton)
    encode(link)
    scene.RemoveNode(volume)
    link.lastOf("segment").answer(*maskFrame({"liver": 3}))
    assert ready.ui.statusLabel.text == "The volume was removed while it was being worked on."
    assert "No volume" in ready.ui.estimateLabel.text
    assert scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None


def testASegmentationDeletedDuringTheRunIsSaidAndTheNextRunMakesANewOne(ready, link, scene, parameterNode):
    add(ready, "liver")
    run(ready, link, {"liver": 3})
    click(ready.ui.applyButton)
    scene.RemoveNode(parameterNode.outputSegmentation)
    link.lastOf("segment").answer(*maskFrame({"liver": 3}))
    assert ready.ui.statusLabel.text == "The segmentation was removed while it was being worked on."
    assert scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
    run(ready, link, {"liver": 3})
    assert parameterNode.outputSegmentation.GetSegmentation().GetNumberOfSegments() == 1


def testARunThatEndsAfterTheUserLeftStillWritesItsOutput(ready, link, parameterNode):
    add(ready, "liver")
    click(ready.ui.applyButton)
    ready.setParameterNode(None)
    encode(link)
    link.lastOf("segment").answer(*maskFrame({"liver": 3}))
    assert parameterNode.outputSegmentation is not None


def testADisconnectedPanelLeavesTheParameterNodeAlone(ready, parameterNode):
    add(ready, "liver")
    ready.setParameterNode(None)
    click(ready.ui.allButton)
    assert list(parameterNode.targets) == ["liver"]
    assert not ready.ui.applyButton.enabled


def testTheResultOfAnotherVolumeIsTakenAway(ready, link):
    add(ready, "liver")
    run(ready, link, {"liver": 3})
    assert ready.ui.statusLabel.visible
    ready.ui.inputVolumeSelector.setCurrentNode(slicer.util.addVolumeFromArray(np.zeros((3, 3, 3), np.int16)))
    assert not ready.ui.statusLabel.visible


def testShow3DMakesSurfacesOfWhatWasFoundAndTakesThemAwayAgain(ready, link, parameterNode):
    button = ready.ui.show3DButton
    assert not button.enabled
    add(ready, "liver")
    run(ready, link, {"liver": 30})
    assert button.enabled and not button.checked
    click(button)
    segmentation = parameterNode.outputSegmentation.GetSegmentation()
    assert segmentation.ContainsRepresentation("Closed surface") and button.checked
    click(button)
    assert not segmentation.ContainsRepresentation("Closed surface")
    parameterNode.outputSegmentation = None
    assert not button.enabled
