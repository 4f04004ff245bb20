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
    """A LossPlot keeps one curve, and brings it in sight and out of it; before, nothing is put into the scene."""

    def __init__(self, scene: Any):
        self._scene = scene
        self._losses: tuple[tuple[float, float], ...] = ()
        self._isPresented = False
        self._layoutBefore: int | None = None

    @property
    def canPresent(self) -> bool:
        """Whether there are views at all: without a main window there are none."""
        return self._layout() is not None

    def show(self, losses: Sequence[tuple[float, float]]) -> None:
        """Take (step, loss), to be drawn while the chart is in sight."""
        self._losses = tuple(losses)
        if self._isPresented and self._find("vtkMRMLPlotChartNode"):  # the scene may be another one by now
            self._draw()

    def present(self) -> None:
        """Show the chart in a plot view, in a layout that has one."""
        layout = self._layout()
        if layout is None:
            return
        if self._layoutBefore is None:
            self._layoutBefore = layout.GetViewArrangement()
        self._isPresented = True
        slicer.modules.plots.logic().ShowChartInLayout(self._draw())

    def putAway(self) -> None:
        """Give the views back as they were, unless the user has chosen another layout meanwhile."""
        layout, before = self._layout(), self._layoutBefore
        self._layoutBefore, self._isPresented = None, False
        if layout is None or before is None:
            return
        if layout.GetViewArrangement() == slicer.modules.plots.logic().GetLayoutWithPlot(before):
            layout.SetViewArrangement(before)

    def _draw(self) -> Any:
        """Bring the nodes in line with the losses; returns the chart."""
        table, losses = self._tableNode(), self._losses
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
