"""Stand-ins made from the index of the real classes, for widgets that only have to hold their state.

Such a widget has the real class's properties, stored; its signals under the real names; and for every method
`setSomething` a method `something` that answers what was set. Any other method that the real class has raises
NotImplementedError, and what it does not have is no attribute at all.
"""

from __future__ import annotations

import functools

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal

from Testing.Host.nodeComboBox import qMRMLNodeComboBox
from Testing.Host.segmentEditor import qMRMLSegmentEditorWidget
from Testing.Host.segmentWidgets import qMRMLSegmentationShow3DButton, qMRMLSegmentSelectorWidget
from Testing.Host.widgetApi import argumentTypes, nameOf, qtClass, widgetApi
from Testing.Host.widgets import (
    ctkCollapsibleButton,
    ctkSliderWidget,
    qMRMLWidget,
    qSlicerScriptedLoadableModuleWidget,
)

LIVE = {
    one.__name__: one
    for one in (
        ctkCollapsibleButton,
        ctkSliderWidget,
        qMRMLNodeComboBox,
        qMRMLSegmentEditorWidget,
        qMRMLSegmentSelectorWidget,
        qMRMLSegmentationShow3DButton,
        qMRMLWidget,
        qSlicerScriptedLoadableModuleWidget,
    )
}
"""Stand-ins that behave, written by hand. What such a class leaves out is added from the index."""

PROPERTY_TYPES = {
    "bool": (bool, False),
    "double": (float, 0.0),
    "float": (float, 0.0),
    "int": (int, 0),
    "QString": (str, ""),
    "QStringList": ("QStringList", []),
}
"""C++ type of a property -> type for PySide6 and first value; any other type is a QVariant that starts as None."""

SIGNAL_TYPES = {"bool": bool, "double": float, "int": int, "QString": str}


def isEmulated(className: str) -> bool:
    """Whether there is a stand-in of this name."""
    return className in LIVE or className in widgetApi()


@functools.cache
def widgetClass(className: str) -> type[QtCore.QObject]:
    """The stand-in for a class of Slicer or CTK.

    Raises:
        KeyError: Slicer and CTK have no such class.
    """
    entry = widgetApi()[className]
    above = LIVE.get(className) or _baseClass(className)
    taken = set(dir(above)) if className in LIVE else set()
    signals = {nameOf(one): argumentTypes(one) for one in entry["signals"]}
    members = {name: Signal(*[SIGNAL_TYPES.get(one, object) for one in types]) for name, types in signals.items()}
    for name, property_ in entry["properties"].items():
        if name not in taken:
            members |= _storedProperty(name, property_, signals)
    methods = {nameOf(one) for one in entry["slots"] + entry["invokables"]}
    methods = {name for name in methods if name not in members and not hasattr(above, name)}
    members |= {name: _notEmulated(f"{className}.{name}") for name in methods} | _storedStates(methods)
    return type(className, (above,), {name: one for name, one in members.items() if name not in taken})


def _baseClass(className: str) -> type[QtCore.QObject]:
    base = widgetApi().baseOf(className)
    return widgetClass(base) if isEmulated(base) else qtClass(base) or QtWidgets.QWidget


def _storedProperty(name: str, entry: dict, signals: dict[str, list[str]]) -> dict:
    """The property and its setter; a change emits the signal `<name>Changed` if there is one it can feed."""
    type_, first = PROPERTY_TYPES.get(entry["type"], ("QVariant", None))
    key = f"_property_{name}"
    announcing = next((one for one in signals if one.lower() == f"{name}changed".lower()), None)
    feeds = announcing is not None and len(signals[announcing]) <= 1

    def read(self):
        return self.__dict__.get(key, first)

    def write(self, value):
        if read(self) == value:
            return
        self.__dict__[key] = value
        if feeds:
            getattr(self, announcing).emit(*[value][: len(signals[announcing])])

    members = {name: Property(type_, read, write)}
    if entry["write"]:
        members[entry["write"]] = write
    return members


def _storedStates(methods: set[str]) -> dict:
    """The methods `setSomething` and `something`, for each pair of which the class has both."""
    members = {}
    for name in methods:
        what = name.removeprefix("set")
        getter = what.replace("MRML", "mrml", 1) if what.startswith("MRML") else what[:1].lower() + what[1:]
        if name.startswith("set") and getter in methods:
            members |= _storedState(name, getter)
    return members


def _storedState(setter: str, getter: str) -> dict:
    key = f"_state_{getter}"

    def write(self, *values):
        self.__dict__[key] = values[0] if len(values) == 1 else values

    def read(self, *_):
        return self.__dict__.get(key)

    return {setter: write, getter: read}


def _notEmulated(name: str):
    def method(self, *arguments):
        raise NotImplementedError(f"{name} does nothing outside Slicer")

    return method
