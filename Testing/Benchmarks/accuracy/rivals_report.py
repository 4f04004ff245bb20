"""RESULTS.md: the method beside its rivals and without its parts, first of all in a few sentences with numbers."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from Testing.Benchmarks.measure import markdown_table

from .apart import ABOUT_TWINS, Apart, cost_table, sentence_on_cost, twins_table
from .cells import Cell
from .methods import ALL, RIVALS
from .plots import matrices
from .scoring import Rows, known_dice, mean_dice
from .statistics import Comparison, Spread, compared
from .words import hours, missing, setting, step_cost, uneven, where

Found = Mapping[Cell, Mapping[str, Any]]
BySeed = dict[int, Mapping[str, Any]]

LEFT_OUT = (
    ("right adrenal gland", "btcv_ct"),
    ("left adrenal gland", "btcv_ct"),
    ("right amygdala", "oasis_brain_t1"),
    ("left amygdala", "oasis_brain_t1"),
)
"""About 150 voxels each on these grids: in the tables, not in the means."""

TEXTS = ("ours", "text", "text-backwards", "raw-0.1", "raw-0.03", "raw-0.01")
TEXT_SCENARIO = "abdomen-complete"

ABOUT = """\
Every method has the same backbone, patches, sampling, augmentation, optimizer, iterations, seeds and cases; head and
loss differ. Windows, their averaging, the way back to the scan's grid and the scores are the same code for all. Dice is
the mean over structures of the mean over validation cases, ± its deviation over seeds; adrenal glands (3 mm) and
amygdalae (2 mm) are in the tables but not in the means. A winner is claimed where Wilcoxon's signed-rank test over
cases, each averaged over its structures and seeds, gives p < 0.05.

Trainings are short here, and the learning rate is the one that our method was developed with; it was not searched for
each rival. So part of a gap is speed: a method that learns slowly is behind after few steps. hippocampus-half-long is
hippocampus-half with four times as many steps, and shows how much of the gap is left.

- **ours**: prototypes of a seeded orthonormal code, tau = 0.1; loss weights of the shipped model's settings
- **plain softmax classifier**: cross-entropy and Dice; what is not drawn counts as background
- **DoDNet**: a task is a structure; only annotated tasks are trained
- **CLIP-Driven Universal Model**: real CLIP texts where there are some (abdominal organs), random vectors elsewhere
- **Versatile**: the ambiguity-aware loss with the weights of its paper"""


def rivals_report(cells: Sequence[Cell], found: Found, apart: Apart, plots: Path, beside: Path) -> str:
    """The report's Markdown; its plots are written into `plots`, linked relative to the folder `beside`."""
    grouped = _grouped(cells, found)
    results = [found[cell] for cell in cells if cell in found]
    parts = ["# The method beside others", "", *_answers(cells, grouped, apart.costs), "", ABOUT]
    for scenario, methods in grouped.items():
        rivals = {name: seeds for name, seeds in methods.items() if name in RIVALS}
        others = {name: seeds for name, seeds in methods.items() if name not in RIVALS}
        parts += ["", f"## {scenario}", "", _table(rivals)]
        if others:
            parts += ["", "Ours with one thing changed:", "", _table({**_only(methods, "ours"), **others})]
        parts += ["", _by_structure(methods)]
    chart = plots / "features-and-prototypes.svg"
    if _draw_geometry(grouped, chart):
        picture = f"![mean features]({chart.relative_to(beside).as_posix()})"
        parts += ["", "## Features and prototypes", "", GEOMETRY, "", picture]
    if apart.twins:
        linked = Path(os.path.relpath(apart.picture, beside)).as_posix()
        parts += ["", "## Twins", "", ABOUT_TWINS, "", twins_table(apart.twins), "", f"![similarity maps]({linked})"]
    if apart.costs:
        parts += ["", "## What a class costs", "", cost_table(apart.costs)]
    if results:
        parts += ["", "## How it was run", "", setting(results), uneven(results)]
        parts += ["", f"{hours(results)} {where(results)}"]
    parts += ["", "## What is missing", "", missing(cells, found), ""]
    if apart.costs is None:
        parts += ["The cost of a class has not been measured yet.", ""]
    if apart.twins is None:
        parts += ["The similarity maps of twins have not been drawn yet.", ""]
    return "\n".join(parts)


GEOMETRY = """\
Mean similarity of the voxels of a structure (rows) with every prototype (columns), in two validation cases: where twins
such as the kidneys resemble each other's prototypes, only the temperature tells them apart."""


def _grouped(cells: Sequence[Cell], found: Found) -> dict[str, dict[str, BySeed]]:
    grouped: dict[str, dict[str, BySeed]] = {}
    for cell in cells:
        if cell in found:
            grouped.setdefault(cell.scenario, {}).setdefault(cell.method, {})[cell.seed] = found[cell]
    return grouped


def _only(methods: dict[str, BySeed], name: str) -> dict[str, BySeed]:
    return {name: methods[name]} if name in methods else {}


