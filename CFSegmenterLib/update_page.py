"""The page of an update's report: one HTML file with its plots inside, which opens without a network."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from . import page

BEFORE, AFTER = "#8a94a6", "#2f6fde"
DPI = 110
WHERE = {"update": "of the update", "unlabelled": "without annotation"}


def write_page(report: Mapping[str, Any]) -> str:
    """A report (see `update_report.write_report`) as a page for a person who decides on it."""
    title = f"{report['model']}: version {report['version']}, an update of version {report['parent']}"
    sections = (_summary(report), _advice(report), _scores(report), _agreement(report), _training(report))
    return page.document(title, [each for each in sections if each])


def _summary(report: Mapping[str, Any]) -> str:
    cases, room = report["cases"], report["prototypes"]
    return page.facts(
        (
            ("New structures", ", ".join(report["added"]) or "none"),
            ("Learned from annotations of", ", ".join(report["taught"])),
            ("Cases to learn from", str(cases["training"])),
            ("Cases kept aside", str(cases["validation"])),
            ("Images to remember on", str(cases["unlabelled"])),
            ("Training", f"{report['iterations']:,} steps in {report['minutes']:g} minutes"),
            ("Date", report["date"]),
            ("Old structures that no compared image shows", ", ".join(report["unchecked"]) or "none"),
            ("Prototypes", f"{room['count']} of {room['capacity']}; own cosine up to {room['reachable']:.2f}"),
        )
    )


def _advice(report: Mapping[str, Any]) -> str:
    said = [f"{each[0].upper()}{each[1:]}." for each in report["warnings"]]
    if not report["validated"]:
        said.insert(0, report["why_not_validated"])
    if not said:
        return (
            '<p class="notice good">No old structure that could be checked lost more than '
            f"{report['margin']:g} points of Dice, nor is one answered otherwise than before.</p>"
        )
    listed = "".join(f"<li>{escape(each)}</li>" for each in said)
    return f'<div class="notice"><strong>Before you accept</strong><ul>{listed}</ul></div>'


def _scores(report: Mapping[str, Any]) -> str:
    rows = report["scores"]
    if not rows:
        return ""
    note = (
        "Dice is the overlap with the annotation, 0 to 1; the change is in points, hundredths of it. Distances are "
        "between surfaces, on the mean, in mm. The model did not learn from these cases."
    )
    head = ("structure", "source", "", "cases", "Dice before", "after", "change", "distance before", "after")
    body = [_score_row(row, report["margin"]) for row in rows]
    picture = page.figure(_bars(rows), "Dice before and after, by structure", kind="wide")
    return page.section("On cases that were kept aside", picture + _table(head, body, texts=3), note)


def _score_row(row: Mapping[str, Any], margin: float) -> str:
    before, after = row["dice_before"], row["dice_after"]
    change = None if before is None or after is None else 100 * (after - before)
    kind = "" if change is None or abs(change) <= margin else "better" if change > 0 else "worse"
    return (
        f"<th>{escape(row['structure'])}</th><td>{escape(row['source'])}</td><td>{row['kind']}</td>"
        f'<td class="number">{row["cases"]}</td>{_number(before, 3)}{_number(after, 3)}'
        f'<td class="number"><span class="{kind}">{"–" if change is None else f"{change:+.1f}"}</span></td>'
        f"{_number(row['distance_before'], 2)}{_number(row['distance_after'], 2)}"
    )


def _agreement(report: Mapping[str, Any]) -> str:
    rows = sorted(report["agreement"], key=lambda row: row["dice"])
    if not rows:
        return ""
    note = (
        "Dice between the old and the new model's answers, wherever nothing was annotated anew: 1 where nothing "
        "changed. The least alike come first."
    )
    body = [
        f"<th>{escape(row['structure'])}</th><td>{WHERE[row['where']]}</td>"
        f'<td class="number">{row["cases"]}</td>{_number(row["dice"], 3)}'
        for row in rows
    ]
    table = _table(("structure", "on images", "how many", "agreement"), body, texts=2)
    return page.section("Old structures, answered by the old and the new model", table, note)


def _training(report: Mapping[str, Any]) -> str:
    if len(report["losses"]) < 2:
        return ""
    return page.section("Training", page.figure(_curve(report["losses"]), "The loss by step", kind="wide"))


def _table(head: Sequence[str], rows: Sequence[str], texts: int) -> str:
    """`texts`: how many of the columns come before those of numbers."""
    kinds = ("" if number < texts else ' class="number"' for number in range(len(head)))
    columns = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(head, kinds, strict=True))
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<div class="scroll"><table><thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>'


def _bars(rows: Sequence[Mapping[str, Any]]) -> bytes:
    figure, axes = _figure(7.5, 0.8 + 0.42 * len(rows))
    for number, row in enumerate(rows):
        for offset, key, color in ((-0.19, "dice_before", BEFORE), (0.19, "dice_after", AFTER)):
            axes.barh(number + offset, row[key] or 0.0, height=0.34, color=color)
    axes.set_yticks(range(len(rows)), [f"{row['structure']} ({row['source']})" for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("Dice: grey before, blue after")
    return _png(figure)


def _curve(losses: Sequence[Sequence[float]]) -> bytes:
    figure, axes = _figure(7.5, 2.6)
    axes.plot([step for step, _ in losses], [loss for _, loss in losses], color=AFTER, linewidth=1.4)
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    return _png(figure)


def _figure(width: float, height: float):
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_size(9)
    axes.yaxis.label.set_size(9)
    return figure, axes


def _png(figure) -> bytes:
    written = io.BytesIO()
    figure.savefig(written, format="png")
    return written.getvalue()


def _number(value: float | None, digits: int) -> str:
    return f'<td class="number">{"–" if value is None else f"{value:.{digits}f}"}</td>'
