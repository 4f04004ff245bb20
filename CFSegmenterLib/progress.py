"""The one contract for long work: `progress(done, total, message) -> bool`, where False asks it to stop."""

from __future__ import annotations

from collections.abc import Callable

from .errors import Cancelled

Progress = Callable[[int, int, str], bool]


def silent(done: int, total: int, message: str) -> bool:
    """Take no notice and never cancel: the default of every long function."""
    return True


def within(progress: Progress, done: int, total: int, message: str) -> Progress:
    """The progress of what is one step of something longer: it says that step, and is asked as often as its own."""
    return lambda *inner: progress(done, total, message)


def advance(progress: Progress, done: int, total: int, message: str) -> None:
    """Report a step.

    Raises:
        Cancelled: the callback answered False.
    """
    if not progress(done, total, message):
        raise Cancelled(message)
