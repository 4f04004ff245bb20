"""INCREMENTAL.md: what each method forgets, what it learns, and what that costs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from Testing.Benchmarks.measure import markdown_table

from .cells import Cell
from .memory import Remembering
from .methods import INCREMENTAL as METHODS
from .plots import bars, lines
from .statistics import Spread
from .words import hours, missing, setting, step_cost, uneven, where

Found = Mapping[Cell, Mapping[str, Any]]
BySeed = dict[int, Mapping[str, Any]]

LIMITS = {"ours": 1.5, "ours-unlabelled": 1.0}
"""Points of Dice that may be forgotten on hippocampus."""

NEAR_JOINT = 2.0
"""Points of Dice within which new structures are to come of joint training."""

GOAL = "class-hippocampus"

TARGETS = "Targets that were set before the runs, and whether they were met:"

ABOUT = """\
Every method has the same network, prototypes, first training, head start of new structures, cases, patches,
augmentation, optimizer, learning rate and number of iterations; only the losses of the later steps differ. LwF and MiB
were published for softmax classifiers; here they work on our prototypes, with cross-entropy and Dice, and distillation
of the same weight as ours. No method but joint training sees an annotated case of an earlier step again; "unlabelled
old images" sees the images of all earlier steps without their annotation. Joint training learns the same cases with
the same annotations at once, for as many iterations as all steps together.

Read "forgetting" and "new" together: who learns nothing forgets nothing. Where a step brings no new structure but
another kind of scan, LwF and MiB hold the student to its teacher on the very scans that the teacher cannot read; ours
lets a complete annotation overrule the teacher there. No image of such a step shows what the student must keep in the
old kind of scan, so it is kept by chance; "unlabelled old images" shows it. Where joint training scores low, too, a
scenario is short of steps for every method.

- **forgetting**: Dice when learned minus Dice in the end, in points, mean over the structures of all steps but the last
- **new**: mean Dice in the end of the structures of all steps but the first
- **forward**: Dice of a step's structures before that step, of those that were known by then
- **step**: CPU seconds an iteration of the last step, relative to naive fine-tuning in the same scenario
- **growth**: parameters that the network has more in the end than in the beginning"""


def incremental_report(cells: Sequence[Cell], found: Found, plots: Path, beside: Path) -> str:
    """The report's Markdown; its plots are written into `plots`, linked relative to the folder `beside`."""
    grouped = _grouped(cells, found)
    parts = ["# Learning one thing after another", "", TARGETS, "", *_verdicts(grouped), "", ABOUT]
    if grouped:
        results = [found[cell] for cell in cells if cell in found]
        chart = plots / "forgetting.svg"
        _draw_forgetting(grouped, chart)
        parts += ["", f"![forgetting]({chart.relative_to(beside).as_posix()})"]
        for scenario, methods in grouped.items():
            parts += ["", f"## {scenario}", "", _table(methods), "", _matrices(methods)]
            chart = plots / f"{scenario}.svg"
            if _draw_first_step(methods, chart):
                parts += ["", f"![{scenario}]({chart.relative_to(beside).as_posix()})"]
        parts += ["", "## How it was run", "", setting(results), uneven(results)]
        parts += ["", f"{hours(results)} {where(results)}"]
    parts += ["", "## What is missing", "", missing(cells, found), ""]
    return "\n".join(parts)


def _grouped(cells: Sequence[Cell], found: Found) -> dict[str, dict[str, BySeed]]:
    """scenario -> method -> seed -> result, in the order of the tables, of what there is."""
    grouped: dict[str, dict[str, BySeed]] = {}
    for scenario in dict.fromkeys(cell.scenario for cell in cells):
        for method in METHODS:
            seeds = {c.seed: found[c] for c in cells if (c.scenario, c.method) == (scenario, method) and c in found}
            if seeds:
                grouped.setdefault(scenario, {})[method] = seeds
    return grouped


def _spread(seeds: BySeed | None, name: str) -> Spread | None:
    return Spread.of([getattr(Remembering.of(result), name) for result in (seeds or {}).values()])


def _verdicts(grouped: dict[str, dict[str, BySeed]]) -> list[str]:
    """The targets, and whether the numbers meet them."""
    said = []
    for method, limit in LIMITS.items():
        forgot = _spread(grouped.get(GOAL, {}).get(method), "forgetting")
        promise = f"{METHODS[method].title} forgets at most {limit:g} points on {GOAL}"
        numbers = forgot and f"{forgot.said(100, 1)} points; {_seeds([forgot])}"
        said.append(_judged(promise, forgot and 100 * forgot.mean <= limit, numbers))
    for scenario, methods in grouped.items():
        said += [_less_than_others(scenario, methods), _near_joint(scenario, methods)]
    return [f"- {line}" for line in said]


