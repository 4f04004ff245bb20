"""`cfsegmenter worker`: the process that 3D Slicer speaks to."""

from __future__ import annotations

import typer


def worker(
    device: str = typer.Option("auto", help="'auto', 'cpu' or 'cuda', for requests that name none."),
    memory: float = typer.Option(0.0, min=0.0, help="Gigabytes of encodings to keep; 0 takes a quarter of all."),
) -> None:
    """Answer requests on standard input until it ends: for 3D Slicer, here or through ssh; not for people."""
    from ..worker.server import run

    run(device, int(memory * 1e9) or None)
