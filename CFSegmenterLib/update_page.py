"""The page of an update's report: one HTML file with its plots inside, which opens without a network."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

BEFORE, AFTER = "#8a94a6", "#2f6fde"
DPI = 110


def write_page(report: Mapping[str, Any]) -> str:
    """A report (see `update_report.write_report`) as a page for a person who decides on it."""
    title = f"{report['model']}: version {report['version']}, an update of version {report['parent']}"
    body = "\n".join(
        part
        for section in (_summary, _warnings, _scores, _agreement, _losses)
        for part in section(report)
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def _summary(report: Mapping[str, Any]) -> Iterator[str]:
    cases = report["cases"]
    facts = {
        "New structures": ", ".join(report["added"]) or "none",
        "Learned from": ", ".join(report["taught"]),
        "Cases": f"{cases['training']} to learn from, {cases['validation']} kept aside, "
        f"{cases['unlabelled']} to remember on",
        "Training": f"{report['iterations']:,} steps in {report['minutes']:g} minutes, {report['date']}",
    }
    yield "<dl>" + "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()) + "</dl>"
    yield "<p class='note'>For research only; not a medical device. Accepting is a separate act.</p>"


def _warnings(report: Mapping[str, Any]) -> Iterator[str]:
    said = [f"{each[0].upper()}{each[1:]}." for each in report["warnings"]]
    if not report["validated"]:
        said.insert(0, report["why_not_validated"])
    if said:
        yield "<div class='warning'><strong>Before you accept</strong><ul>"
        yield "".join(f"<li>{escape(each)}</li>" for each in said) + "</ul></div>"
    else:
        yield (
            f"<div class='good'>No old structure lost more than {report['margin']:g} points of Dice, nor is one "
            "answered otherwise than before.</div>"
        )


def _scores(report: Mapping[str, Any]) -> Iterator[str]:
    rows = report["scores"]
    if not rows:
        return
    yield "<h2>On cases that were kept aside</h2>"
    yield _picture(_bars(rows), "Dice before and after, by structure")
    head = ("structure", "source", "", "cases", "Dice before", "Dice after", "change", "mm before", "mm after")
    yield "<div class='scroll'><table><thead><tr>" + "".join(f"<th>{h}</th>" for h in head) + "</tr></thead><tbody>"
    for row in rows:
        before, after = row["dice_before"], row["dice_after"]
        change = None if before is None or after is None else 100 * (after - before)
        kind = "" if change is None else " class='worse'" if change < -report["margin"] else (
            " class='better'" if change > report["margin"] else ""
        )
        cells = [
            f"<th>{escape(row['structure'])}</th><td>{escape(row['source'])}</td><td>{row['kind']}</td>",
            f"<td class='number'>{row['cases']}</td>{_number(before, 3)}{_number(after, 3)}",
            f"<td class='number'><span{kind}>{_signed(change)}</span></td>",
            f"{_number(row['distance_before'], 2)}{_number(row['distance_after'], 2)}",
        ]
        yield "<tr>" + "".join(cells) + "</tr>"
    yield "</tbody></table></div>"
    yield (
        "<p class='note'>Dice is the overlap with the annotation, 0 to 1; the change is in points, hundredths of it. "
        "Distances are between surfaces, on the mean.</p>"
    )


def _agreement(report: Mapping[str, Any]) -> Iterator[str]:
    rows = sorted(report["agreement"], key=lambda row: row["dice"])
    if not rows:
        return
    yield "<h2>Old structures, answered by the old and the new model</h2>"
    yield (
        "<p class='note'>Dice between the two answers, wherever nothing was annotated anew; 1 where nothing changed. "
        "The least alike come first.</p>"
    )
    head = ("structure", "images", "how many", "agreement")
    yield "<div class='scroll'><table><thead><tr>" + "".join(f"<th>{h}</th>" for h in head) + "</tr></thead><tbody>"
    for row in rows:
        where = "of the update" if row["where"] == "update" else "without annotation"
        yield (
            f"<tr><th>{escape(row['structure'])}</th><td>{where}</td><td class='number'>{row['cases']}</td>"
            f"{_number(row['dice'], 3)}</tr>"
        )
    yield "</tbody></table></div>"


def _losses(report: Mapping[str, Any]) -> Iterator[str]:
    if len(report["losses"]) > 1:
        yield "<h2>Training</h2>"
        yield _picture(_curve(report["losses"]), "The loss by step")


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


def _picture(png: bytes, alternative: str) -> str:
    return f"<img alt='{escape(alternative)}' src='data:image/png;base64,{base64.b64encode(png).decode()}'>"


def _number(value: float | None, digits: int) -> str:
    return f"<td class='number'>{'–' if value is None else f'{value:.{digits}f}'}</td>"


def _signed(value: float | None) -> str:
    return "–" if value is None else f"{value:+.1f}"


_STYLE = """
body { margin: 0; background: #fff; color: #1b1d21; font: 16px/1.5 system-ui, "Segoe UI", Roboto, Arial, sans-serif; }
main { max-width: 900px; margin: 0 auto; padding: 36px 24px 60px; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 16px; }
h2 { font-size: 1.15rem; margin: 36px 0 8px; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 20px; margin: 0; }
dt { color: #5d6470; }
dd { margin: 0; }
img { max-width: 100%; height: auto; }
.note { color: #5d6470; font-size: 0.9rem; max-width: 75ch; }
.warning, .good { padding: 10px 16px; border-radius: 4px; margin: 20px 0; }
.warning { background: #fff6e0; border-left: 4px solid #e5b94a; }
.good { background: #eaf6ec; border-left: 4px solid #4a9e5c; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.93rem; }
th, td { text-align: left; padding: 6px 14px 6px 0; border-bottom: 1px solid #e1e4e9; }
thead th { color: #5d6470; font-weight: 500; font-size: 0.8rem; }
tbody th { font-weight: 500; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.worse { background: #fbdcdc; padding: 1px 6px; border-radius: 3px; }
.better { background: #d9f0de; padding: 1px 6px; border-radius: 3px; }
"""
