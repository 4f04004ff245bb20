"""All that the manifest says of one model, in labels and tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from .models import ModelInfo
from .tables import ROW_MARGIN

LICENCE, SOURCE = 4, 1
"""Columns, of the table of sources and of that of scores, with texts that may be long."""


class ModelDetails:
    """ModelDetails show one model at a time."""

    def __init__(self, ui: Any):
        """Args: the panel's widgets: labels, `sourcesTable` (5 columns) and `scoresTable` (4 columns)."""
        self._ui = ui
        for table in (ui.sourcesTable, ui.scoresTable):
            table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + ROW_MARGIN)

    def show(self, model: ModelInfo | None) -> None:
        """Show a model; None shows nothing."""
        if model is None:
            return
        ui = self._ui
        ui.structuresLabel.text = ", ".join(model.structures)
        ui.scansLabel.text = ", ".join(protocol["name"] for protocol in model.protocols)
        ui.licenceLabel.text = model.licence
        ui.parentLabel.text = model.parent or _("no other version")
        ui.commandLabel.text = str(model.training.get("command") or _("not recorded"))
        _fill(ui.sourcesTable, (self._sourceRow(source) for source in model.sources), LICENCE)
        scores = model.scores.get("structures", ())
        _fill(ui.scoresTable, (self._scoreRow(score) for score in scores), SOURCE)
        ui.scoresTable.visible = bool(scores)
        ui.scoresLabel.text = (
            _("Measured on scans that it did not learn from. Dice is 1 where two outlines are the same.")
            if scores
            else _("Not measured yet.")
        )

    @staticmethod
    def _sourceRow(source: Any) -> tuple[str, ...]:
        cases = f"{source['training_cases']} + {source['validation_cases']}"
        count = str(len(source["structures"]))
        return source["name"], source["modality"].upper(), count, cases, source["licence"]

    @staticmethod
    def _scoreRow(score: Any) -> tuple[str, ...]:
        return score["structure"], score["source"], _number(score["dice"]), _number(score["distance_mm"])


def _fill(table: qt.QTableWidget, rows: Iterable[Sequence[str]], cutColumn: int) -> None:
    """Each row of `rows` into a row of the table; one column takes the width that is left, its tool tips have all."""
    table.setRowCount(0)
    for row, cells in enumerate(rows):
        table.insertRow(row)
        for column, text in enumerate(cells):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(text)
            table.setItem(row, column, item)
    table.resizeColumnsToContents()
    table.horizontalHeader().setSectionResizeMode(cutColumn, qt.QHeaderView.Stretch)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
