"""A first visit, from the scan to the saved scene: the whole module on real MRML, a real worker, the shipped model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import slicer
from CFSegmenterUI import maps, segmentations, volumes

from Testing.Host.modules import ScriptedModule
from Testing.Host.proxies import unwrap
from Testing.Widget.answeredWorker import click, enter, rowTexts

ROOT = Path(__file__).parents[2]
PHANTOM = ROOT / "CFSegmenter" / "Resources" / "SampleData" / "CFSegmenterPhantom.nrrd"
DATA = Path(os.environ.get("CFSEGMENTER_DATA", ROOT.parent / "shared" / "data"))
SCAN = DATA / "chaos_mr_t2" / "images" / "chaos_t2_22.nii.gz"
ORGANS = ["liver", "right kidney", "left kidney", "spleen"]
PATIENCE = 180
"""Seconds for a pass of the network on a busy machine."""


@pytest.fixture
def module(application, scene):
    """The module as Slicer loads it, opened."""
    scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    module = ScriptedModule(ROOT / "CFSegmenter" / "CFSegmenter.py").load()
    representation = module.widgetRepresentation()
    representation.resize(480, 1400)
    representation.show()
    module.enter()
    yield module
    module.exit()
    module.widget().cleanup()


def test_from_a_scan_to_a_saved_scene_and_back(module, scene, process, tmp_path):
    widget = module.widget()
    segment, inspect, session = widget.segmentPanel, widget.inspectPanel, widget.logic.session
    process(lambda: session.models, PATIENCE)
    volume = slicer.util.loadVolume(str(SCAN if SCAN.exists() else PHANTOM))
    node = widget.logic.getParameterNode()
    node.inputVolume = volume

    for name in ORGANS:
        enter(segment.ui.addLineEdit, name)
    assert node.targets == ORGANS or sorted(node.targets) == sorted(ORGANS)
    click(segment.ui.applyButton)
    assert segment.ui.applyButton.text == "Cancel"
    process(lambda: session.busy is None, PATIENCE)
    found = segmentations.ownSegments(node.outputSegmentation)
    assert set(found) == set(ORGANS), segment.ui.statusLabel.text
    liver = segmentations.maskOf(node.outputSegmentation, found["liver"], volume)

    widget.inspectSection.collapsed = False
    inspect.ui.classComboBox.setCurrentIndex(inspect.ui.classComboBox.findText("liver"))
    click(inspect.ui.showMapButton)
    process(lambda: maps.mapsOf(volume) and session.busy is None, PATIENCE)
    (mapNode,) = maps.mapsOf(volume)
    similarity = slicer.util.arrayFromVolume(mapNode).T
    assert similarity[liver].mean() > similarity[~liver].mean() + 0.2
    composite = scene.GetFirstNodeByClass("vtkMRMLSliceCompositeNode")
    assert composite.GetForegroundVolumeID() == mapNode.GetID()
    assert composite.GetBackgroundVolumeID() == volume.GetID()

    unwrap(inspect.ui.thresholdSlider).setValue(0.45)
    assert mapNode.GetDisplayNode().GetLowerThreshold() == pytest.approx(0.45)
    assert node.threshold == pytest.approx(0.45)

    center = np.argwhere(liver)[len(np.argwhere(liver)) // 2]
    ras = (volumes.ijkToRas(volume) @ [*center, 1.0])[:3]
    node.probePoint = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
    node.probePoint.AddControlPoint(ras.tolist())
    process(lambda: rowTexts(inspect.ui.rankingTable), PATIENCE)
    assert rowTexts(inspect.ui.rankingTable)[0][0] == "liver"

    enter(segment.ui.addLineEdit, "kidney")
    process(lambda: session.busy is None)
    click(segment.ui.applyButton)
    process(lambda: session.busy is None, PATIENCE)
    own = segmentations.ownSegments(node.outputSegmentation)
    assert set(own) == {*ORGANS, "kidney"}
    assert {own[name] for name in ORGANS} == set(found.values()), "a re-run replaces its own segments in place"
    assert (segmentations.maskOf(node.outputSegmentation, own["liver"], volume) == liver).all()

    saved = tmp_path / "visit.mrb"
    assert slicer.util.saveScene(str(saved))
    scene.Clear(0)
    slicer.util.loadScene(str(saved))
    node = widget.logic.getParameterNode()
    assert sorted(node.targets) == sorted([*ORGANS, "kidney"])
    assert node.threshold == pytest.approx(0.45)
    assert set(segmentations.ownSegments(node.outputSegmentation)) == {*ORGANS, "kidney"}
    (again,) = maps.mapsOf(node.inputVolume)
    np.testing.assert_array_equal(slicer.util.arrayFromVolume(again).T, similarity)
    assert (segmentations.maskOf(node.outputSegmentation, own["liver"], node.inputVolume) == liver).all()
