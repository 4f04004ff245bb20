"""One writer at a time: a lock file that programs on one machine, or on one shared disk, wait for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import UserError, plain_reason

WAIT_SECONDS = 120.0
"""A large volume is written in a fraction of that."""


@contextmanager
def locked(file: Path, what: str, seconds: float = WAIT_SECONDS) -> Iterator[None]:
    """Hold a lock file while a block runs; whoever else wants it waits.

    The operating system takes the lock from a process that dies.

    Args:
        file: made where it does not exist, in a folder that does; it holds nothing and may stay.
        what: is written, as the sentence calls it: "The store /data/store".
        seconds: to wait for another writer.

    Raises:
        UserError: another writer was not done in time, or the folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(file, timeout=seconds)
    try:
        lock.acquire()
    except Timeout as error:
        raise UserError(f"{what} is being written by another program; try again when it is done.") from error
    except (OSError, NotImplementedError) as error:
        reason = plain_reason(error) if isinstance(error, OSError) else "its disk knows no locks"
        raise UserError(f"{what} cannot be written to ({reason}); choose a folder that you may write to.") from error
    try:
        yield
    finally:
        lock.release()


def is_locked(file: Path) -> bool:
    """Whether somebody holds a lock file at this moment."""
    from filelock import FileLock, Timeout

    if not file.exists():
        return False
    lock = FileLock(file, timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError, NotImplementedError):
        return True
    lock.release()
    return False
