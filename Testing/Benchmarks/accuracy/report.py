"""The reports: Markdown and plots, made of the result files and of nothing else."""

from __future__ import annotations

from pathlib import Path

from Testing.Benchmarks.measure import RESULTS

from .apart import Apart
from .cells import HEAD_COST, TWINS, all_cells
from .incremental_report import incremental_report
from .results import path_of, read_all
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
    apart = {cell.scenario: cell for cell in cells if cell.scenario in (HEAD_COST, TWINS)}
    at_once = [cell for cell in cells if cell not in taught and cell not in apart.values()]
    plots = incremental.parent / "plots"
    apart_from_tables = Apart(
        found.get(apart[HEAD_COST]),
        found.get(apart[TWINS]),
        path_of(results, size, apart[TWINS]).with_suffix(".png"),
    )
    incremental.write_text(incremental_report(taught, found, plots, incremental.parent), encoding="utf-8")
    rivals.write_text(rivals_report(at_once, found, apart_from_tables, plots, rivals.parent), encoding="utf-8")
    return [incremental, rivals]
