"""Tables as high as what is in them, within limits: a panel is a narrow column, and scrolls as a whole."""

from __future__ import annotations

import qt

ROW_MARGIN = 6
"""Pixels that a row is higher than its text."""


def fitHeight(table: qt.QTableWidget, least: int, most: int, margin: int = ROW_MARGIN) -> None:
    """Make a table as high as its rows are, with room for at least `least` and at most `most` of them."""
    rowHeight = table.fontMetrics().height() + margin
    table.verticalHeader().setDefaultSectionSize(rowHeight)
    rows = max(least, min(most, table.rowCount))
    around = table.horizontalHeader().sizeHint.height() + 2 * table.frameWidth
    table.setFixedHeight(around + rows * rowHeight)
