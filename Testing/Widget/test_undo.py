"""What is written into a segmentation can be taken back in a Segment Editor that shows it."""

import numpy as np
import pytest
import qt
import slicer
from CFSegmenterUI import labelmaps, volumes
from CFSegmenterUI.segmentations import maskOf, newSegmentation

from Testing.Widget.segmentPanelFixtures import (  # fixtures among them
    add,
    knownModel,
    link,
    panel,
    parameterNode,
    ready,
    run,
    session,
    volume,
)


@pytest.fixture(params=["in the main window", "in a panel that is not shown"])
def window(application, request):
    """What a Segment Editor is in: Slicer takes the panel of a module that is not shown out of its main window."""
    window = qt.QMainWindow() if request.param == "in the main window" else slicer.qMRMLWidget()
    window.name = "qSlicerMainWindow" if request.param == "in the main window" else "SegmentEditorPanel"
    yield window
    window.delete()


@pytest.fixture
def painted(volume):
    """A segmentation with a segment that the user has painted."""
    node = newSegmentation(slicer.mrmlScene, volume)
    labels = np.ones((1, 1, 1), np.uint8)
    image = labelmaps.imageOf(labels, (slice(5, 6), slice(4, 5), slice(3, 4)), volumes.ijkToRas(volume))
    segmentID = node.GetSegmentation().AddEmptySegment("mine")
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(image, node, segmentID, logic.MODE_REPLACE)
    return node


def openEditor(scene, window, segmentation):
    editor = slicer.qMRMLSegmentEditorWidget(window)
    editor.setMRMLScene(scene)
    editor.setMRMLSegmentEditorNode(scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    editor.setSegmentationNode(segmentation)
    return editor


def voxels(node, volume):
    segmentation = node.GetSegmentation()
    return {name: int(maskOf(node, name, volume).sum()) for name in segmentation.GetSegmentIDs()}


def testRunIsTakenBackByUndoInTheSegmentEditor(ready, link, scene, volume, painted, window):
    editor = openEditor(scene, window, painted)
    openEditor(scene, window, newSegmentation(scene, volume))  # and another one, of something else
    ready.ui.outputSegmentationSelector.setCurrentNode(painted)
    add(ready, "liver", "spleen")
    run(ready, link, {"liver": 4, "spleen": 3})
    first = {"mine": 1, "CFSegmenter_liver": 4, "CFSegmenter_spleen": 3}
    assert voxels(painted, volume) == first
    run(ready, link, {"liver": 7, "spleen": 0})
    assert voxels(painted, volume) == {"mine": 1, "CFSegmenter_liver": 7}
    editor.undo()
    assert voxels(painted, volume) == first
    editor.undo()
    assert voxels(painted, volume) == {"mine": 1}


def testSegmentationInNoEditorIsWrittenAsEver(ready, link, scene, volume, painted, window):
    openEditor(scene, window, newSegmentation(scene, volume))
    ready.ui.outputSegmentationSelector.setCurrentNode(painted)
    add(ready, "liver")
    run(ready, link, {"liver": 4})
    assert voxels(painted, volume) == {"mine": 1, "CFSegmenter_liver": 4}


def testEditorNodeWithoutMainWindowIsNoHindrance(ready, link, scene, volume, painted):
    scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode").SetAndObserveSegmentationNode(painted)
    ready.ui.outputSegmentationSelector.setCurrentNode(painted)
    add(ready, "liver")
    run(ready, link, {"liver": 4})
    assert voxels(painted, volume) == {"mine": 1, "CFSegmenter_liver": 4}
