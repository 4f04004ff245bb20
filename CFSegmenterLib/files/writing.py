"""Files that are written whole or not at all: beside the final name first, renamed at the end."""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError, plain_reason


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path to write to, in the same folder and with the same ending; rename it to `path` on success.

    On any failure, a keyboard interrupt included, the unfinished file is removed and what stood under `path`
    before stays as it was.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    final = Path(path)
    partial = final.with_name(f".{secrets.token_hex(4)}-{final.name[-200:]}")
    try:
        _check_writable(final)
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(partial, final)
    except OSError as error:
        ours = {str(p) for p in (None, partial, final, final.parent)}
        if str(error.filename) not in ours:
            raise  # the caller stumbled over another file
        raise UserError(_cannot_write(final, error)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically.

    Raises:
        UserError: as `write_atomically`.
    """
    with write_atomically(path) as partial:
        partial.write_bytes(text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write JSON atomically: keys in their order, two blanks of indent, UTF-8, a line break at the end.

    NumPy numbers and arrays are written as numbers and lists.

    Raises:
        UserError: as `write_atomically`.
        ValueError: a number is NaN or infinite, which JSON does not know.
        TypeError: `obj` holds what JSON does not know.
    """
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


def _check_writable(final: Path) -> None:
    if final.is_dir():
        raise UserError(f"'{final}' is a folder, and a file of that name is to be written: choose another name.")
    if not final.parent.is_dir():
        raise UserError(f"There is no folder '{final.parent}' to write '{final.name}' into: create it first.")


def _cannot_write(final: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = plain_reason(error)
        return f"'{final.name}' cannot be written ({reason}): free some space or choose another disk."
    return (
        f"'{final.name}' cannot be written to '{final.parent}' ({plain_reason(error)}): choose a folder "
        "that you may write to."
    )


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
