"""The stand-in application: its start in one process, its files, its modules and its views."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import slicer
import vtk

from Testing.Host import canRender, startApplication, startScene
from Testing.Host.modules import ScriptedModule

IJK_TO_RAS = np.array(
    [[-0.764, 0.207, 0, 30], [-0.236, -0.669, 0, 20], [0, 0, 2.5, -60], [0, 0, 0, 1]]
)  # turned by 0.3 about S, spacing 0.8 x 0.7 x 2.5 mm

SHAPE = (12, 40, 50)


def a_volume(name="ct"):
    k, j, i = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    ball = (k - 6) ** 2 * 4 + (j - 20) ** 2 + (i - 25) ** 2 < 120
    array = ball.astype(np.int16) * 100
    return slicer.util.addVolumeFromArray(array, IJK_TO_RAS, name), array


def a_segmentation(volume, array):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segment = node.GetSegmentation().AddEmptySegment("", "Lesion", [1, 0.2, 0.1])
    slicer.util.updateSegmentBinaryLabelmapFromArray((array > 0).astype(np.uint8), node, segment, volume)
    return node, segment


def ijkToRas(volume):
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def test_scene_and_application_start_once_in_a_process():
    assert startScene() is startScene() is slicer.mrmlScene
    assert startApplication() is startApplication() is slicer.app


@pytest.mark.parametrize(
    "order",
    [
        "scene = startScene(); startApplication(); import torch",
        "import torch; startApplication(); scene = startScene()",
    ],
)
def test_the_host_starts_in_any_order_and_beside_torch(order):
    script = f"""
from Testing.Host import slotErrors, startApplication, startScene
{order}
import ctk, qt, slicer
assert scene is slicer.mrmlScene is slicer.app.mrmlScene()
assert slicer.modules.volumes.logic().GetMRMLScene() is scene
assert qt.QLabel("text").text == "text"
assert torch.ones(3).sum() == 3
assert not slotErrors
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize("ending", [".nrrd", ".nii.gz"])
def test_a_volume_survives_its_file(scene, tmp_path, ending):
    volume, array = a_volume()
    path = str(tmp_path / f"case{ending}")
    assert slicer.util.saveNode(volume, path)
    loaded = slicer.util.loadVolume(path)
    assert loaded.GetName() == "case"
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(loaded), array)
    np.testing.assert_allclose(ijkToRas(loaded), IJK_TO_RAS, atol=1e-3)
    labelmap = slicer.util.loadVolume(path, {"labelmap": True, "name": "labels"})
    assert (labelmap.GetClassName(), labelmap.GetName()) == ("vtkMRMLLabelMapVolumeNode", "labels")


def test_a_file_that_does_not_exist_is_an_error(scene, tmp_path):
    with pytest.raises(RuntimeError):
        slicer.util.loadVolume(str(tmp_path / "none.nrrd"))


def test_a_segmentation_survives_its_file(scene, tmp_path):
    volume, array = a_volume()
    node, _ = a_segmentation(volume, array)
    path = str(tmp_path / "case.seg.nrrd")
    assert slicer.util.saveNode(node, path)
    segmentation = slicer.util.loadSegmentation(path)
    segment = segmentation.GetSegmentation().GetNthSegment(0)
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(
        segmentation, segmentation.GetSegmentation().GetNthSegmentID(0), volume
    )
    assert segment.GetName() == "Lesion"
    np.testing.assert_allclose(segment.GetColor(), [1, 0.2, 0.1], atol=1e-3)
    np.testing.assert_array_equal(mask > 0, array > 0)


def test_a_scene_survives_its_bundle(scene, tmp_path):
    volume, array = a_volume()
    a_segmentation(volume, array)
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    scene.Clear(0)
    assert not slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    slicer.util.loadScene(path)
    loaded = slicer.util.getNode("ct")
    segmentation = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
    mask = slicer.util.arrayFromSegmentBinaryLabelmap(
        segmentation, segmentation.GetSegmentation().GetNthSegmentID(0), loaded
    )
    np.testing.assert_array_equal(mask > 0, array > 0)


def test_a_sequence_shows_its_frames_through_a_proxy_volume(scene):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    volume, array = a_volume("frame")
    for frame in range(3):
        slicer.util.updateVolumeFromArray(volume, array + frame)
        sequence.SetDataNodeAtValue(volume, str(frame))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateAllProxyNodes()
    browser.SetSelectedItemNumber(2)
    slicer.modules.sequences.logic().UpdateAllProxyNodes()
    assert slicer.util.arrayFromVolume(browser.GetProxyNode(sequence)).max() == 102


def test_closing_the_scene_keeps_the_colours_and_no_data(scene):
    a_volume()
    scene.Clear(0)
    assert scene.GetNodeByID("vtkMRMLColorTableNodeRainbow") is not None
    assert not slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")


def test_the_observation_mixin_of_slicer_is_there(scene):
    class Observer(slicer.util.VTKObservationMixin):
        def __init__(self):
            super().__init__()
            self.hits = 0

        def onModified(self, caller, event):
            self.hits += 1

    observer = Observer()
    node = scene.AddNewNodeByClass("vtkMRMLTextNode")
    observer.addObserver(node, vtk.vtkCommand.ModifiedEvent, observer.onModified)
    node.Modified()
    observer.removeObservers()
    node.Modified()
    assert observer.hits == 1


MODULE = """
from slicer.ScriptedLoadableModule import *
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

class Small(ScriptedLoadableModule):
    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("Small")

class SmallWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.events = []

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        self.events.append("setup")

    def enter(self):
        self.events.append(("enter", self.parent.isEntered))

    def exit(self):
        self.events.append("exit")

    def cleanup(self):
        self.events.append("cleanup")

class SmallLogic(ScriptedLoadableModuleLogic):
    pass
"""


def test_a_scripted_module_is_loaded_entered_left_and_unloaded(scene, tmp_path):
    path = tmp_path / "Small.py"
    path.write_text(MODULE, encoding="utf-8")
    module = ScriptedModule(path).load()
    module.enter()
    module.exit()
    module.unload()
    assert slicer.modules.small.title == "Small"
    assert module.widget().events == ["setup", ("enter", True), "exit", "cleanup"]
    assert module.widget().resourcePath("UI/Small.ui") == str(tmp_path / "Resources/UI/Small.ui")


def test_the_parameter_node_of_a_module_is_one_and_stays_when_the_scene_is_closed(scene):
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    class SmallLogic(ScriptedLoadableModuleLogic):
        pass

    node = SmallLogic().getParameterNode()
    scene.Clear(0)
    assert SmallLogic().getParameterNode() is node
    assert node.GetAttribute("ModuleName") == "Small"


def test_a_slice_view_draws_the_volume_and_the_segment(scene):
    if not canRender():
        pytest.skip("VTK cannot draw here: there is no OpenGL library")
    from Testing.Host.views import SliceView

    volume, array = a_volume()
    view = SliceView(size=(100, 100))
    view.show(volume)
    plain = view.picture()
    assert plain.shape == (100, 100, 3)
    assert plain[50, 50].min() > 200 > 50 > plain[2, 2].max()  # the ball is white on black
    a_segmentation(volume, array)
    red, green, blue = view.picture()[50, 50].astype(int)
    assert red > green + 20 and red > blue + 20
    view.close()
    assert not slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode")
