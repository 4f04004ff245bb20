"""The loss of an update as a chart in the scene, and the layout that shows it."""

from __future__ import annotations

import pytest
import slicer
from CFSegmenterUI.lossPlot import LossPlot


@pytest.fixture
def layout(scene):
    node = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield node
    scene.RemoveNode(node)


def valuesOf(chart):
    table = chart.GetNthPlotSeriesNode(0).GetTableNode().GetTable()
    rows = range(table.GetNumberOfRows())
    return [tuple(table.GetValue(row, column).ToDouble() for column in (0, 1)) for row in rows]


def test_the_chart_follows_the_loss_with_the_same_nodes(scene):
    plot = LossPlot(scene)
    chart = plot.show([(10, 2.5)])
    assert valuesOf(chart) == [(10, 2.5)]
    assert plot.show([(10, 2.5), (20, 1.25), (30, 1.0)]) is chart
    assert valuesOf(chart) == [(10, 2.5), (20, 1.25), (30, 1.0)]
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 1
    series = chart.GetNthPlotSeriesNode(0)
    names = [series.GetTableNode().GetColumnName(column) for column in (0, 1)]
    assert [series.GetXColumnName(), series.GetYColumnName()] == names


def test_a_reloaded_module_goes_on_with_the_chart_that_is_there(scene):
    chart = LossPlot(scene).show([(1, 1.0)])
    assert LossPlot(scene).show([(1, 1.0), (2, 0.5)]) is chart


def test_after_a_closed_scene_the_chart_is_made_anew(scene):
    plot = LossPlot(scene)
    plot.show([(1, 1.0)])
    scene.Clear(0)
    assert valuesOf(plot.show([(2, 0.5)])) == [(2, 0.5)]


def test_the_chart_is_shown_in_a_layout_with_a_plot_and_put_away_again(scene, layout):
    view = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    plot = LossPlot(scene)
    chart = plot.show([(1, 1.0)])
    plot.present()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView
    assert view.GetPlotChartNodeID() == chart.GetID()
    plot.putAway()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_a_layout_that_the_user_chose_meanwhile_stays(scene, layout):
    plot = LossPlot(scene)
    plot.show([(1, 1.0)])
    plot.present()
    layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    plot.putAway()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


def test_without_views_there_is_a_chart_and_nothing_to_show_it_in(scene):
    plot = LossPlot(scene)
    chart = plot.show([(1, 1.0)])
    assert not plot.canPresent
    plot.present()
    plot.putAway()
    assert chart.GetScene() is scene
