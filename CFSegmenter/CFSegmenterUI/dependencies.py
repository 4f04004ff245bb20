"""What the worker needs and Slicer's Python does not have, and installing it when the user says so.

Nothing is imported to find out, and nothing is installed without a click and a question.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import slicer
from slicer.i18n import tr as _

from CFSegmenterLib.errors import UserError

from . import compat
from .workerCommand import ownCommand

REQUESTER = "CFSegmenter"
TORCH = "torch>=2.4"
"""Comes from the extension PyTorch, which chooses the build that fits the graphics card."""
PYTHON = (3, 11)
_IMPORTED_AS = {"lightning-fabric": "lightning_fabric", "pynrrd": "nrrd"}
"""Packages whose import is called otherwise."""
_REQUIREMENT = re.compile(r"^(?P<name>[\w.-]+)\s*(>=\s*(?P<least>[\d.]+))?")


@dataclass(frozen=True)
class Missing:
    """What the worker lacks in Slicer's Python.

    Attributes:
        torch: PyTorch is absent or too old.
        packages: requirements that are not met, as "monai>=1.4".
        python: Slicer's Python itself is too old.
    """

    torch: bool = False
    packages: tuple[str, ...] = ()
    python: bool = False

    def __bool__(self) -> bool:
        return self.torch or self.python or bool(self.packages)

    @property
    def requirements(self) -> tuple[str, ...]:
        """All that pip can bring."""
        return ((TORCH,) if self.torch else ()) + self.packages

    @property
    def text(self) -> str:
        """One sentence for the panel; empty where nothing is missing."""
        if self.python:
            return _(
                "This Slicer has Python {has}, but CFSegmenter needs {needs}; install a newer Slicer, or give the "
                "command of a worker elsewhere."
            ).format(has=_dotted(sys.version_info[:2]), needs=_dotted(PYTHON))
        if not self:
            return ""
        return _("CFSegmenter still needs {packages}; press Install.").format(packages=_names(self.requirements))


def findMissing(requirements: str | Path) -> Missing:
    """What is missing, by the file of requirements; nothing where the worker is started by the user's own command."""
    try:
        if ownCommand():
            return Missing()
    except UserError:  # said when the worker is started
        return Missing()
    importlib.invalidate_caches()
    lines = readRequirements(requirements)
    packages = (*(line for line in lines if not _isMet(line)), *_missingBelow(lines))
    return Missing(not _isMet(TORCH), packages, sys.version_info[:2] < PYTHON)


def readRequirements(path: str | Path) -> tuple[str, ...]:
    """The lines of a file of requirements that name one."""
    lines = (line.split("#")[0].strip() for line in Path(path).read_text(encoding="utf-8").splitlines())
    return tuple(line for line in lines if line and not line.startswith("-"))


def install(
    requirements: str | Path, wheels: str | Path | None = None, confirm: Callable[[str], bool] | None = None
) -> Missing:
    """Ask, then install what is missing; only for a click.

    Args:
        requirements: the file.
        wheels: folder of wheel files to take everything from, torch too, for a machine without network.
        confirm: asks the user, True to go on; None takes Slicer's dialog.

    Returns:
        What is missing still: everything where the user declined, and torch where Slicer must be restarted first to
        load the extension PyTorch.

    Raises:
        UserError: it could not be installed.
    """
    missing = findMissing(requirements)
    if not missing:
        return missing
    if missing.python:
        raise UserError(missing.text)
    if wheels is not None and not any(Path(wheels).glob("*.whl")):
        raise UserError(
            _("The folder {folder} holds no wheel files (*.whl); choose the folder they were downloaded to.").format(
                folder=wheels
            )
        )
    if not (confirm or confirmInstall)(_question(missing, wheels)):
        return missing
    try:
        if wheels is not None:
            compat.pipInstall(["--no-index", "--find-links", str(wheels), *missing.requirements], REQUESTER)
        elif not missing.torch or _installTorch():
            # Torch is there by now: MONAI would otherwise bring one that does not fit the graphics card.
            compat.installRequirements(requirements, REQUESTER)
            # Slicer only logs where one of these could not be installed, and would not look for it again.
            if below := _missingBelow(readRequirements(requirements)):
                compat.pipInstall(list(below), REQUESTER)
    except (subprocess.CalledProcessError, RuntimeError, OSError, ImportError) as error:
        logging.exception("Installation failed")
        raise UserError(
            _(
                "The installation failed ({reason}); the log has the details. Check the network, or install from "
                "wheels."
            ).format(reason=error)
        ) from error
    return findMissing(requirements)


