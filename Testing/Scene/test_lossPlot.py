"""The loss of an update as a chart in the scene, and the layout that shows it."""

from __future__ import annotations

import slicer
from CFSegmenterUI.lossPlot import LossPlot

NODES = ("vtkMRMLTableNode", "vtkMRMLPlotSeriesNode", "vtkMRMLPlotChartNode")


def chartIn(scene):
    return scene.GetFirstNodeByClass("vtkMRMLPlotChartNode")


def countsIn(scene):
    return [scene.GetNumberOfNodesByClass(each) for each in NODES]


def valuesOf(chart):
    table = chart.GetNthPlotSeriesNode(0).GetTableNode().GetTable()
    rows = range(table.GetNumberOfRows())
    return [tuple(table.GetValue(row, column).ToDouble() for column in (0, 1)) for row in rows]


def test_nothing_is_put_into_the_scene_before_the_chart_is_asked_for(scene, layout):
    plot = LossPlot(scene)
    plot.show([(10, 2.5)])
    assert countsIn(scene) == [0, 0, 0]
    plot.present()
    assert valuesOf(chartIn(scene)) == [(10, 2.5)]


def test_the_chart_follows_the_loss_with_the_same_nodes(scene, layout):
    plot = LossPlot(scene)
    plot.show([(10, 2.5)])
    plot.present()
    chart = chartIn(scene)
    plot.show([(10, 2.5), (20, 1.25), (30, 1.0)])
    assert valuesOf(chart) == [(10, 2.5), (20, 1.25), (30, 1.0)]
    assert countsIn(scene) == [1, 1, 1]
    series = chart.GetNthPlotSeriesNode(0)
    names = [series.GetTableNode().GetColumnName(column) for column in (0, 1)]
    assert [series.GetXColumnName(), series.GetYColumnName()] == names


def test_a_reloaded_module_goes_on_with_the_chart_that_is_there(scene, layout):
    for losses in ([(1, 1.0)], [(1, 1.0), (2, 0.5)]):
        plot = LossPlot(scene)
        plot.show(losses)
        plot.present()
    assert countsIn(scene) == [1, 1, 1]
    assert valuesOf(chartIn(scene)) == [(1, 1.0), (2, 0.5)]


def test_the_chart_of_an_earlier_update_stays_as_it_is_until_another_is_asked_for(scene, layout):
    earlier, later = LossPlot(scene), LossPlot(scene)
    earlier.show([(1, 1.0)])
    earlier.present()
    later.show([(1, 5.0)])
    assert valuesOf(chartIn(scene)) == [(1, 1.0)]


def test_after_a_closed_scene_the_chart_is_made_anew_when_it_is_asked_for(scene, layout):
    plot = LossPlot(scene)
    plot.show([(1, 1.0)])
    plot.present()
    scene.Clear(0)
    plot.show([(2, 0.5)])
    assert countsIn(scene) == [0, 0, 0]
    plot.present()
    assert valuesOf(chartIn(scene)) == [(2, 0.5)]


def test_the_chart_is_shown_in_a_layout_with_a_plot_and_put_away_again(scene, layout):
    view = scene.AddNewNodeByClass("vtkMRMLPlotViewNode")
    plot = LossPlot(scene)
    plot.show([(1, 1.0)])
    plot.present()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView
    assert view.GetPlotChartNodeID() == chartIn(scene).GetID()
    plot.putAway()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView


def test_a_layout_that_the_user_chose_meanwhile_stays(scene, layout):
    plot = LossPlot(scene)
    plot.show([(1, 1.0)])
    plot.present()
    layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView)
    plot.putAway()
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutOneUpRedSliceView


def test_without_views_there_is_nothing_to_show_it_in_and_no_chart(scene):
    plot = LossPlot(scene)
    plot.show([(1, 1.0)])
    assert not plot.canPresent
    plot.present()
    plot.putAway()
    assert countsIn(scene) == [0, 0, 0]
