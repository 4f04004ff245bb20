"""Fixtures of the command's tests: the tiny model and phantoms of the library's tests, and a way to type a command."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from Testing.Library.conftest import (  # noqa: F401 - pytest finds fixtures by their names here
    a_model_folder,
    a_new_source,
    a_small_file,
    a_small_phantom,
    a_small_source,
)


@pytest.fixture
def cfsegmenter() -> Callable[..., object]:
    """Runs the command in this process: `cfsegmenter("structures", "liver").stdout`."""
    from CFSegmenterLib.cli import app

    def run(*arguments: object):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception  # a defect, not a sentence
        return result

    return run


@pytest.fixture
def refused(cfsegmenter) -> Callable[..., str]:
    """Runs the command, which must be refused with status 2 and one sentence; returns the sentence."""

    def run(*arguments: object) -> str:
        result = cfsegmenter(*arguments)
        assert result.exit_code == 2, result.output
        assert result.stdout == ""
        last = result.stderr.strip().splitlines()
        assert len(last) == 1 and last[0].startswith("Error: "), result.stderr
        return last[0]

    return run


def table_of(stdout: str) -> list[dict[str, str]]:
    """The rows of a table that was printed to a pipe."""
    head, *rows = (line.split("\t") for line in stdout.splitlines())
    return [dict(zip(head, row, strict=True)) for row in rows]


def hidden_files(folder: Path) -> Sequence[Path]:
    """Unfinished files that were left behind."""
    return [path for path in folder.rglob(".*") if path.is_file()]
