"""`cfsegmenter phantom`: a source of drawn scans, for trying a training without any patient."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from . import options
from .console import print_table, say


def phantom(
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the source.")],
    training: Annotated[int, typer.Option("--training", min=0, help="Training cases to draw.")] = 8,
    validation: Annotated[int, typer.Option("--validation", min=0, help="Validation cases to draw.")] = 2,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the first case; each seed is another person.")] = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Draw abdomens with their labels, and write them as a source with its case list."""
    if training + validation == 0:
        raise UserError("No case is to be drawn; ask for at least one with --training or --validation.")
    options.free_to_write([out / "dataset.json"], overwrite)

    from ..phantom_source import write_phantom_source

    options.made_folder(out)
    say(f"Drawing {training + validation} cases; a second or two each ...")
    try:
        path = write_phantom_source(out, training, validation, seed)
    except OSError as error:
        raise UserError(f"The source cannot be written to {out} ({error.strerror}); name another folder.") from error
    print_table(("case list", "training", "validation"), [[str(path), training, validation]])
