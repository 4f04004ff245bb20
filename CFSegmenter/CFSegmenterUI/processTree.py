"""Ending a process with all that it started.

`PythonSlicer`, `ssh` and a shell are launchers: ending one alone would leave what computes behind. Slicer's Python has
no package for this.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path


def killTree(pid: int) -> None:
    """End a process of ours and its descendants at once; who has ended already is passed over."""
    if os.name == "nt":
        command, hidden = ["taskkill", "/F", "/T", "/PID", str(pid)], subprocess.CREATE_NO_WINDOW
        subprocess.run(command, capture_output=True, creationflags=hidden, check=False)
        return
    for each in (pid, *descendants(pid)):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(each, signal.SIGKILL)


def descendants(pid: int) -> list[int]:
    """Process numbers of the children of `pid`, of theirs, and so on. Not for Windows."""
    children: dict[int, list[int]] = {}
    for child, parent in _parents():
        children.setdefault(parent, []).append(child)
    found = list(children.get(pid, ()))
    for each in found:  # grows while it is walked
        found += children.get(each, ())
    return found


def _parents() -> list[tuple[int, int]]:
    """Every process and its parent."""
    if Path("/proc/self/stat").exists():
        pairs = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):  # it ended while we looked
                # The name may hold anything, in brackets: what follows the last one is the state and the parent.
                pairs.append((int(folder.name), int((folder / "stat").read_bytes().rpartition(b")")[2].split()[1])))
        return pairs
    with contextlib.suppress(OSError):
        said = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=False)
        return [tuple(map(int, line.split())) for line in said.stdout.splitlines() if len(line.split()) == 2]
    return []
