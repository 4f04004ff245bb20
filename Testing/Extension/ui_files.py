"""The .ui files of the panels, as the static tests see them."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from Testing.Extension.sources import UI_FILES


@dataclass(frozen=True, eq=False)
class UiFile:
    """A .ui file: its widgets by name, its custom widgets and its connections.

    Attributes:
        widgets: (name, element) of every widget, the top one first; a name may occur twice, which is an error.
        headers: class -> header, of the custom widgets.
        connections: (sender, signal, receiver, slot).
    """

    path: Path
    widgets: tuple[tuple[str, ElementTree.Element], ...]
    headers: dict[str, str]
    connections: tuple[tuple[str, str, str, str], ...]

    @classmethod
    def read(cls, path: Path) -> UiFile:
        root = ElementTree.parse(path).getroot()
        ends = ("sender", "signal", "receiver", "slot")
        return cls(
            path,
            tuple((element.get("name", ""), element) for element in root.iter("widget")),
            {each.findtext("class", ""): each.findtext("header", "") for each in root.iter("customwidget")},
            tuple(tuple(each.findtext(end, "") for end in ends) for each in root.iter("connection")),
        )

    @functools.cached_property
    def classes(self) -> dict[str, str]:
        """Name of a widget -> its class."""
        return {name: element.get("class", "") for name, element in self.widgets}

    @functools.cached_property
    def parameters(self) -> dict[str, str]:
        """Name of a widget -> the parameter that it shows."""
        named = {name: property_of(element, "SlicerParameterName") for name, element in self.widgets}
        return {name: value.findtext("string", "") for name, value in named.items() if value is not None}


def property_of(widget: ElementTree.Element, name: str) -> ElementTree.Element | None:
    """A property that the file sets for a widget."""
    return next((each for each in widget.findall("property") if each.get("name") == name), None)


@functools.cache
def ui_files() -> tuple[UiFile, ...]:
    """The .ui files of all panels."""
    return tuple(UiFile.read(path) for path in sorted(UI_FILES.glob("*.ui")))
