"""How the loss of an update falls, as a chart of the scene that a plot view shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import slicer
import vtk
from slicer.i18n import tr as _

ROLE = "CFSegmenter.LossPlot"
"""Attribute of our nodes, by which a reloaded module finds them again."""


class LossPlot:
    """A LossPlot keeps one curve up to date, and brings it in sight and out of it again."""

    def __init__(self, scene: Any):
        self._scene = scene
        self._layoutBefore: int | None = None

    @property
    def canPresent(self) -> bool:
        """Whether there are views at all: without a main window there are none."""
        return self._layout() is not None

    def show(self, losses: Sequence[tuple[float, float]]) -> Any:
        """Draw (step, loss); returns the chart node."""
        table = self._tableNode()
        columns = [vtk.vtkDoubleArray(), vtk.vtkDoubleArray()]
        for column, name in zip(columns, (_("step"), _("loss"))):
            column.SetName(name)
            column.SetNumberOfValues(len(losses))
        for row, (step, loss) in enumerate(losses):
            columns[0].SetValue(row, step)
            columns[1].SetValue(row, loss)
        with slicer.util.NodeModify(table):
            table.RemoveAllColumns()
            for column in columns:
                table.AddColumn(column)
        return self._chartNode(table)

    def present(self) -> None:
        """Show the chart in a plot view, in a layout that has one."""
        layout, chart = self._layout(), self._find("vtkMRMLPlotChartNode")
        if layout is None or chart is None:
            return
        if self._layoutBefore is None:
            self._layoutBefore = layout.GetViewArrangement()
        slicer.modules.plots.logic().ShowChartInLayout(chart)

    def putAway(self) -> None:
        """Give the views back as they were, unless the user has chosen another layout meanwhile."""
        layout, before = self._layout(), self._layoutBefore
        self._layoutBefore = None
        if layout is None or before is None:
            return
        if layout.GetViewArrangement() == slicer.modules.plots.logic().GetLayoutWithPlot(before):
            layout.SetViewArrangement(before)

    def _layout(self) -> Any:
        return self._scene.GetFirstNodeByClass("vtkMRMLLayoutNode")

    def _tableNode(self) -> Any:
        return self._find("vtkMRMLTableNode") or self._make("vtkMRMLTableNode", _("Loss of the update"))

    def _chartNode(self, table: Any) -> Any:
        series = self._find("vtkMRMLPlotSeriesNode")
        if series is None:
            series = self._make("vtkMRMLPlotSeriesNode", _("loss"))
            series.SetPlotType(slicer.vtkMRMLPlotSeriesNode.PlotTypeScatter)
            series.SetMarkerStyle(slicer.vtkMRMLPlotSeriesNode.MarkerStyleNone)
            series.SetXColumnName(_("step"))
            series.SetYColumnName(_("loss"))
            series.SetColor(0.12, 0.35, 0.65)
        series.SetAndObserveTableNodeID(table.GetID())
        chart = self._find("vtkMRMLPlotChartNode")
        if chart is None:
            chart = self._make("vtkMRMLPlotChartNode", _("Loss of the update"))
            chart.SetTitle(_("Loss of the update"))
            chart.SetXAxisTitle(_("step"))
            chart.SetYAxisTitle(_("loss"))
            chart.SetLegendVisibility(False)
        if chart.GetNumberOfPlotSeriesNodes() == 0:
            chart.AddAndObservePlotSeriesNodeID(series.GetID())
        return chart

    def _find(self, className: str) -> Any:
        nodes = slicer.util.getNodesByClass(className, self._scene)
        return next((node for node in nodes if node.GetAttribute(ROLE)), None)

    def _make(self, className: str, name: str) -> Any:
        node = self._scene.AddNewNodeByClass(className, self._scene.GenerateUniqueName(name))
        node.SetAttribute(ROLE, "1")
        return node
