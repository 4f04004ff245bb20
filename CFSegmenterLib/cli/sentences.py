"""Every wrong input is answered with one sentence and exit status 2; Ctrl-C with one and 130."""

from __future__ import annotations

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from ..errors import Cancelled, UserError
from ..memory import memory_for
from ..torchrun import are_several
from .console import say

# Typer brings its own copy of click from 0.20 on and shares the installed one before; both have this ancestor.
ClickError = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

WRONG, STOPPED = 2, 130


class SentenceGroup(TyperGroup):
    """A SentenceGroup turns what a person should read into a sentence; a defect keeps its traceback."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run a command and leave with its status."""
        try:
            status = super().main(args, prog_name or "cfsegmenter", complete_var, standalone_mode=False, **extra)
        except ClickError as error:  # a bad option; its message is a sentence already
            say(f"Error: {error.format_message()}", "red")
            status = WRONG
        except typer.Abort:
            status = _stopped()
        except OSError as error:
            if error.errno != errno.EPIPE:
                raise
            # Whoever read our output has seen enough; Python would complain once more while it closes the stream.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            status = 0
        except Exception:
            if not are_several():
                raise
            traceback.print_exc()
            status = 1
        _leave(status if isinstance(status, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the verb that was asked for."""
        try:
            with memory_for("for what was asked"), warnings.catch_warnings():
                # What libraries warn their callers of is not for the person at the shell.
                if not sys.warnoptions:
                    warnings.simplefilter("ignore")
                return super().invoke(ctx)
        except UserError as error:
            say(f"Error: {error}", "red")
            raise typer.Exit(WRONG) from error
        except (Cancelled, KeyboardInterrupt) as error:
            raise typer.Exit(_stopped(error)) from error


def _leave(status: int) -> NoReturn:
    """End the process.

    One of several that failed goes at once: it would take leave of the others properly, and wait for them, while they
    wait for it; torchrun, which ends them all when it sees one fail, would see nothing.
    """
    if status and are_several():
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


class Stopped(Cancelled):
    """Raised by a verb that has something to say about how to go on after Ctrl-C."""


def _stopped(error: BaseException | None = None) -> int:
    said = str(error) if isinstance(error, Stopped) else "Stopped; no unfinished file was left behind."
    say(said, "yellow")
    return STOPPED
