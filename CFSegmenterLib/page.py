"""A page: one HTML file with its style and its pictures inside, which opens without a network and can be printed."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape


def document(title: str, sections: Sequence[str]) -> str:
    """The whole file; `title` is text, `sections` are HTML."""
    body = "\n".join(sections)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n</main>\n</body>\n</html>\n"
    )


def section(heading: str, body: str, said: str = "") -> str:
    """A section of HTML `body` under a heading, with a note (HTML) between the two."""
    note = f'<p class="note">{said}</p>' if said else ""
    return f"<section><h2>{escape(heading)}</h2>{note}{body}</section>"


def facts(said: Sequence[tuple[str, str]], kind: str = "") -> str:
    """A list of names and what they are, both text."""
    listed = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in said)
    return f'<dl class="{f"facts {kind}".strip()}">{listed}</dl>'


def figure(png: bytes, alt: str, caption: str = "", kind: str = "") -> str:
    """A picture; `alt` is text, `caption` HTML."""
    width, height = (int.from_bytes(png[at : at + 4], "big") for at in (16, 20))  # from the header of a PNG
    source = f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
    written = f"<figcaption>{caption}</figcaption>" if caption else ""
    kind = f' class="{kind}"' if kind else ""
    return (
        f'<figure{kind} style="--ratio:{width / height:.4f}"><img src="{source}" '
        f'width="{width}" height="{height}" alt="{escape(alt)}">{written}</figure>'
    )


def row(figures: Sequence[str]) -> str:
    """Figures beside one another, as many as there is room for."""
    return f'<div class="row">{"".join(figures)}</div>'


def swatch(color: tuple[int, int, int]) -> str:
    """A small square of a color, red, green, blue of 0 to 255."""
    return f'<span class="swatch" style="background:rgb({color[0]},{color[1]},{color[2]})"></span>'


_STYLE = """
:root { color-scheme: light dark; --paper: #ffffff; --ink: #1b1d21; --soft: #5d6470; --line: #e1e4e9; --card: #f6f7f9;
  --warn: #fff6e0; --warn-line: #e5b94a; --good: #e3f3e7; --good-line: #4a9e5c; --bad: #fbdcdc; }
@media (prefers-color-scheme: dark) { :root { --paper: #16181c; --ink: #e8eaed; --soft: #a0a7b3; --line: #31353d;
  --card: #1e2126; --warn: #2e2816; --warn-line: #a8842a; --good: #1d3324; --good-line: #4a9e5c;
  --bad: #4a2226; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 20px; letter-spacing: -0.01em; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 40px 0 8px; }
h3 { font-size: 1rem; margin: 20px 0 4px; }
ul { margin: 0; padding-left: 1.2em; font-size: 0.9rem; }
.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 12px 28px; margin: 0; }
.facts dt { color: var(--soft); font-size: 0.8rem; }
.facts dd { margin: 0; overflow-wrap: anywhere; }
.facts.small { font-size: 0.9rem; }
.notice { margin: 20px 0 0; padding: 10px 14px; border-left: 4px solid var(--warn-line); background: var(--warn);
  border-radius: 4px; }
.notice.good { background: var(--good); border-color: var(--good-line); }
.better, .worse { padding: 1px 6px; border-radius: 3px; }
.better { background: var(--good); }
.worse { background: var(--bad); }
.note { color: var(--soft); font-size: 0.9rem; margin: 4px 0 12px; max-width: 75ch; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.95rem; }
th, td { text-align: left; padding: 7px 14px 7px 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
thead th { color: var(--soft); font-weight: 500; font-size: 0.8rem; }
tbody th { font-weight: 500; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; padding-right: 28px; }
.codes { font-size: 0.85rem; color: var(--soft); white-space: nowrap; }
code { font: 0.95em ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
.absent th, .absent td { color: var(--soft); }
.swatch { display: inline-block; width: 0.8em; height: 0.8em; border-radius: 3px; margin-right: 0.5em;
  box-shadow: inset 0 0 0 1px rgba(128, 128, 128, 0.6); vertical-align: -0.05em; }
.row { display: flex; flex-wrap: wrap; gap: 16px; align-items: flex-start; }
figure { margin: 0; padding: 0; width: min(100%, calc(350px * var(--ratio)), 560px);
  border-radius: 8px; overflow: hidden; background: var(--card); }
figure.wide { width: min(100%, calc(330px * var(--ratio)), 1132px); }
figure.half { width: min(100%, 558px); }
figure.third { width: min(100%, calc(350px * var(--ratio)), 366px); }
img { display: block; width: 100%; height: auto; background: #101214; }
figcaption { padding: 8px 12px 10px; font-size: 0.85rem; color: var(--soft); }
.entry { display: inline-block; margin-right: 0.6em; color: var(--ink); white-space: nowrap; }
.entry .swatch { margin-right: 0.35em; }
@media print { main { max-width: none; padding: 0; } figure, tr { break-inside: avoid; } h2 { break-after: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""