def _answers(
    cells: Sequence[Cell], grouped: dict[str, dict[str, BySeed]], costs: Mapping[str, Any] | None
) -> list[str]:
    """At most eight lines: better than each rival, where, by how much; is CLIP worth it; what does a class cost."""
    said = []
    for scenario in dict.fromkeys(cell.scenario for cell in cells):
        methods = grouped.get(scenario, {})
        ours = methods.get("ours")
        if ours is None:
            said.append(f"{scenario}: not run yet.")
            continue
        gaps = {name: compared(ours, methods[name]) for name in RIVALS if name != "ours" and name in methods}
        told = "; ".join(f"{ALL[name].title} {_verdict(gap)}" for name, gap in gaps.items() if gap is not None)
        said.append(f"{scenario}: ours {_mean(ours).said()}. Ours against {told or 'nothing else run yet'}.")
    said += [_worth(grouped), sentence_on_cost(costs)]
    return [f"- {line}" for line in said]


def _verdict(gap: Comparison) -> str:
    judged = ("better" if gap.points > 0 else "**worse**") if gap.is_significant else "undecided"
    return f"{judged} ({gap.said()})"


def _worth(grouped: dict[str, dict[str, BySeed]]) -> str:
    methods = grouped.get(TEXT_SCENARIO, {})
    had = {name: _mean(methods[name]) for name in TEXTS if name in methods}
    if not {"ours", "text"} <= had.keys() or not any(name.startswith("raw") for name in had):
        return "Is it worth orthogonalising CLIP? Not known yet."
    best_raw = max((name for name in had if name.startswith("raw")), key=lambda name: had[name].mean)
    against_raw = compared(methods["text"], methods[best_raw])
    against_code = compared(methods["text"], methods["ours"])
    return (
        f"Is it worth orthogonalising CLIP ({TEXT_SCENARIO})? Gram-Schmidt {had['text'].said()} against raw at its own "
        f"best temperature ({ALL[best_raw].title}) {had[best_raw].said()}: {_verdict(against_raw)}. A random "
        f"orthonormal code gives {had['ours'].said()}; Gram-Schmidt of CLIP against it: {_verdict(against_code)}."
    )


def _mean(seeds: BySeed) -> Spread:
    return Spread.of([_headline(result["stages"][-1]["scores"]) for result in seeds.values()])


def _headline(rows: Rows) -> float | None:
    return known_dice(rows, [task for task in _tasks(rows) if task not in LEFT_OUT])


def _tasks(rows: Rows) -> list[tuple[str, str]]:
    return [(row["structure"], row["source"]) for row in rows]


def _table(methods: dict[str, BySeed]) -> str:
    some = next(iter(next(iter(methods.values())).values()))["stages"][-1]["scores"]
    sources = list(dict.fromkeys((row["source"], row["modality"]) for row in some))
    ours = methods.get("ours")
    cost = None if ours is None else step_cost(ours)
    rows = []
    for name, seeds in methods.items():
        each = [result["stages"][-1]["scores"] for result in seeds.values()]
        means = [Spread.of([_of_source(rows_, source) for rows_ in each]) for source, _ in sources]
        gap = None if ours is None or name == "ours" else compared(ours, seeds)
        its = step_cost(seeds)
        rows.append(
            [
                ALL[name].title,
                str(len(seeds)),
                _mean(seeds).said(),
                *("" if m is None else m.said() for m in means),
                "" if gap is None else gap.said(),
                "" if cost is None or its is None else f"{its / cost:.2f}",
            ]
        )
    named = [f"{source} ({modality})" for source, modality in sources] if len(sources) > 1 else [sources[0][0]]
    return markdown_table(["method", "seeds", "mean", *named, "ours minus it", "training step / ours"], rows)


def _of_source(rows: Rows, source: str) -> float | None:
    return known_dice(rows, [task for task in _tasks(rows) if task[1] == source and task not in LEFT_OUT])


def _by_structure(methods: dict[str, BySeed]) -> str:
    """A row a structure and source, a column a rival."""
    shown = {name: seeds for name, seeds in methods.items() if name in RIVALS}
    if not shown:
        return ""
    some = next(iter(next(iter(shown.values())).values()))["stages"][-1]["scores"]
    rows = []
    for task in _tasks(some):
        spreads = [
            Spread.of([mean_dice(result["stages"][-1]["scores"], [task]) for result in seeds.values()])
            for seeds in shown.values()
        ]
        rows.append([" in ".join(task), *("" if s is None else s.said() for s in spreads)])
    return markdown_table(["structure", *(ALL[name].title for name in shown)], rows)


def _draw_geometry(grouped: dict[str, dict[str, BySeed]], path: Path) -> bool:
    methods = grouped.get(TEXT_SCENARIO, {})
    drawn = {}
    for name in ("ours", "text", "raw-0.1", "raw-0.01"):
        stage = next(iter(methods[name].values()))["stages"][-1] if name in methods else {}
        if "geometry" in stage:
            said = stage["geometry"]
            title = "random code" if name == "ours" else ALL[name].title
            drawn[title] = (said["structures"], said["prototypes"], np.array(said["similarity"]))
    if drawn:
        matrices(path, drawn)
    return bool(drawn)
