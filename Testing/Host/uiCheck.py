"""Checks a .ui file against what the widget classes really have: classes, properties, signals, slots."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from Testing.Host.widgetApi import WidgetApi, nameOf, widgetApi


def findings(ui: Path | str) -> list[str]:
    """What is wrong in a .ui file (or its text), a sentence each."""
    text = ui.read_text(encoding="utf-8") if isinstance(ui, Path) else ui
    root = ElementTree.fromstring(text)
    api = widgetApi()
    widgets = [(one.get("name"), one.get("class"), one) for one in root.iter("widget")]
    names = [name for name, _, _ in widgets]
    declared = {one.findtext("class") for one in root.iter("customwidget")}
    found = [f"two widgets are called {name}" for name in sorted(set(names)) if names.count(name) > 1]
    for name, className, widget in widgets:
        if not api.isKnown(className):
            found.append(f"{name}: there is no class {className}")
            continue
        if className in api and className not in declared:
            found.append(f"{name}: {className} is not declared in <customwidgets>")
        found += _propertyFindings(api, name, className, widget)
    classes = {name: className for name, className, _ in widgets}
    for connection in root.iter("connection"):
        found += _connectionFindings(api, classes, connection)
    return found


def _propertyFindings(api: WidgetApi, name: str, className: str, widget: ElementTree.Element) -> list[str]:
    known = api.properties(className) | ({"orientation"} if className == "Line" else set())
    # stdset="0" marks a dynamic property, which may have any name.
    stated = [one.get("name") for one in widget.findall("property") if one.get("stdset") != "0"]
    return [f"{name}: {className} has no property {one}" for one in stated if one not in known]


def _connectionFindings(api: WidgetApi, classes: dict[str, str], connection: ElementTree.Element) -> list[str]:
    ends = ("sender", "signal", "receiver", "slot")
    sender, signal, receiver, slot = (connection.findtext(end) for end in ends)
    found = [f"a connection names {one}, which is no widget" for one in (sender, receiver) if one not in classes]
    if found:
        return found
    if api.isKnown(classes[sender]) and nameOf(signal) not in api.members(classes[sender], "signals"):
        found.append(f"{sender}: {classes[sender]} has no signal {signal}")
    if api.isKnown(classes[receiver]) and nameOf(slot) not in api.members(classes[receiver], "slots", "signals"):
        found.append(f"{receiver}: {classes[receiver]} has no slot {slot}")
    return found
