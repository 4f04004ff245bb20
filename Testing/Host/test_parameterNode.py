"""A wrapped parameter node: typed values in the scene, and widgets tied to them."""

from __future__ import annotations

from typing import Annotated

import ctk
import pytest
import qt
import slicer
import vtk
from slicer import vtkMRMLModelNode, vtkMRMLScalarVolumeNode
from slicer.parameterNodeWrapper import Choice, Default, WithinRange, isParameterNodeWrapper, parameterNodeWrapper


@parameterNodeWrapper
class Parameters:
    """All types of values."""

    volume: vtkMRMLScalarVolumeNode
    either: vtkMRMLScalarVolumeNode | vtkMRMLModelNode | None
    targets: list[str]
    all: bool = False
    count: Annotated[int, WithinRange(0, 10), Default(2)]
    threshold: Annotated[float, WithinRange(-1, 1), Default(0.5)]
    device: Annotated[str, Choice(["auto", "cpu"]), Default("auto")]
    text: str


@pytest.fixture
def node(scene):
    return scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode", "Parameters")


@pytest.fixture
def parameters(node):
    return Parameters(node)


def test_every_value_starts_with_its_default(parameters):
    names = ("volume", "either", "targets", "all", "count", "threshold", "device", "text")
    assert [parameters.getValue(one) for one in names] == [None, None, [], False, 2, 0.5, "auto", ""]
    assert isParameterNodeWrapper(parameters)
    assert parameters.isCached("targets")


def test_values_are_kept_as_texts_and_node_references(parameters, node, scene):
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    parameters.volume = volume
    parameters.targets = ["liver", "spleen"]
    parameters.all = True
    assert node.GetNodeReference("volume") is volume
    kept = {one: node.GetParameter(one) for one in ("targets.len", "targets.0", "targets.1", "all")}
    assert kept == {"targets.len": "2", "targets.0": "liver", "targets.1": "spleen", "all": "True"}
    assert Parameters(node).targets == ["liver", "spleen"]


def test_values_survive_saving_and_loading_of_the_scene(parameters, scene, tmp_path):
    parameters.either = scene.AddNewNodeByClass("vtkMRMLModelNode", "model")
    parameters.targets = ["liver"]
    parameters.threshold = -0.25
    path = str(tmp_path / "scene.mrb")
    assert slicer.util.saveScene(path)
    scene.Clear(0)
    slicer.util.loadScene(path)
    loaded = Parameters(slicer.util.getNode("Parameters"))
    assert (loaded.either.GetName(), loaded.targets, loaded.threshold) == ("model", ["liver"], -0.25)


def test_a_node_that_comes_into_the_scene_after_what_refers_to_it_is_not_noticed(parameters, node, scene):
    volume = scene.CreateNodeByClass("vtkMRMLScalarVolumeNode")
    volume.UnRegister(None)
    node.SetNodeReferenceID("volume", "vtkMRMLScalarVolumeNode1")
    assert scene.AddNode(volume).GetID() == "vtkMRMLScalarVolumeNode1"
    assert parameters.volume is None
    assert Parameters(node).volume is node.GetNodeReference("volume") is volume
    node.Modified()
    assert parameters.volume is volume


def test_a_wrapper_that_is_gone_observes_the_node_no_more(scene):
    node = scene.AddNewNodeByClass("vtkMRMLScriptedModuleNode")
    wrapped = Parameters(node)
    assert node.HasObserver(vtk.vtkCommand.ModifiedEvent)
    del wrapped
    assert not node.HasObserver(vtk.vtkCommand.ModifiedEvent)


def test_a_change_of_the_list_is_a_change_of_the_node(parameters, node):
    parameters.targets = ["liver", "spleen"]
    parameters.targets.append("heart")
    parameters.targets.remove("liver")
    assert parameters.targets == ["spleen", "heart"]
    assert [node.HasParameter(f"targets.{index}") for index in range(3)] == [1, 1, 0]
    with pytest.raises(TypeError):
        parameters.targets.append(3)
    assert parameters.targets == ["spleen", "heart"]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        ("count", 11, ValueError),
        ("threshold", -1.5, ValueError),
        ("device", "gpu", ValueError),
        ("text", None, ValueError),
        ("count", "3", TypeError),
        ("all", 1, TypeError),
        ("volume", slicer.vtkMRMLModelNode(), TypeError),
    ],
)
def test_a_value_that_is_not_allowed_is_refused_and_changes_nothing(parameters, name, value, error):
    before = parameters.getValue(name)
    with pytest.raises(error):
        setattr(parameters, name, value)
    assert parameters.getValue(name) == before


def test_a_list_is_one_change(parameters):
    events = []
    parameters.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: events.append(event))
    parameters.targets = ["liver", "spleen"]
    assert len(events) == 1


def test_defaults_are_back_after_the_scene_was_closed(scene):
    node = scene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
    node.UnRegister(None)
    node.SetSingletonTag("Parameters")
    parameters = Parameters(scene.AddNode(node))
    parameters.count = 7
    scene.Clear(0)
    assert parameters.count == 2


def test_a_type_that_cannot_be_kept_and_a_reserved_name_are_refused():
    with pytest.raises(TypeError):
        parameterNodeWrapper(type("Bad", (), {"__annotations__": {"size": complex}}))
    with pytest.raises(ValueError, match="default"):
        parameterNodeWrapper(type("Bad", (), {"__annotations__": {"default": int}}))


class Ui:
    """Widgets as `slicer.util.childWidgetVariables` gives them."""

    def __init__(self, scene):
        self.volume = slicer.qMRMLNodeComboBox()
        self.volume.noneEnabled = True
        self.volume.setMRMLScene(scene)
        self.all = qt.QCheckBox()
        self.count = qt.QSpinBox()
        self.threshold = ctk.ctkSliderWidget()
        self.device = qt.QComboBox()
        self.text = qt.QLineEdit()
        for name, widget in vars(self).items():
            widget.setProperty("SlicerParameterName", name)
        self.label = qt.QLabel("no parameter")


def test_widgets_show_the_parameters_and_change_them(parameters, scene):
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "ct")
    ui = Ui(scene)
    parameters.connectGui(ui)
    assert (ui.count.value, ui.threshold.value, ui.threshold.maximum, ui.device.currentText) == (2, 0.5, 1, "auto")
    parameters.volume, parameters.all, parameters.text = volume, True, "text"
    assert (ui.volume.currentNode(), ui.all.checked, ui.text.text) == (volume, True, "text")
    ui.threshold.value, ui.device.currentIndex, ui.count.value = 0.25, 1, 3
    ui.volume.setCurrentNode(None)
    assert (parameters.threshold, parameters.device, parameters.count, parameters.volume) == (0.25, "cpu", 3, None)


def test_disconnected_widgets_and_parameters_go_their_own_ways(parameters, scene):
    ui = Ui(scene)
    parameters.disconnectGui(parameters.connectGui(ui))
    ui.count.value = 5
    assert parameters.count == 2
    parameters.text = "text"
    assert ui.text.text == ""


def test_a_widget_that_slicer_does_not_connect_is_refused(parameters):
    class OwnCheckBox(qt.QCheckBox):
        pass

    for name, widget in (
        ("all", OwnCheckBox()),
        ("text", ctk.ctkPathLineEdit()),
        ("text", qt.QComboBox()),
        ("threshold", qt.QSpinBox()),
        ("targets", qt.QListWidget()),
    ):
        with pytest.raises(RuntimeError):
            parameters.connectParametersToGui({name: widget})
    with pytest.raises(ValueError, match="no parameter"):
        parameters.connectParametersToGui({"misspelt": qt.QCheckBox()})
