"""Cells: which there are, and in which order they are run, so that an interrupted table already says something."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .methods import INCREMENTAL, RIVALS
from .methods.ablations import LOSSES, PROTOTYPES

SEEDS = (0, 1, 2)
HEAD_COST = "head-cost"
TWINS = "twins"


@dataclass(frozen=True)
class Cell:
    """One entry of a table: a method in a scenario with a seed."""

    scenario: str
    method: str
    seed: int

    @property
    def key(self) -> str:
        """Its name on disk."""
        return f"{self.scenario}/{self.method}-{self.seed}"

    def __str__(self) -> str:
        return f"{self.scenario}, {self.method}, seed {self.seed}"


def all_cells() -> tuple[Cell, ...]:
    """Every cell of both tables, what a reader waits for first."""
    return tuple(dict.fromkeys(_in_order()))


def _in_order() -> Iterator[Cell]:
    yield from _block("class-hippocampus", INCREMENTAL, SEEDS)
    yield Cell(HEAD_COST, "all", 0)
    yield from _block("hippocampus-half", RIVALS, SEEDS)
    yield from _block("hippocampus-half-long", RIVALS, SEEDS[:1])
    domains = ("domain-brainstem", "domain-abdomen-ct-mr", "domain-abdomen-mr-ct", "domain-esophagus")
    for scenario in domains:
        yield from _block(scenario, INCREMENTAL, SEEDS[:1])
    yield Cell(TWINS, "all", 0)
    yield from _block("all-sources", RIVALS, SEEDS[:1])
    yield from _block("class-long", INCREMENTAL, SEEDS[:1])
    yield from _block("abdomen-complete", {**RIVALS, **_named(PROTOTYPES)}, SEEDS[:1])
    yield from _block("hippocampus-half", _named(LOSSES), SEEDS[:1])
    yield from _block("hippocampus-complete", RIVALS, SEEDS[:1])
    for seed in SEEDS[1:]:
        for scenario in (*domains, "class-long"):
            yield from _block(scenario, INCREMENTAL, (seed,))
        for scenario in ("hippocampus-half-long", "all-sources", "hippocampus-complete"):
            yield from _block(scenario, RIVALS, (seed,))
        yield from _block("abdomen-complete", {**RIVALS, **_named(PROTOTYPES)}, (seed,))
        yield from _block("hippocampus-half", _named(LOSSES), (seed,))


def _block(scenario: str, methods, seeds: tuple[int, ...]) -> Iterator[Cell]:
    for seed in seeds:
        for method in methods:
            yield Cell(scenario, method, seed)


def _named(methods) -> dict[str, object]:
    return {each.name: each for each in methods}
