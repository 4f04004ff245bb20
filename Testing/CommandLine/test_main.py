"""The command as a whole: instant help, one sentence for every mistake, clean streams."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from CFSegmenterLib import __version__
from CFSegmenterLib.errors import Cancelled, UserError

ROOT = Path(__file__).resolve().parents[2]
NO_MEMORY = (
    "Error: There is too little memory for what was asked: close other programs, crop the image, or resample it to "
    "larger voxels."
)
VERBS = ["segment", "similarity", "structures", "models", "train", "evaluate", "phantom", "demo"]


def run(*arguments, **options):
    """The command in a process of its own."""
    command = [sys.executable, "-m", "CFSegmenterLib", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, **options)


def test_a_process_answers_with_version_table_and_status():
    assert run("--version").stdout == f"cfsegmenter {__version__}\n"
    found = run("structures", "left", "--region", "heart")
    assert found.returncode == 0 and found.stderr == ""
    assert found.stdout.splitlines()[0].split("\t") == ["structure", "region", "part of", "code", "color"]
    wrong = run("structures", "livre")
    assert wrong.returncode == 2 and wrong.stdout == ""
    assert wrong.stderr.startswith("Error: ") and "liver" in wrong.stderr and "Traceback" not in wrong.stderr


def test_a_reader_that_has_seen_enough_is_no_error():
    command = f'"{sys.executable}" -m CFSegmenterLib structures | head -n 1'
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.stdout.startswith("structure\t") and done.stderr == ""


def test_nothing_heavy_is_imported_for_help():
    script = (
        "import sys, CFSegmenterLib.cli as c\n"
        "heavy = {'torch', 'monai', 'numpy', 'nibabel', 'SimpleITK', 'matplotlib', 'pydantic', 'open_clip'}\n"
        "sys.exit(f'imported: {heavy & set(sys.modules)}' if heavy & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_without_a_verb_the_help_is_shown(cfsegmenter):
    result = cfsegmenter()
    assert result.exit_code == 0
    assert all(verb in result.stdout for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(cfsegmenter, verb):
    result = cfsegmenter(verb, "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout


def test_a_verb_that_does_not_exist_is_refused(refused):
    assert "sgment" in refused("sgment")


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (UserError("It is wrong."), 2, "Error: It is wrong."),
        (MemoryError(), 2, NO_MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), 2, NO_MEMORY),
        (KeyboardInterrupt(), 130, "Stopped; no unfinished file was left behind."),
        (Cancelled("asked to"), 130, "Stopped; no unfinished file was left behind."),
    ],
)
def test_what_a_verb_raises_becomes_a_sentence_and_a_status(cfsegmenter, monkeypatch, raised, status, said):
    def fail(*_):
        raise raised

    monkeypatch.setattr("CFSegmenterLib.structures.Vocabulary.load", fail)
    result = cfsegmenter("structures")
    assert (result.exit_code, result.stderr.strip(), result.stdout) == (status, said, "")


def test_a_defect_keeps_its_traceback(cfsegmenter, monkeypatch):
    def fail(*_):
        raise ZeroDivisionError

    monkeypatch.setattr("CFSegmenterLib.structures.Vocabulary.load", fail)
    with pytest.raises(ZeroDivisionError):
        cfsegmenter("structures")
