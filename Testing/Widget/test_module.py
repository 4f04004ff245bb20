"""The module as a whole: opening, leaving, closing the scene; and what scripts ask of its logic, with a real worker."""

from __future__ import annotations

import re
import sys
import types

import numpy as np
import psutil
import pytest
import slicer
from CFSegmenterUI import maps, segmentations

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.structures import Vocabulary
from Testing.Extension.parameters import fields
from Testing.Extension.sources import MODULE
from Testing.Host.modules import ScriptedModule

MODEL, SCAN = MODULE / "Resources" / "SelfTest" / "model", MODULE / "Resources" / "SelfTest" / "scan.nrrd"
ORGANS = {"liver", "right kidney", "left kidney", "spleen"}
PATIENCE = 120
CHOICES = {
    "targets": ["liver", "spleen"],
    "allFrames": True,
    "model": "/models/own",
    "device": "cpu",
    "protocol": "abdomen CT",
    "mapStructure": "liver",
    "mapOpacity": 0.8,
    "threshold": -0.25,
    "showLegend": False,
    "exampleSegment": "CFSegmenter_liver",
    "caseFolder": "/cases",
    "storeFolder": "/versions",
    "unlabelledFolder": "/old",
    "updateBudget": "2h",
    "updateLearningRate": "0.001",
    "updatePseudoLabels": True,
    "updateSimilarityWeights": True,
}
"""What a user may choose besides nodes: a value of every field that is not its first."""


@pytest.fixture
def module(application, scene):
    """The module as Slicer loads it, not yet opened."""
    module = ScriptedModule(MODULE / "CFSegmenter.py").load()
    module.widgetRepresentation().show()
    yield module
    module.widget().cleanup()


@pytest.fixture
def logic(module):
    """Its logic, with the tiny model of the self-test."""
    logic = sys.modules["CFSegmenter"].CFSegmenterLogic([str(MODEL)])
    yield logic
    logic.stop()


@pytest.fixture
def scan(scene):
    return slicer.util.loadVolume(str(SCAN))


def hears(widget):
    """Whether a panel listens to changes of the choices."""
    node = widget.logic.getParameterNode()
    node.device = "cuda" if node.device == "cpu" else "cpu"
    return widget.segmentPanel.ui.deviceComboBox.currentText == node.device


def testOpeningChoosesAScanAndNoMapOrLabels(module, scene, scan):
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels")
    similarity = maps.writeMap(scan, np.zeros(scan.GetImageData().GetDimensions(), np.float32), "liver", "similarity")
    scene.RemoveNode(scan)
    module.enter()
    node = module.widget().logic.getParameterNode()
    assert node.inputVolume is None
    module.exit()
    scan = slicer.util.loadVolume(str(SCAN))
    module.enter()
    assert node.inputVolume is scan not in (labels, similarity)


def testLeavingRemovesTheObserversAndComingBackShowsTheChoices(module, scan):
    widget = module.widget()
    assert not hears(widget)
    module.enter()
    assert hears(widget)
    module.exit()
    assert not hears(widget)
    widget.logic.getParameterNode().device = "cpu"
    assert widget.segmentPanel.ui.deviceComboBox.currentText != "cpu"
    module.enter()
    assert widget.segmentPanel.ui.deviceComboBox.currentText == "cpu"
    assert widget.segmentPanel.ui.inputVolumeSelector.currentNode() is scan


def testStartOfSlicerOffersTheSampleAndLoadsNothingElse(module, monkeypatch):
    offered = []
    logic = types.SimpleNamespace(registerCustomSampleDataSource=lambda **source: offered.append(source["sampleName"]))
    monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
    slicer.app.moduleManager().events.startupCompleted.emit()
    assert set(offered) == {"CFSegmenterPhantom"}


def testEveryChoiceSurvivesSavingAndLoadingOfTheScene(module, scene, scan, tmp_path):
    segmentation = segmentations.newSegmentation(scene, scan)
    mask = {"liver": np.ones(scan.GetImageData().GetDimensions(), bool)}
    segmentations.writeSegments(segmentation, scan, mask, segmentations.Provenance("", "", ""), Vocabulary.load())
    chosen = {
        "inputVolume": scan,
        "shownMap": maps.writeMap(scan, np.zeros(mask["liver"].shape, np.float32), "liver", "similarity"),
        "probePoint": scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "probe"),
        **dict.fromkeys(("outputSegmentation", "exampleSegmentation", "caseSegmentation"), segmentation),
    }
    node = module.widget().logic.getParameterNode()
    assert {*chosen, *CHOICES} == set(fields()), "a new field needs a value here"
    for name, value in {**chosen, **CHOICES}.items():
        assert getattr(node, name) != value, f"{name} would be so in any new scene"
        setattr(node, name, value)
    names = {name: each.GetName() for name, each in chosen.items()}
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    node = module.widget().logic.getParameterNode()
    assert {name: getattr(node, name) for name in CHOICES} == CHOICES
    assert {name: getattr(node, name).GetName() for name in chosen} == names


@pytest.fixture
def workers():
    """What has been started since: other tests have left children, as Python's own tracker of resources."""
    before = set(psutil.Process().children(recursive=True))
    return lambda: [each for each in psutil.Process().children(recursive=True) if each not in before]


