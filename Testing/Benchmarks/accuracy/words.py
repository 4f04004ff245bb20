"""Words that both reports use: what is missing, with what it was run, and where."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .cells import Cell


def missing(cells: Sequence[Cell], found: Mapping[Cell, Any]) -> str:
    """A list of what has not been run yet; a sentence where nothing is missing."""
    left: dict[str, dict[str, list[int]]] = {}
    for cell in cells:
        if cell not in found:
            left.setdefault(cell.scenario, {}).setdefault(cell.method, []).append(cell.seed)
    count = sum(len(seeds) for methods in left.values() for seeds in methods.values())
    if not count:
        return f"All {len(cells)} cells have been run."
    lines = [f"{count} of {len(cells)} cells have not been run yet; `make bench-accuracy DATA=path` runs them:", ""]
    for scenario, methods in left.items():
        said = ", ".join(f"{method} (seed {', '.join(map(str, seeds))})" for method, seeds in methods.items())
        lines.append(f"- {scenario}: {said}")
    return "\n".join(lines)


def setting(results: Iterable[Mapping[str, Any]]) -> str:
    """With which network and how many iterations: the same for every method, so that any result says it."""
    lines = {}
    for result in results:
        stages = result["stages"]
        first = stages[0]["settings"]
        backbone = first["backbone"]
        options = ", ".join(f"{k} {v}" for k, v in backbone["options"].items())
        counts = " + ".join(str(stage["iterations"]) for stage in stages)
        said = (
            f"{counts} steps of {first['patches_per_step']} patches, {backbone['name']} ({options}), "
            f"C = {backbone['features']}"
        )
        key = (result["scenario"], len(stages))
        if key not in lines or result["method"].startswith("ours"):
            lines[key] = f"- {result['scenario']}{' (at once)' if len(stages) < len(result['steps']) else ''}: {said}"
    return "\n".join(lines.values())


SAME = ("learning_rate", "patches_per_step", "warmup", "average", "weight_decay", "augmentation")
"""Settings that all methods of a scenario must share to be compared."""


def uneven(results: Iterable[Mapping[str, Any]]) -> str:
    """A warning for each scenario whose results were not made alike; empty where all is well.

    The defaults of the library may change between two cells; a table over both would compare the defaults.
    """
    kinds: dict[str, set[str]] = {}
    for result in results:
        stages = result["stages"]
        if len(stages) < len(result["steps"]):
            continue  # everything at once has a rate of its own
        said = [[stage["iterations"], [stage["settings"].get(key) for key in SAME]] for stage in stages]
        kinds.setdefault(result["scenario"], set()).add(json.dumps(said, sort_keys=True))
    return "\n".join(
        f"**The results of {scenario} were made with different settings and cannot be compared**; remove them and run "
        "them again."
        for scenario, found in kinds.items()
        if len(found) > 1
    )


def step_cost(seeds: Mapping[int, Mapping[str, Any]]) -> float | None:
    """Median CPU seconds of a step over the seeds; those of a graphics card are none, as no CPU counts its work."""
    on_cpu = [result["stages"][-1] for result in seeds.values() if not _card(result)]
    known = [s["cpu_seconds_per_iteration"] for s in on_cpu if s["cpu_seconds_per_iteration"] is not None]
    return float(np.median(known)) if known else None


def hours(results: Iterable[Mapping[str, Any]]) -> str:
    """How long all trainings took, and on what."""
    spent: dict[str, float] = {}
    for result in results:
        card = _card(result)
        on = f"of one core beside one {card}" if card else "of one core"
        spent[on] = spent.get(on, 0.0) + sum(stage["seconds"] for stage in result["stages"]) / 3600
    return f"Training took {' and '.join(f'{time:.1f} hours {on}' for on, time in spent.items())}."


def where(results: Iterable[Mapping[str, Any]]) -> str:
    """On which commits and machines."""
    results = list(results)
    commits = dict.fromkeys(r["environment"]["commit"][:10] for r in results)
    machines = dict.fromkeys(_machine(r) for r in results)
    return f"Commits {', '.join(commits)}. {'; '.join(machines)}."


def _machine(result: Mapping[str, Any]) -> str:
    on = result["environment"]
    parts = (_card(result), on["cpu"], f"{on['threads']} threads", f"torch {on['torch']}", f"MONAI {on['monai']}")
    return ", ".join(part for part in parts if part)


def _card(result: Mapping[str, Any]) -> str:
    return result["environment"].get("card", "")
