"""What a person sees: tables on standard output, everything else on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from ..progress import Progress

Color = tuple[int, int, int]
Cell = str | int | float | Color | None
"""What a table holds; a float is shown with three figures, a color as a patch, None as a dash."""

LINE_SECONDS = 10.0
"""Time between two lines of progress where there is no terminal to draw a bar on."""


def say(sentence: str, style: str = "") -> None:
    """Print one sentence to standard error."""
    from rich.console import Console
    from rich.text import Text

    Console(stderr=True).print(Text(sentence, style=style), soft_wrap=True)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[Cell]]) -> None:
    """Print rows to standard output: a drawn table in a terminal, else tab-separated lines under one of names."""
    from rich.console import Console

    console = Console()
    if console.is_terminal:
        console.print(_drawn(columns, rows))
        return
    for row in (columns, *rows):
        sys.stdout.write("\t".join(_plain(cell) for cell in row) + "\n")
    sys.stdout.flush()


def _drawn(columns: Sequence[str], rows: Sequence[Sequence[Cell]]):
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for number, name in enumerate(columns):
        numeric = any(isinstance(row[number], int | float) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        cells = []
        for cell in row:
            is_color = isinstance(cell, tuple)
            cells.append(Text("    ", style=f"on {_plain(cell)}") if is_color else Text(_plain(cell, "–")))
        table.add_row(*cells)
    return table


def _plain(cell: Cell, nothing: str = "") -> str:
    if cell is None:
        return nothing
    if isinstance(cell, tuple):
        return "#{:02x}{:02x}{:02x}".format(*cell)
    if isinstance(cell, float):
        return f"{cell:.1f}" if abs(cell) >= 100 else f"{cell:.3g}"
    return " ".join(str(cell).split())


@contextmanager
def shown(title: str, *, time_left: bool = True, line_seconds: float = LINE_SECONDS) -> Iterator[Progress]:
    """Show long work: a bar in a terminal, else a line now and then.

    Args:
        title: what is being done.
        time_left: False where the messages say themselves how long it will take.
        line_seconds: between two lines where there is no terminal.

    Yields:
        The callback to hand to the library; it never asks to stop.
    """
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(title, line_seconds)
        return
    from rich import progress

    columns = [progress.TextColumn("{task.description}"), progress.BarColumn(), progress.TaskProgressColumn()]
    columns.append(progress.TimeRemainingColumn() if time_left else progress.TimeElapsedColumn())
    with progress.Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(title, total=None)

        def update(done: int, total: int, message: str) -> bool:
            bar.update(task, completed=done, total=total, description=f"{title}: {message}")
            return True

        yield update


def _lines(title: str, seconds: float) -> Callable[[int, int, str], bool]:
    last = time.monotonic()

    def update(done: int, total: int, message: str) -> bool:
        nonlocal last
        if time.monotonic() - last >= seconds:
            last = time.monotonic()
            say(f"{title}: {100 * done // max(total, 1)} %, {message}")
        return True

    return update
