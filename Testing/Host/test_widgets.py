"""The stand-ins for Slicer's and CTK's widgets behave like them, and .ui files make and check them."""

from __future__ import annotations

import ctk
import numpy as np
import pytest
import qt
import slicer

from Testing.Host.uiCheck import findings

UI = """<?xml version="1.0" encoding="UTF-8"?>
<ui version="4.0">
 <class>Panel</class>
 <widget class="qMRMLWidget" name="Panel">
  <layout class="QVBoxLayout" name="verticalLayout">
   <item>
    <widget class="ctkCollapsibleButton" name="section">
     <property name="text"><string>Section</string></property>
     <property name="collapsed"><bool>true</bool></property>
     <layout class="QFormLayout" name="formLayout">
      <item row="0" column="0"><widget class="QLabel" name="label"/></item>
      <item row="0" column="1">
       <widget class="qMRMLNodeComboBox" name="volumeSelector">
        <property name="nodeTypes"><stringlist><string>vtkMRMLScalarVolumeNode</string></stringlist></property>
        <property name="noneEnabled"><bool>true</bool></property>
        <property name="SlicerParameterName" stdset="0"><string>inputVolume</string></property>
       </widget>
      </item>
     </layout>
    </widget>
   </item>
   <item><widget class="Line" name="line"/></item>
  </layout>
 </widget>
 <customwidgets>
  <customwidget><class>ctkCollapsibleButton</class><extends>QWidget</extends></customwidget>
  <customwidget><class>qMRMLNodeComboBox</class><extends>QWidget</extends></customwidget>
  <customwidget><class>qMRMLWidget</class><extends>QWidget</extends></customwidget>
 </customwidgets>
 <connections>
  <connection>
   <sender>Panel</sender><signal>mrmlSceneChanged(vtkMRMLScene*)</signal>
   <receiver>volumeSelector</receiver><slot>setMRMLScene(vtkMRMLScene*)</slot>
  </connection>
 </connections>
</ui>
"""


def a_panel(tmp_path, text=UI):
    path = tmp_path / "Panel.ui"
    path.write_text(text, encoding="utf-8")
    return slicer.util.loadUI(str(path))


def test_a_ui_file_becomes_widgets_that_follow_the_scene(tmp_path, scene):
    panel = a_panel(tmp_path)
    ui = slicer.util.childWidgetVariables(panel)
    panel.setMRMLScene(scene)
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "ct")
    assert ui.volumeSelector.nodeCount() == 1
    ui.volumeSelector.setCurrentNode(volume)
    assert ui.volumeSelector.currentNode() is volume
    assert ui.volumeSelector.property("SlicerParameterName") == "inputVolume"


def test_a_section_that_starts_collapsed_hides_what_is_in_it(tmp_path):
    panel = a_panel(tmp_path)
    ui = slicer.util.childWidgetVariables(panel)
    panel.show()
    assert not ui.label.visible
    ui.section.collapsed = False
    assert ui.label.visible


def test_a_widget_that_was_hidden_stays_hidden_when_its_section_is_opened():
    section = ctk.ctkCollapsibleButton()
    layout = qt.QVBoxLayout(section)
    shown, hidden = qt.QLabel(), qt.QLabel()
    layout.addWidget(shown)
    layout.addWidget(hidden)
    hidden.hide()
    section.show()
    section.click()
    section.click()
    assert (shown.visible, hidden.visible) == (True, False)


def test_a_class_that_does_not_exist_is_named_when_a_ui_file_is_loaded(tmp_path):
    with pytest.raises(RuntimeError, match="QLabl"):
        a_panel(tmp_path, UI.replace('"QLabel"', '"QLabl"'))


def test_the_check_of_a_ui_file_accepts_a_good_one():
    assert findings(UI) == []


@pytest.mark.parametrize(
    ("good", "bad", "finding"),
    [
        ('"QLabel"', '"QLabl"', "label: there is no class QLabl"),
        ('name="collapsed"', 'name="colapsed"', "section: ctkCollapsibleButton has no property colapsed"),
        ('name="label"', 'name="section"', "two widgets are called section"),
        ("setMRMLScene(", "setScene(", "volumeSelector: qMRMLNodeComboBox has no slot setScene(vtkMRMLScene*)"),
        ("mrmlSceneChanged", "sceneChanged", "Panel: qMRMLWidget has no signal sceneChanged(vtkMRMLScene*)"),
        ("<receiver>volumeSelector", "<receiver>selector", "a connection names selector, which is no widget"),
        ("<class>qMRMLWidget", "<class>other", "Panel: qMRMLWidget is not declared in <customwidgets>"),
    ],
)
def test_the_check_of_a_ui_file_names_a_mistake(good, bad, finding):
    assert good in UI
    assert findings(UI.replace(good, bad)) == [finding]


