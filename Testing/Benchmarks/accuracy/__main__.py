"""Run cells, or write the reports; see the package."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import torch
import typer

from CFSegmenterLib.errors import Cancelled

from .cells import all_cells
from .driver import run_cells
from .report import write_reports
from .results import FOLDER
from .sizes import SIZES

app = typer.Typer(add_completion=False, no_args_is_help=True, help="Accuracy beside others, and forgetting.")

Results = Annotated[Path, typer.Option(help="Folder of the result files.")]
SizeName = Annotated[str, typer.Option(help=f"One of {', '.join(SIZES)}.")]


@app.command()
def run(
    data: Annotated[Path, typer.Option(help="Folder that holds a folder a source.")],
    out: Annotated[Path, typer.Option(help="Where checkpoints and models go.")] = Path("runs/accuracy"),
    scenario: Annotated[list[str], typer.Option(help="Only these scenarios.")] = [],  # noqa: B006 - typer reads it
    method: Annotated[list[str], typer.Option(help="Only these methods.")] = [],  # noqa: B006
    seed: Annotated[list[int], typer.Option(help="Only these seeds.")] = [],  # noqa: B006
    size: SizeName = "small",
    minutes: Annotated[float | None, typer.Option(help="Stop after so long; the same command goes on.")] = None,
    threads: int = 1,
    results: Results = FOLDER,
) -> None:
    """Run the cells that have no result yet."""
    torch.set_num_threads(threads)
    cells = [
        cell
        for cell in all_cells()
        if (not scenario or cell.scenario in scenario)
        and (not method or cell.method in method)
        and (not seed or cell.seed in seed)
    ]
    if not cells:
        raise typer.BadParameter("No cell has that scenario, method and seed.")
    ends = None if minutes is None else time.monotonic() + 60 * minutes
    try:
        run_cells(cells, SIZES[size], data, out, results, ends, typer.echo)
    except Cancelled:
        typer.echo("stopped; the same command goes on from here")


@app.command()
def report(size: SizeName = "small", results: Results = FOLDER) -> None:
    """Write results/INCREMENTAL.md and RESULTS.md from the results that there are."""
    for path in write_reports(results, size):
        typer.echo(str(path))


if __name__ == "__main__":
    app()
