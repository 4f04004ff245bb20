"""The ranked list of classes at a point, in a table: name, cosine, and a bar as long as the cosine."""

from __future__ import annotations

from collections.abc import Sequence

import qt

from .tables import ROW_MARGIN

BAR_STEPS = 100


def showRanking(table: qt.QTableWidget, ranked: Sequence[tuple[str, float]]) -> None:
    """Fill `table`, which has three columns, with (class, cosine) in the order given; the bar starts at 0."""
    table.verticalHeader().setDefaultSectionSize(table.fontMetrics().height() + ROW_MARGIN)
    table.setRowCount(len(ranked))
    for row, (name, value) in enumerate(ranked):
        table.setItem(row, 0, qt.QTableWidgetItem(name))
        number = qt.QTableWidgetItem(f"{value:.2f}")
        number.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
        table.setItem(row, 1, number)
        bar = qt.QProgressBar(table)
        bar.setRange(0, BAR_STEPS)
        bar.setValue(max(0, round(BAR_STEPS * value)))
        bar.textVisible = False
        table.setCellWidget(row, 2, bar)
    header = table.horizontalHeader()
    header.setSectionResizeMode(0, qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(1, qt.QHeaderView.ResizeToContents)
    if ranked:
        table.scrollToTop()
