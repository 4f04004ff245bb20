"""What an update found out, in tables and sentences: before and after, and what to know before deciding.

Better and worse are told by an arrow as well as by a color, which not everybody sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import qt
from slicer.i18n import tr as _

from .caseTable import casesText
from .runText import durationText
from .tables import fitHeight

STRUCTURE, BEFORE, AFTER, CHANGE, DISTANCE = range(5)
"""Columns of the table of scores."""
NAME, AGREEMENT, SCANS = range(3)
"""Columns of the table of agreements."""

SAME = 0.5
"""Points of Dice that are no change: about what another seed would make."""
BETTER, WORSE = (0, 120, 60), (190, 30, 30)
ROWS_SHOWN = 10
"""More rows of a table are reached by scrolling."""


def summaryText(report: Mapping[str, Any]) -> str:
    """What was taught, on how much, and for how long."""
    cases = report["cases"]
    said = _("Taught {structures} on {cases} in {time}.").format(
        structures=", ".join(report["taught"]),
        cases=casesText(cases["training"]),
        time=durationText(60 * report["minutes"]),
    )
    if report["added"]:
        said += " " + _("New: {names}.").format(names=", ".join(report["added"]))
    if report["validated"]:
        return said + " " + _("Checked on {cases}.").format(cases=casesText(cases["validation"]))
    why = report.get("why_not_validated") or _("no case was kept for it")
    return said + " " + _("Not checked: {why}.").format(why=str(why).rstrip("."))


def warningsText(report: Mapping[str, Any]) -> str:
    """The warnings, a line each; "" where there are none."""
    return "\n".join(f"⚠ {warning}" for warning in report["warnings"])


def showScores(table: qt.QTableWidget, scores: Sequence[Mapping[str, Any]]) -> None:
    """Fill a table of five columns: the structures that got worse first, then the old ones, then the new ones."""
    sources = {score.get("source") for score in scores}
    ranked = sorted(scores, key=lambda score: (_changeOf(score) is None, _changeOf(score) or 0.0))
    table.setRowCount(len(ranked))
    for row, score in enumerate(ranked):
        change = _changeOf(score)
        name = score["structure"]
        cells = {
            STRUCTURE: f"{name} ({score['source']})" if len(sources) > 1 else name,
            BEFORE: _number(score["dice_before"]),
            AFTER: _number(score["dice_after"]),
            CHANGE: _("new") if change is None and score["kind"] == "new" else changeText(change),
            DISTANCE: _distanceText(score.get("distance_after")),
        }
        told = _("{structure} on {cases} of the source {source}.").format(
            structure=name, cases=casesText(score["cases"]), source=score.get("source")
        )
        for column, text in cells.items():
            item = _item(text, isNumber=column != STRUCTURE)
            item.setToolTip("\n".join([told, *_caseTexts(score)]))
            if column in (AFTER, CHANGE) and change is not None and abs(change) >= SAME:
                item.setForeground(qt.QBrush(qt.QColor(*(BETTER if change > 0 else WORSE))))
                font = item.font()
                font.setBold(True)
                item.setFont(font)
            table.setItem(row, column, item)
    _arrange(table, STRUCTURE)


def showAgreement(table: qt.QTableWidget, agreement: Sequence[Mapping[str, Any]]) -> None:
    """Fill a table of three columns: where old and new version agree least, first."""
    where = {"update": _("new"), "unlabelled": _("old")}
    ranked = sorted(agreement, key=lambda each: each["dice"] if each["dice"] is not None else 1.0)
    table.setRowCount(len(ranked))
    for row, each in enumerate(ranked):
        scans = _("{count} {which}").format(count=each["cases"], which=where.get(each["where"], each["where"]))
        for column, text in {NAME: each["structure"], AGREEMENT: _number(each["dice"]), SCANS: scans}.items():
            table.setItem(row, column, _item(text, isNumber=column == AGREEMENT))
    _arrange(table, NAME)


def changeText(points: float | None) -> str:
    """A change in points of Dice, hundredths of it, with an arrow."""
    if points is None:
        return "–"
    if abs(points) < SAME:
        return "≈"
    return f"▲ +{points:.1f}" if points > 0 else f"▼ −{-points:.1f}"


def _changeOf(score: Mapping[str, Any]) -> float | None:
    before, after = score["dice_before"], score["dice_after"]
    return None if before is None or after is None else 100 * (after - before)


def _caseTexts(score: Mapping[str, Any]) -> list[str]:
    return [
        _("Case {number}: {before} before, {after} after").format(
            number=each["case"], before=_number(each["dice_before"]), after=_number(each["dice_after"])
        )
        for each in score.get("per_case", ())
    ]


def _item(text: str, isNumber: bool) -> qt.QTableWidgetItem:
    item = qt.QTableWidgetItem(text)
    if isNumber:
        item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
    return item


def _arrange(table: qt.QTableWidget, wide: int) -> None:
    """One column takes the width that is left."""
    fitHeight(table, 1, ROWS_SHOWN)
    header = table.horizontalHeader()
    for column in range(table.columnCount):
        header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
    header.setSectionResizeMode(wide, qt.QHeaderView.Stretch)


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _distanceText(millimeters: float | None) -> str:
    return "–" if millimeters is None else _("{distance:.1f} mm").format(distance=millimeters)
