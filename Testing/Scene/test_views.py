"""A map is laid over the volume in all slice views, and the user's layers come back as they were."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from CFSegmenterUI import maps, segmentations
from CFSegmenterUI.views import ViewLayers

from CFSegmenterLib.structures import Vocabulary
from Testing.Host import canRender
from Testing.Scene.scans import addSequence, addVolume, showFrame


def addView(scene, name):
    composite = slicer.vtkMRMLSliceCompositeNode()
    composite.SetLayoutName(name)
    return scene.AddNode(composite)


def shownIn(composite):
    ids = (composite.GetBackgroundVolumeID(), composite.GetForegroundVolumeID(), composite.GetLabelVolumeID())
    return *ids, round(composite.GetForegroundOpacity(), 3), round(composite.GetLabelOpacity(), 3)


@pytest.fixture
def red(scene):
    """A view that shows a PET over a CT and a label map."""
    composite = addView(scene, "H3Red")
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    composite.SetBackgroundVolumeID(addVolume(scene, name="ct").GetID())
    composite.SetForegroundVolumeID(addVolume(scene, name="pet").GetID())
    composite.SetLabelVolumeID(labels.GetID())
    composite.SetForegroundOpacity(0.35)
    composite.SetLabelOpacity(0.8)
    return composite


def similarity(volume, title="liver"):
    size = volume.GetImageData().GetDimensions()
    return maps.writeMap(volume, np.linspace(-1, 1, int(np.prod(size))).reshape(size), title, "similarity")


def test_the_user_s_layers_come_back_exactly(scene, red):
    green, before = addView(scene, "H3Green"), shownIn(red)
    volume, layers = addVolume(scene), ViewLayers(scene)
    liver, spleen = similarity(volume), similarity(volume, "spleen")
    best = maps.writeMap(volume, np.zeros(volume.GetImageData().GetDimensions()), "best class", "best")
    assert not layers.isShowing

    layers.show(volume, liver, 0.5)
    for composite in (red, green):
        assert shownIn(composite)[:2] == (volume.GetID(), liver.GetID())
        assert shownIn(composite)[3] == 0.5
    assert shownIn(red)[2] == before[2]  # the user's labels stay on top
    layers.setOpacity(liver, 0.2)
    assert shownIn(red)[3] == 0.2
    layers.show(volume, best, 0.6)  # classes are labels
    assert shownIn(red) == (volume.GetID(), None, best.GetID(), 0.2, 0.6)
    layers.show(volume, spleen, 0.7)
    assert shownIn(red) == (volume.GetID(), spleen.GetID(), before[2], 0.7, 0.8)

    assert layers.isShowing
    layers.restore()
    assert not layers.isShowing
    assert shownIn(red) == before
    assert shownIn(green)[:3] == (None, None, None)
    layers.setOpacity(spleen, 0.9)
    layers.restore()
    assert shownIn(red) == before


def test_a_map_of_one_frame_is_hidden_over_another_and_comes_back(scene, red):
    volume, browser = addSequence(scene, {}, {})
    told = []
    layers, before = ViewLayers(scene, lambda: told.append(layers.whyHidden)), shownIn(red)
    liver = similarity(volume)
    layers.show(volume, liver, 0.5)
    assert layers.seen is liver and not told
    showFrame(browser, 1)
    assert shownIn(red)[:2] == (volume.GetID(), None)
    assert layers.seen is None and "made of frame 1" in told[-1]
    layers.setOpacity(liver, 0.7)
    showFrame(browser, 0)
    assert (shownIn(red)[1], shownIn(red)[3]) == (liver.GetID(), 0.7)
    assert told[-1] == ""
    showFrame(browser, 1)
    layers.restore()
    assert shownIn(red) == before
    showFrame(browser, 0)
    assert shownIn(red) == before


def test_segments_are_outlines_while_a_map_is_shown(scene, red):
    volume, layers = addVolume(scene), ViewLayers(scene)
    filled, outlined = (segmentations.newSegmentation(scene, volume).GetDisplayNode() for _ in range(2))
    outlined.SetVisibility2DFill(False)
    layers.show(volume, similarity(volume), 0.5)
    assert not filled.GetVisibility2DFill() and filled.GetVisibility2DOutline()
    late = segmentations.newSegmentation(scene, volume).GetDisplayNode()
    layers.show(volume, similarity(volume, "spleen"), 0.5)
    assert not late.GetVisibility2DFill()
    layers.restore()
    assert [node.GetVisibility2DFill() for node in (filled, outlined, late)] == [1, 0, 1]


def test_what_left_the_scene_meanwhile_is_skipped(scene, red):
    green, volume, layers = addView(scene, "H3Green"), addVolume(scene), ViewLayers(scene)
    before = shownIn(red)
    layers.show(volume, similarity(volume), 0.5)
    scene.RemoveNode(green)
    scene.RemoveNode(slicer.util.getNode("pet"))
    late = addView(scene, "H3Yellow")
    layers.restore()
    assert shownIn(red) == (before[0], None, *before[2:])
    assert shownIn(late)[:3] == (None, None, None)


def test_a_saved_scene_knows_what_the_views_showed_before_the_map(scene, red, tmp_path):
    volume = addVolume(scene, name="mri")
    shape = volume.GetImageData().GetDimensions()
    segmentation = segmentations.newSegmentation(scene, volume)
    made = segmentations.Provenance("general", "1", "2026-08-01")
    segmentations.writeSegments(segmentation, volume, {"liver": np.ones(shape, bool)}, made, Vocabulary.load())
    ViewLayers(scene).show(volume, similarity(volume), 0.5)
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    (view,) = slicer.util.getNodesByClass("vtkMRMLSliceCompositeNode", scene)
    assert scene.GetNodeByID(view.GetForegroundVolumeID()).GetName().startswith("liver")
    layers = ViewLayers(scene)
    assert layers.isShowing
    layers.restore()
    names = [scene.GetNodeByID(volumeID).GetName() for volumeID in shownIn(view)[:3]]
    assert names == ["ct", "pet", "labels"]
    assert shownIn(view)[3:] == (0.35, 0.8)
    (display,) = slicer.util.getNodesByClass("vtkMRMLSegmentationDisplayNode", scene)
    assert display.GetVisibility2DFill()


def test_a_view_that_opens_later_is_given_back_too(scene, red):
    volume, layers = addVolume(scene), ViewLayers(scene)
    layers.show(volume, similarity(volume), 0.5)
    late = addView(scene, "H3Late")
    late.SetBackgroundVolumeID(slicer.util.getNode("ct").GetID())
    layers.show(volume, similarity(volume), 0.5)
    layers.restore()
    assert late.GetBackgroundVolumeID() == slicer.util.getNode("ct").GetID()


def test_a_slice_shows_the_map_above_its_threshold_over_the_scan_and_the_outline(scene):
    if not canRender():
        pytest.skip("VTK cannot draw here: there is no OpenGL library")
    from Testing.Host.views import SliceView

    size = (64, 64, 24)
    distance = np.linalg.norm(np.indices(size) - np.array([[[[24]]], [[[36]]], [[[12]]]]), axis=0)
    head = np.linalg.norm((np.indices(size) - 32)[:2], axis=0) < 28
    volume = addVolume(scene, np.where(head, 80 - distance, 0).astype(np.int16), np.diag([-1.0, -1, 2, 1]))
    volume.CreateDefaultDisplayNodes()
    node = maps.writeMap(volume, np.maximum(-1, 1 - distance / 20), "liver", "similarity")
    made = segmentations.Provenance("general", "1", "2026-08-01")
    segmentation = segmentations.newSegmentation(scene, volume)
    segmentations.writeSegments(segmentation, volume, {"liver": distance < 12}, made, Vocabulary.load())
    segmentation.GetDisplayNode().SetVisibility2DFill(False)
    view, layers = SliceView("Red", "Axial", (300, 300)), ViewLayers(scene)
    try:
        layers.show(volume, node, 0.5)
        view.logic.FitSliceToBackground()
        view.logic.SetSliceOffset(24)
        maps.showThreshold(node, 0.5)
        maps.showLegend(node)
        picture = view.picture().astype(int)
    finally:
        layers.restore()
        view.close()
    colored = np.ptp(picture, axis=2) > 25
    reddish = picture[..., 0] - picture[..., 2] > 25
    # In voxels from the center of the liver: the map has 0.5 at 10, the outline runs along voxels at 11 to 12.5. On the
    # right is the legend.
    rows, columns = (np.indices((300, 300)) + 0.5) * 64 / 300 - 0.5
    away = np.where(columns < 42, np.hypot(rows - 36, columns - 24), np.nan)
    assert reddish[away < 9.5].all()
    assert not colored[(away > 10.5) & (away < 10.9)].any()
    assert colored[(away > 11) & (away < 12.5)].mean() > 0.1
    assert not colored[away > 13.5].any()
    assert colored[:, 200:].any()
