"""The one kind of error that is meant to be read by the user."""

from __future__ import annotations


class UserError(ValueError):
    """A sentence for the user: what is wrong, why, and what to do about it.

    The command line prints it and exits with status 2; the Slicer module shows it. Everything else that is raised is a
    defect of the program and keeps its traceback.
    """


class Cancelled(Exception):  # noqa: N818 - an answer to the user's wish, not an error
    """Raised inside long work after its progress callback answered False."""


def plain_reason(error: OSError) -> str:
    """Why the system refused, as words within a sentence."""
    return (error.strerror or type(error).__name__).lower()
