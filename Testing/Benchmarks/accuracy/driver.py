"""The driver: cells that have no result yet, one after another, until none is left or the time is over."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from .bench import Bench
from .cells import HEAD_COST, TWINS, Cell
from .head_cost import measure_heads
from .methods import ALL
from .results import keep, path_of
from .scenarios import AT_ONCE, INCREMENTAL
from .sizes import Size
from .texts import text_embeddings
from .twins import run_twins

PATIENCE = 20.0
"""Seconds until cells that another process works on are looked at again."""


def run_cells(
    cells: Sequence[Cell],
    size: Size,
    data: Path,
    out: Path,
    results: Path,
    ends: float | None = None,
    say: Callable[[str], Any] = lambda text: None,
) -> list[Path]:
    """Run what has no result; several processes may do so at once.

    Args:
        ends: of `time.monotonic()`, when to stop.

    Returns:
        The files written.

    Raises:
        Cancelled: the time was over; a cell that was begun goes on when it is run again.
    """
    bench = Bench(size, out, text_embeddings(data), lambda *_: ends is None or time.monotonic() < ends)
    written = []
    left = [cell for cell in cells if not path_of(results, size.name, cell).exists()]
    while left:
        busy = []
        for cell in left:
            if path_of(results, size.name, cell).exists():
                continue  # another process was quicker
            try:
                with _alone(out, size, cell):
                    say(f"{time.strftime('%H:%M:%S')} {cell}")
                    written.append(keep(results, size.name, cell, _said(cell, bench, data, results)))
            except Timeout:
                busy.append(cell)
        if len(busy) == len(left):
            time.sleep(PATIENCE)
        left = busy
    return written


def _said(cell: Cell, bench: Bench, data: Path, results: Path) -> dict[str, Any]:
    if cell.scenario == HEAD_COST:
        return measure_heads()
    if cell.scenario == TWINS:
        return run_twins(bench, path_of(results, bench.size.name, cell).with_suffix(".png"))
    return bench.run(cell, {**INCREMENTAL, **AT_ONCE}[cell.scenario](data, cell.seed))


def _alone(out: Path, size: Size, cell: Cell) -> FileLock:
    """A lock on what a cell writes; those that learn one step after another share a first training."""
    shared = cell.scenario in INCREMENTAL and not ALL[cell.method].at_once
    name = f"{cell.scenario}-{cell.seed}" if shared else cell.key.replace("/", "-")
    folder = out / size.name / "locks"
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(folder / f"{name}.lock", timeout=0)