def testApplicationsEndEndsTheWorkerAndNobodyListensAnyMore(workers, module, scene, process):
    widget = module.widget()
    module.enter()
    process(lambda: widget.logic.session.models, PATIENCE)
    workers = workers()
    assert workers
    module.unload()
    psutil.wait_procs(workers, timeout=PATIENCE)
    assert not any(worker.is_running() for worker in workers)
    listeners = (widget, widget.segmentPanel._scans, widget.inspectPanel, widget.inspectPanel._point)
    assert not any(each.Observations for each in listeners)
    assert not hears(widget)


def testClosingTheSceneEndsTheWorkerAndThePanelGoesOn(workers, module, scene, process):
    widget = module.widget()
    module.enter()
    link = widget.logic.session.link
    process(lambda: widget.logic.session.models, PATIENCE)
    assert link.isRunning
    workers = workers()
    scene.Clear(0)
    assert not link.isRunning
    psutil.wait_procs(workers, timeout=PATIENCE)
    assert not any(worker.is_running() for worker in workers)
    assert "No volume" in widget.segmentPanel.ui.estimateLabel.text  # the models are known still
    scan = slicer.util.loadVolume(str(SCAN))
    widget.segmentPanel.ui.inputVolumeSelector.setCurrentNode(scan)
    assert "No structure" in widget.segmentPanel.ui.estimateLabel.text


def testClosingTheSceneDuringTheSearchForModelsSearchesAgain(module, scene, process):
    widget = module.widget()
    module.enter()
    link = widget.logic.session.link
    process(lambda: link.isRunning)
    scene.Clear(0)
    process(lambda: widget.logic.session.models, PATIENCE)


def testAReloadedModuleGoesOnWithoutBeingEnteredAgain(module, scan, process):
    module.enter()
    before = module.widget()
    module.reload()
    widget = module.widget()
    assert widget is not before
    assert widget.segmentPanel.ui.inputVolumeSelector.currentNode() is scan
    process(lambda: widget.logic.session.models, PATIENCE)


def testAModuleThatIsReloadedUnseenIsNotEntered(module, scan):
    module.widget()
    module.reload()
    assert not hears(module.widget())


def testWhatTheModuleAsksOfOthersIsAmongItsDependencies(module):
    source = "\n".join(path.read_text(encoding="utf-8") for path in MODULE.rglob("*.py"))
    asked = re.findall(r'slicer\.modules(?:\.|, ")([a-z]+)\b', source)
    assert {"plots", "colors", "sequences"} <= set(asked) <= {name.lower() for name in module.dependencies}


def testScriptsAskForEverythingThatThePanelsDo(logic, scene, scan):
    how = {"model": str(MODEL), "device": "cpu"}
    result = logic.segment(scan, [*ORGANS], **how)
    assert set(result.segments) == ORGANS and result.encoded
    best = logic.best(scan, **how)
    colors = best.GetDisplayNode().GetColorNode()
    names = {colors.GetColorName(number) for number in range(colors.GetNumberOfColors())}
    assert names == {"background", *ORGANS}
    spleen = segmentations.maskOf(result.node, result.segments["spleen"], scan)
    classes = slicer.util.arrayFromVolume(best).T
    assert {colors.GetColorName(int(number)) for number in np.unique(classes[spleen])} == {"spleen"}

    painted = segmentations.newSegmentation(scene, scan)
    corner = np.zeros(spleen.shape, bool)
    corner[tuple(np.argwhere(spleen)[len(np.argwhere(spleen)) // 2])] = True
    made = segmentations.Provenance("", "", "2026-11-25")
    segments = segmentations.writeSegments(painted, scan, {"a few voxels": corner}, made, Vocabulary.load()).segments
    query = logic.example(scan, painted, segments["a few voxels"], **how)
    alike = slicer.util.arrayFromVolume(logic.similarity(scan, query, **how)).T
    assert alike[spleen].mean() > alike[~spleen].mean() + 0.5
    margin = slicer.util.arrayFromVolume(logic.margin(scan, **how)).T
    assert margin.min() >= 0 and margin[spleen].mean() > 0.2
    with pytest.raises(UserError, match="There is no model in /nowhere"):
        logic.segment(scan, ["liver"], model="/nowhere")
    with pytest.raises(UserError, match="pancreas"):
        logic.segment(scan, ["pancreas"], **how)


def testAScriptSegmentsEveryFrameOfASequence(logic, scene, scan):
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    array = np.array(slicer.util.arrayFromVolume(scan))
    for number, frame in enumerate((array, array[:, ::-1].copy())):  # the second one turned over
        slicer.util.updateVolumeFromArray(scan, frame)
        sequence.SetDataNodeAtValue(scan, str(number))
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    results = logic.segmentFrames(proxy, ["spleen"], model=str(MODEL), device="cpu")
    assert len(results) == 2
    browser.SetSelectedItemNumber(0)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    node = browser.GetProxyNode(browser.GetSequenceNode(results[0].node))
    mask = segmentations.maskOf(node, segmentations.ownSegments(node)["spleen"], proxy)
    voxel = np.prod(proxy.GetSpacing()) / 1000
    assert mask.sum() * voxel == pytest.approx(results[0].milliliters["spleen"])
