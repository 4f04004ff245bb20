"""What differs between Slicer 5.8 and 5.12, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import slicer

# Installing packages: slicer.packaging since 5.12


def installRequirements(path: str | Path, requester: str) -> None:
    """Install what a file of requirements names and is not there; the user has agreed already.

    Raises:
        CalledProcessError: pip failed.
    """
    try:
        from slicer import packaging
    except ImportError:
        slicer.util.pip_install(["-r", str(path)])
        return
    # MONAI asks for a torch of its own choice; the one of the extension PyTorch fits the graphics card.
    wanted = packaging.load_requirements(path)
    packaging.pip_ensure(wanted, skip_packages=["torch"], prompt_install=False, requester=requester)


def pipInstall(arguments: Sequence[str], requester: str) -> None:
    """Run `pip install` with `arguments`, showing its progress where Slicer can.

    Raises:
        CalledProcessError: pip failed.
    """
    try:
        from slicer import packaging
    except ImportError:
        slicer.util.pip_install(list(arguments))
        return
    packaging.pip_install(list(arguments), requester=requester)


# Terminology of a segment: a property since 5.10


def setTerminology(segment, entry: str) -> None:
    """Give a segment a serialized terminology entry."""
    if hasattr(segment, "SetTerminology"):
        segment.SetTerminology(entry)
    else:
        segment.SetTag(segment.GetTerminologyEntryTagName(), entry)


# Sample data: categories have titles since 5.12; before, a category is its own title


def registerSampleCategory(logic, category: str, title: str) -> None:
    """Give a category of the Sample Data module, of which `logic` is, a title to show."""
    if hasattr(logic, "registerCustomSampleDataCategory"):
        logic.registerCustomSampleDataCategory(category, title)


# Connecting widgets to a parameter node: connectGui forgets to return its tag before 5.10


def connectGui(parameterNode, ui):
    """Tie the widgets of `ui` that carry a SlicerParameterName to their parameters; returns a tag for disconnectGui."""
    widgets = (widget for widget in vars(ui).values() if hasattr(widget, "property"))
    named = {widget.property("SlicerParameterName"): widget for widget in widgets}
    return parameterNode.connectParametersToGui({name: widget for name, widget in named.items() if name})
