"""What a person sees: tables for eyes in a terminal and for programs in a pipe; progress as a bar or as lines."""

from __future__ import annotations

import pytest

from CFSegmenterLib.cli import console


@pytest.fixture
def a_terminal(monkeypatch):
    """Has rich write as to a terminal."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.setenv("COLUMNS", "100")


ROWS = [["liver", 1512.345, (10, 200, 30), None], ["left\tkidney", 0.01234, (0, 0, 0), 3]]


def test_a_pipe_gets_tab_separated_values(capsys):
    console.print_table(("name", "ml", "color", "cases"), ROWS)
    lines = capsys.readouterr().out.splitlines()
    assert lines == ["name\tml\tcolor\tcases", "liver\t1512.3\t#0ac81e\t", "left kidney\t0.0123\t#000000\t3"]


def test_a_terminal_gets_a_drawn_table(capsys, a_terminal):
    console.print_table(("name", "ml", "color", "cases"), ROWS)
    shown = capsys.readouterr().out
    assert "1512.3" in shown and "48;2;10;200;30" in shown and "\t" not in shown


def test_a_terminal_gets_a_bar_on_standard_error(capsys, a_terminal):
    with console.shown("scan") as progress:
        assert progress(3, 10, "window 4 of 10") is True
    streams = capsys.readouterr()
    assert "scan" in streams.err and streams.out == ""


def test_a_log_gets_a_line_now_and_then_and_none_for_short_work(capsys):
    with console.shown("scan", line_seconds=0) as progress:
        progress(3, 10, "window 4 of 10")
    assert capsys.readouterr().err == "scan: 30 %, window 4 of 10\n"
    with console.shown("scan") as progress:
        progress(0, 0, "nothing")
    assert capsys.readouterr().err == ""


def test_what_looks_like_markup_is_printed_as_it_stands(capsys, a_terminal):
    console.say("[red]scan[1].nii.gz[/red] is missing")
    assert "[red]scan[1].nii.gz[/red] is missing" in capsys.readouterr().err
