"""On the disk before anybody is told so: what was written survives the machine that wrote it."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def flush_file(path: Path) -> None:
    """Have what was written to a file on the disk.

    Raises:
        OSError: it cannot be; a full disk may say so only now.
    """
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_names(folder: Path) -> None:
    """Have the names in a folder on the disk, where the system lets one ask for that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def flush_tree(folder: Path) -> None:
    """Have a folder on the disk, with all that is in it.

    Raises:
        OSError: as `flush_file`.
    """
    for path in folder.rglob("*"):
        if path.is_dir():
            flush_names(path)
        else:
            flush_file(path)
    flush_names(folder)