def test_the_node_selector_lets_go_of_a_node_that_leaves_the_scene(scene):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLModelNode"]
    selector.noneEnabled = True
    selector.setMRMLScene(scene)
    got = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    model = scene.AddNewNodeByClass("vtkMRMLModelNode")
    selector.setCurrentNode(model)
    scene.RemoveNode(model)
    assert got == [model, None]
    assert selector.currentNode() is None


def test_the_node_selector_chooses_the_first_node_where_none_is_no_choice(scene):
    model = scene.AddNewNodeByClass("vtkMRMLModelNode")
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLModelNode"]
    selector.setMRMLScene(scene)
    assert selector.currentNode() is model


def a_selector_of_models(scene, noneEnabled):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLModelNode"]
    selector.noneEnabled = noneEnabled
    selector.setMRMLScene(scene)
    return selector


@pytest.mark.parametrize("noneEnabled", [False, True])
def test_the_first_node_of_a_scene_is_chosen_by_itself_where_none_is_no_choice(scene, noneEnabled):
    selector = a_selector_of_models(scene, noneEnabled)
    first = scene.AddNewNodeByClass("vtkMRMLModelNode")
    scene.AddNewNodeByClass("vtkMRMLModelNode")
    assert selector.currentNode() is (None if noneEnabled else first)


@pytest.mark.parametrize("noneEnabled", [False, True])
def test_deleting_the_current_node_chooses_its_neighbour(scene, noneEnabled):
    selector = a_selector_of_models(scene, noneEnabled)
    first, second, third = (scene.AddNewNodeByClass("vtkMRMLModelNode") for _ in range(3))
    selector.setCurrentNode(second)
    scene.RemoveNode(second)
    assert selector.currentNode() is third
    scene.RemoveNode(third)
    assert selector.currentNode() is first
    scene.RemoveNode(first)
    assert selector.currentNode() is None


@pytest.mark.parametrize("noneEnabled", [False, True])
def test_a_scene_that_is_added_makes_the_rows_of_the_node_selector_anew(scene, noneEnabled, tmp_path):
    first, second = (scene.AddNewNodeByClass("vtkMRMLModelNode") for _ in range(2))
    assert slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    selector = a_selector_of_models(scene, noneEnabled)
    selector.setCurrentNode(second)
    got = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", got.append)
    slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    assert selector.nodeCount() == 4
    assert got == ([None] if noneEnabled else [None, first])


def test_the_node_selector_leaves_out_the_nodes_with_hidden_ids(scene):
    first, second = (scene.AddNewNodeByClass("vtkMRMLModelNode") for _ in range(2))
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLModelNode"]
    selector.setMRMLScene(scene)
    selector.sortFilterProxyModel().hiddenNodeIDs = [first.GetID()]
    assert selector.nodeCount() == 1 and selector.nodeFromIndex(0) is second
    assert selector.sortFilterProxyModel().hiddenNodeIDs == (first.GetID(),)
    selector.sortFilterProxyModel().hiddenNodeIDs = []
    assert selector.nodeCount() == 2


def test_a_node_selector_that_is_gone_observes_the_scene_no_more(scene):
    selector = slicer.qMRMLNodeComboBox()
    before = scene.HasObserver(scene.EndImportEvent)
    selector.setMRMLScene(scene)
    assert scene.HasObserver(scene.EndImportEvent)
    del selector
    assert scene.HasObserver(scene.EndImportEvent) == before


def test_the_segment_selector_lists_the_segments_of_the_chosen_segmentation(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode")
    node.GetSegmentation().AddEmptySegment("first")
    selector = slicer.qMRMLSegmentSelectorWidget()
    selector.setMRMLScene(scene)
    selector.setCurrentNode(node)
    got = []
    selector.connect("currentSegmentChanged(QString)", got.append)
    node.GetSegmentation().AddEmptySegment("second")
    selector.setCurrentSegmentID("second")
    assert (selector.segmentIDs(), selector.currentSegmentID(), got) == (("first", "second"), "second", ["second"])
    node.GetSegmentation().RemoveSegment("second")
    assert selector.currentSegmentID() == "first"


def test_a_slider_keeps_its_value_in_its_range():
    slider = ctk.ctkSliderWidget()
    got = []
    slider.connect("valueChanged(double)", got.append)
    slider.minimum, slider.maximum, slider.decimals = -1, 1, 2
    slider.value = 0.456
    slider.value = 3
    assert got == [0.46, 1.0]
    np.testing.assert_allclose([slider.minimum, slider.maximum], [-1, 1])
