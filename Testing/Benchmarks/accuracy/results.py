"""Results: a JSON file a cell, and nothing of the working folder in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from CFSegmenterLib.precision import choose_device
from Testing.Benchmarks.measure import RESULTS, environment, write_json

from .cells import HEAD_COST, Cell

FOLDER = RESULTS / "accuracy"


def path_of(folder: Path, size: str, cell: Cell) -> Path:
    """Where the result of a cell lies."""
    return folder / size / f"{cell.key}.json"


def keep(folder: Path, size: str, cell: Cell, said: dict[str, Any]) -> Path:
    """Write the result of a cell, with the commit and the environment that it was measured in."""
    path = path_of(folder, size, cell)
    device = "cpu" if cell.scenario == HEAD_COST else choose_device().type  # heads are measured on the processor
    write_json(path, {**said, "environment": environment(device)})
    return path


def read_all(folder: Path, size: str, cells: Sequence[Cell]) -> dict[Cell, dict[str, Any]]:
    """The results that there are, by cell."""
    paths = {cell: path_of(folder, size, cell) for cell in cells}
    return {cell: json.loads(path.read_text(encoding="utf-8")) for cell, path in paths.items() if path.exists()}
