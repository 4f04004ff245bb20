"""The reports: Markdown and plots, made of the result files and of nothing else."""

from __future__ import annotations

from pathlib import Path

from Testing.Benchmarks.measure import RESULTS

from .cells import HEAD_COST, all_cells
from .incremental_report import incremental_report
from .results import read_all
from .rivals_report import rivals_report
from .scenarios import INCREMENTAL

INCREMENTAL_REPORT = RESULTS / "INCREMENTAL.md"
RIVALS_REPORT = RESULTS.parent / "RESULTS.md"


def write_reports(
    results: Path, size: str, incremental: Path = INCREMENTAL_REPORT, rivals: Path = RIVALS_REPORT
) -> list[Path]:
    """Write both reports; cells that have no result yet are said to be missing.

    Args:
        results: folder of the result files.
        incremental, rivals: where the two reports go, with their plots in a folder `plots` beside the first one.

    Returns:
        Their paths.
    """
    cells = all_cells()
    found = read_all(results, size, cells)
    taught = [cell for cell in cells if cell.scenario in INCREMENTAL]
    at_once = [cell for cell in cells if cell.scenario not in INCREMENTAL and cell.scenario != HEAD_COST]
    plots = incremental.parent / "plots"
    costs = next((said for cell, said in found.items() if cell.scenario == HEAD_COST), None)
    incremental.write_text(incremental_report(taught, found, plots, incremental.parent), encoding="utf-8")
    rivals.write_text(rivals_report(at_once, found, costs, plots, rivals.parent), encoding="utf-8")
    return [incremental, rivals]
