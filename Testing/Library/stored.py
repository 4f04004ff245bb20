"""Stores for tests: versions of a small model that nobody trained, with reports that say what a test wants."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from CFSegmenterLib.model import Manifest, copy_model, save_model
from CFSegmenterLib.store import ModelStore
from CFSegmenterLib.stored_version import StoredVersion
from Testing.Library.painted import a_plain_model

HAS_FORK = hasattr(os, "fork")


def save_plain_model(folder: Path, *more: str, **said: Any) -> Path:
    """A model folder of liver and spleen, and of what else is named."""
    save_model(a_plain_model(("liver", "spleen", *more), **said), folder, "# A card\n")
    return folder


def a_report(**changes: Any) -> dict[str, Any]:
    """The report of an update that taught the gallbladder and kept the liver."""
    return {
        "format": 1,
        "model": "painted",
        "version": "2",
        "parent": "1",
        "date": "2026-11-25",
        "minutes": 9.8,
        "iterations": 812,
        "cases": {"training": 6, "validation": 2, "unlabelled": 0},
        "added": ["gallbladder"],
        "taught": ["gallbladder", "liver"],
        "validated": True,
        "why_not_validated": None,
        "scores": [
            score("gallbladder", None, 0.8, kind="new"),
            score("liver", 0.9, 0.88),
        ],
        "agreement": [{"structure": "liver", "where": "update", "cases": 8, "dice": 0.97}],
        "losses": [[1, 2.0], [2, 1.5]],
        "warnings": [],
        "fell": False,
        "margin": 2.0,
        **changes,
    }


def score(structure: str, before: float | None, after: float | None, *, kind: str = "old") -> dict[str, Any]:
    """A row of a report."""
    return {
        "structure": structure,
        "source": "ct cases",
        "modality": "ct",
        "kind": kind,
        "cases": 2,
        "dice_before": before,
        "dice_after": after,
        "distance_before": None if before is None else 1.5,
        "distance_after": 1.2,
        "per_case": [],
    }


FELL = a_report(fell=True, warnings=["left kidney lost 4.0 points on 3 cases"])


def writer(
    model: Path, parent: str | None = "1", report: dict[str, Any] | str | None = None
) -> Callable[[Path, str], Manifest]:
    """What `propose` calls: writes a copy of a model with a report, or with a text in the place of one."""

    def write(folder: Path, version: str) -> Manifest:
        manifest = copy_model(model, folder, version=version, parent=parent)
        if report is not None:
            (folder / "report").mkdir()
            said = report if isinstance(report, str) else json.dumps(report)
            (folder / "report" / "report.json").write_text(said, encoding="utf-8")
            (folder / "report" / "index.html").write_text("<html></html>", encoding="utf-8")
        return manifest

    return write


def propose(store: ModelStore, model: Path, **said: Any) -> StoredVersion:
    """Propose a copy of a model as a version of the active one, with a good report unless another is said."""
    return store.propose(writer(model, **{"parent": store.active.name, "report": a_report(), **said}))


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder, hidden ones and locks aside."""
    files = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return {
        str(file): (folder / file).read_bytes()
        for file in files
        if file.suffix != ".lock" and not any(part.startswith(".") for part in file.parts)
    }


def hidden(folder: Path) -> list[str]:
    """What was left half-written."""
    return [path.name for path in folder.rglob(".*")]


def in_a_process(action: Callable[[], object]) -> int:
    """Start a process that does something and ends with 0, or with 1 where it raises; returns its id."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return child


def ended(child: int) -> int:
    """Wait for a process; returns its exit status, negative where a signal ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(step: int, folder: Path) -> None:
    """Have this process killed just before its `step`-th operation on a file in a folder; there is no way back."""
    counted = 0
    place = str(folder)

    def count(event: str, arguments: tuple) -> None:
        nonlocal counted
        if event in _OPERATIONS and arguments and place in str(arguments[0]):
            counted += 1
            if counted == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


_OPERATIONS = {"open", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "shutil.copyfile", "shutil.rmtree"}
