"""Whether the stand-in host can start on this machine, and if not, why: a sentence that skipped tests give."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from pathlib import Path

PACKAGES = {"startScene": ("slicer",), "startApplication": ("slicer", "PySide6")}
"""Starter -> what must be importable for it."""
WHEELS = {"slicer": "slicer-core", "PySide6": "PySide6-Essentials"}

START_SECONDS = 300
"""A cold disk reads hundreds of megabytes of libraries."""


@functools.cache
def whyNot(start: str) -> str:
    """Why `Testing.Host.startScene` or `startApplication`, by its name, cannot work here; "" where it can.

    It is tried in a process of its own: a wheel may be there and a library of the system that it needs may not, and
    Qt and VTK end the process rather than raise when that is the one for graphics.
    """
    missing = [WHEELS[name] for name in PACKAGES[start] if importlib.util.find_spec(name) is None]
    if missing:
        return f"{' and '.join(missing)} not installed (extra `scene`)"
    program = f"from Testing.Host import {start}; {start}()"
    try:
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=START_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return f"the stand-in host did not start within {START_SECONDS} s"
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines()
    return f"the stand-in host does not start here: {said[-1] if said else f'exit status {done.returncode}'}"
