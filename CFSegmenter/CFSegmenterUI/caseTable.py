"""The cases of a folder, in a table: what each one teaches, and what it is used for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import qt
from slicer.i18n import tr as _

from .tables import fitHeight
from .teaching import KnownCase

NUMBER, SCAN, STRUCTURES, USE = range(4)
"""Columns of the table."""


def showCases(table: qt.QTableWidget, cases: Sequence[KnownCase], known: Collection[str] | None) -> None:
    """Fill a table of four columns; the case that was selected stays selected.

    Args:
        known: what the model was taught, all else is new to it; None where no model is known.
    """
    selected = selectedCase(table)
    table.setRowCount(len(cases))
    fitHeight(table, 3, 8)
    for row, case in enumerate(cases):
        structures = ", ".join(_structureText(name, case, known) for name in case.structures)
        texts = (str(case.number), case.modality.upper(), structures, useText(case.split))
        for column, text in enumerate(texts):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(case.source if column == SCAN else text)
            table.setItem(row, column, item)
        if case.number == selected:
            table.selectRow(row)
    header = table.horizontalHeader()
    for column in (NUMBER, SCAN, USE):
        header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(STRUCTURES, qt.QHeaderView.Stretch)


def selectedCase(table: qt.QTableWidget) -> int | None:
    """The number of the case whose row is selected."""
    rows = table.selectionModel().selectedRows()
    item = table.item(rows[0].row(), NUMBER) if rows else None
    return int(item.text()) if item else None


def countText(cases: Sequence[KnownCase]) -> str:
    """How many cases there are, and what for."""
    if not cases:
        return _("No case yet; add the first one below.")
    training = sum(case.split == "training" for case in cases)
    return _("{count}: {training} to learn from, {checking} to check with. ✓ drawn completely").format(
        count=casesText(len(cases)), training=training, checking=sum(case.split == "validation" for case in cases)
    )


def casesText(count: int) -> str:
    """So many cases."""
    return _("1 case") if count == 1 else _("{count} cases").format(count=count)


def useText(split: str) -> str:
    """What a split is for, in words."""
    return {"training": _("training"), "validation": _("validation")}.get(split, split)


def _structureText(name: str, case: KnownCase, known: Collection[str] | None) -> str:
    text = f"{name} ✓" if name in case.annotated else name
    return text if known is None or name in known else _("{structure} (new)").format(structure=text)