def _installTorch() -> bool:
    """Install torch through the extension PyTorch; False where Slicer must be restarted first to load that."""
    try:
        import PyTorchUtils
    except ImportError:
        manager = slicer.app.extensionsManagerModel()
        if manager is None:  # an application that is built on Slicer may have none
            raise UserError(
                _("This application cannot load the extension PyTorch; install PyTorch from wheels.")
            ) from None
        # Asks by itself, too, before it installs and before it restarts.
        if not manager.installExtensionFromServer("PyTorch", True):
            raise UserError(
                _("The extension PyTorch was not installed; press Install again, or install from wheels.")
            ) from None
        return False
    version = TORCH[len("torch") :]
    if PyTorchUtils.PyTorchUtilsLogic().installTorch(askConfirmation=False, torchVersionRequirement=version) is None:
        raise RuntimeError(_("PyTorch was not installed"))
    return True


def _question(missing: Missing, wheels: str | Path | None) -> str:
    if wheels is not None:
        source = _("from the folder {folder}").format(folder=wheels)
    elif missing.torch:
        source = _("from the internet, up to 3 GB")
    else:
        source = _("from the internet")
    return _("{packages} will be installed into Slicer's Python, {source}. Continue?").format(
        packages=_names(missing.requirements), source=source
    )


def confirmInstall(question: str) -> bool:
    """Ask whether to go on, with Slicer's dialog."""
    return slicer.util.confirmOkCancelDisplay(question, windowTitle=_("CFSegmenter: install what is missing"))


def _isMet(requirement: str) -> bool:
    """Whether a package is there, in a version that is new enough; by its files alone."""
    said = _REQUIREMENT.match(requirement)
    name, least = said["name"], said["least"]
    if importlib.util.find_spec(_IMPORTED_AS.get(name.lower(), name.replace("-", "_"))) is None:
        return False
    try:
        return least is None or _numbers(importlib.metadata.version(name)) >= _numbers(least)
    except importlib.metadata.PackageNotFoundError:
        return True  # there, though nobody knows in which version


def _missingBelow(requirements: Iterable[str]) -> tuple[str, ...]:
    """What the packages that are there need, and what that needs, as far as it is absent; torch is asked for itself."""
    try:
        from packaging.requirements import InvalidRequirement, Requirement
    except ImportError:  # of a Slicer that comes without it nothing can be said
        return ()
    seen, missing = {"torch"}, []
    open_ = [line for line in requirements if _isMet(line)]
    while open_:
        try:
            requirement = Requirement(open_.pop())
        except InvalidRequirement:  # of an old package, in words of its own
            continue
        key = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if key in seen or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        seen.add(key)
        try:
            open_ += importlib.metadata.requires(requirement.name) or ()
        except importlib.metadata.PackageNotFoundError:
            if not _isMet(requirement.name):
                missing.append(requirement.name)
    return tuple(missing)


def _numbers(version: str) -> tuple[int, ...]:
    """The release of a version: "2.13.0+cpu" is (2, 13, 0)."""
    return tuple(int(n) for n in re.match(r"[\d.]*\d", version)[0].split("."))


def _names(requirements: tuple[str, ...]) -> str:
    return ", ".join(_REQUIREMENT.match(each)["name"] for each in requirements)


def _dotted(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
