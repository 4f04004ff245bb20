"""The command that starts the worker: Slicer's own Python, or whatever the user's settings say.

A command of the user's, such as `ssh gpu-box cfsegmenter worker`, makes any machine the one that computes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

import CFSegmenterLib
from CFSegmenterLib.errors import UserError

SETTING = "CFSegmenter/WorkerCommand"
"""Application setting: the user's own command as typed into a shell; empty for Slicer's Python."""


def workerCommand() -> list[str]:
    """Program and arguments that start the worker: the user's own command, or the default.

    Raises:
        UserError: the user's command cannot be split into words.
    """
    return ownCommand() or defaultCommand()


def defaultCommand() -> list[str]:
    """The worker in Slicer's own Python, which `workerEnvironment` lets find the library."""
    return [slicerPython(), "-m", CFSegmenterLib.__name__, "worker"]


def ownCommand() -> list[str]:
    """The user's own command, split as a shell splits it; empty where there is none.

    Raises:
        UserError: it cannot be split.
    """
    words = shlex.shlex(str(qt.QSettings().value(SETTING, "") or ""), posix=True)
    words.whitespace_split = True
    words.commenters = ""
    if os.name == "nt":
        words.escape = ""  # a backslash is part of a path there
    try:
        return list(words)
    except ValueError as error:
        raise UserError(
            _("The worker command in the settings has an opening quote without a closing one; add it.")
        ) from error


def setOwnCommand(text: str) -> None:
    """Remember the user's own command; empty returns to Slicer's Python. It is used at the worker's next start."""
    qt.QSettings().setValue(SETTING, text.strip())


def slicerPython() -> str:
    """The program that runs Slicer's Python with Slicer's packages, or this Python outside the application."""
    binaries = os.path.join(slicer.app.slicerHome, "bin")
    return shutil.which("PythonSlicer", path=binaries) or shutil.which("PythonSlicer") or sys.executable


def workerEnvironment() -> dict[str, str]:
    """All environment variables of the worker.

    Slicer's Python gets Slicer's own, and the folder of the library that this module uses. A command of the user's
    gets those from before Slicer started: Slicer's paths of libraries and packages break other programs, ssh among
    them.

    Raises:
        UserError: the user's command cannot be split into words.
    """
    if ownCommand():
        return slicer.util.startupEnvironment()
    folder = str(Path(CFSegmenterLib.__file__).resolve().parents[1])
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    path = os.pathsep.join([folder, *(other for other in others if other and other != folder)])
    return {**os.environ, "PYTHONPATH": path}