def _less_than_others(scenario: str, methods: dict[str, BySeed]) -> str:
    promise = f"{scenario}: ours forgets less than LwF and MiB"
    known = {name: _spread(methods.get(name), "forgetting") for name in ("ours", "lwf", "mib")}
    if None in known.values():
        return _judged(promise, None, None)
    numbers = ", ".join(f"{METHODS[name].title} {each.said(100, 1)}" for name, each in known.items())
    gap = min(known["lwf"].mean, known["mib"].mean) - known["ours"].mean
    differ = max(each.deviation or 0.0 for each in known.values())
    tie = ", which differ more among themselves than the methods" if abs(gap) < differ else ""
    return _judged(promise, gap > 0, f"{numbers} points; {_seeds(known.values())}{tie}")


def _near_joint(scenario: str, methods: dict[str, BySeed]) -> str:
    promise = f"{scenario}: what is new comes within {NEAR_JOINT:g} points of joint training"
    ours, joint = (_spread(methods.get(name), "new") for name in ("ours", "joint"))
    if ours is None or joint is None:
        return _judged(promise, None, None)
    short = 100 * (joint.mean - ours.mean)
    return _judged(promise, short <= NEAR_JOINT, f"ours {ours.said()}, joint {joint.said()}; {_seeds((ours, joint))}")


def _seeds(spreads: Iterable[Spread]) -> str:
    """On how many seeds a sentence rests."""
    fewest = min(spread.count for spread in spreads)
    return f"{fewest} seed{'s' if fewest > 1 else ''}"


def _judged(promise: str, kept: bool | None, numbers: str | None) -> str:
    if kept is None:
        return f"not known yet: {promise}"
    return f"{'yes' if kept else '**no**'}: {promise} ({numbers})"


def _table(methods: dict[str, BySeed]) -> str:
    base = step_cost(methods.get("naive", {}))
    rows = []
    for name, seeds in methods.items():
        told = {key: _spread(seeds, key) for key in ("learned", "kept", "forgetting", "new", "all", "forward")}
        cost = step_cost(seeds)
        rows.append(
            [
                METHODS[name].title,
                str(len(seeds)),
                *(_number(told[key]) for key in ("learned", "kept")),
                "" if told["forgetting"] is None else told["forgetting"].said(100, 1, signed=True),
                *(_number(told[key]) for key in ("new", "all", "forward")),
                "" if base is None or cost is None or name == "joint" else f"{cost / base:.2f}",
                _growth(seeds),
            ]
        )
    columns = ("seeds", "old, learned", "old, in the end", "forgetting", "new", "all", "forward", "step", "growth")
    return markdown_table(["method", *columns], rows)


def _matrices(methods: dict[str, BySeed]) -> str:
    """R[i, j] of every method: Dice after step i of what step j teaches, mean over seeds."""
    some = next(iter(next(iter(methods.values())).values()))
    names = [step["name"] for step in some["steps"]]
    rows = []
    for name, seeds in methods.items():
        stacked = [result["dice"] for result in seeds.values()]
        for i in range(len(stacked[0])):
            cells = [Spread.of([matrix[i][j] for matrix in stacked]) for j in range(len(names))]
            after = names[i] if len(stacked[0]) > 1 else "everything at once"
            rows.append([METHODS[name].title, after, *("" if c is None else f"{c.mean:.3f}" for c in cells)])
    return markdown_table(["Dice R[i, j]", "after", *names], rows)


def _number(spread: Spread | None) -> str:
    return "" if spread is None else spread.said()


def _growth(seeds: BySeed) -> str:
    stages = next(iter(seeds.values()))["stages"]
    more = stages[-1]["prototypes"] - stages[0]["prototypes"]
    grown = stages[-1]["parameters"] - stages[0]["parameters"]
    return f"{grown}" + (f", {more} prototype{'s' if more > 1 else ''}" if more else "")


def _draw_forgetting(grouped: dict[str, dict[str, BySeed]], path: Path) -> None:
    scenarios = list(grouped)
    names = [name for name in METHODS if name != "joint" and any(name in grouped[s] for s in scenarios)]
    values = {}
    for name in names:
        spreads = [_spread(grouped[scenario].get(name), "forgetting") for scenario in scenarios]
        values[METHODS[name].title] = [None if s is None else 100 * s.mean for s in spreads]
    bars(path, scenarios, values, "forgetting, points of Dice")


def _draw_first_step(methods: dict[str, BySeed], path: Path) -> bool:
    """The first step's structures over the steps; only where there are enough of them to follow."""
    values, ticks = {}, []
    for name, seeds in methods.items():
        stacked = [result["dice"] for result in seeds.values()]
        if len(stacked[0]) > 2:
            ticks = [step["name"] for step in next(iter(seeds.values()))["steps"]]
            values[METHODS[name].title] = np.mean([[row[0] for row in matrix] for matrix in stacked], axis=0)
    if values:
        lines(path, values, ticks, "Dice of the first step's structures")
    return bool(values)
