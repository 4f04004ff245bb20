"""What the real widget classes of Slicer and CTK offer, from the index of their headers `slicer-api.json`.

An entry of the index holds a class's `bases`, `properties` (type, `read`, `write`), `signals`, `slots` and `invokables`
(all that PythonQt makes callable), and the header it was read from. What Qt's own classes offer is asked of PySide6.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from pathlib import Path

from PySide6 import QtCore, QtWidgets

INDEX = Path(__file__).with_name("slicer-api.json")

DESIGNER_NAMES = {"Line": "QFrame", "Spacer": "QSpacerItem"}
"""Classes that exist in Qt Designer only -> the Qt class that they become."""

MEMBER_KINDS = {"signals": QtCore.QMetaMethod.MethodType.Signal, "slots": QtCore.QMetaMethod.MethodType.Slot}


def nameOf(signature: str) -> str:
    """The name in a signature such as "clicked(bool)"."""
    return signature.split("(")[0]


def argumentTypes(signature: str) -> list[str]:
    """The argument types in a signature such as "clicked(bool)"."""
    inside = signature[signature.index("(") + 1 : signature.rindex(")")]
    return [one.strip() for one in inside.split(",") if one.strip()]


def qtClass(className: str) -> type | None:
    """The class of PySide6 with this name in a .ui file, None when there is none."""
    name = DESIGNER_NAMES.get(className, className)
    return getattr(QtWidgets, name, None) or getattr(QtCore, name, None)


class WidgetApi:
    """Tells which classes, properties, signals and methods exist."""

    def __init__(self, path: Path = INDEX):
        self._classes = json.loads(path.read_text(encoding="utf-8"))

    def __contains__(self, className: str) -> bool:
        """Whether it is a class of Slicer or CTK."""
        return className in self._classes

    def __getitem__(self, className: str) -> dict:
        return self._classes[className]

    def isKnown(self, className: str) -> bool:
        """Whether it is a class of Slicer, CTK or Qt."""
        return className in self or qtClass(className) is not None

    def baseOf(self, className: str) -> str:
        """The first base class, without template arguments."""
        return self[className]["bases"][0].split("<")[0]

    def ancestry(self, className: str) -> tuple[list[str], type]:
        """The classes of Slicer and CTK from `className` upwards, and the Qt class below them."""
        chain = []
        while className in self and className not in chain:
            chain.append(className)
            className = self.baseOf(className)
        return chain, qtClass(className) or QtWidgets.QWidget

    def properties(self, className: str) -> set[str]:
        """Names of all properties, inherited ones too."""
        chain, base = self.ancestry(className)
        return {name for one in chain for name in self[one]["properties"]} | _qtMembers(base)["properties"]

    def members(self, className: str, *kinds: str) -> set[str]:
        """Names of all "signals" or "slots", inherited ones too; the setter of a property is a slot."""
        chain, base = self.ancestry(className)
        names = {nameOf(one) for kind in kinds for one in self._entries(chain, kind)}
        if "slots" in kinds:
            names |= self._setters(chain)
        return names.union(*[_qtMembers(base)[kind] for kind in kinds])

    def ownMethods(self, className: str) -> set[str]:
        """Names that Slicer and CTK add to the Qt class: signals, slots, invokables and setters."""
        chain, _ = self.ancestry(className)
        kinds = ("signals", "slots", "invokables")
        return {nameOf(one) for kind in kinds for one in self._entries(chain, kind)} | self._setters(chain)

    def ownSignals(self, className: str) -> set[str]:
        """Signatures of the signals that Slicer and CTK add to the Qt class, without spaces."""
        chain, _ = self.ancestry(className)
        return {one.replace(" ", "") for one in self._entries(chain, "signals")}

    def _entries(self, chain: list[str], kind: str) -> Iterator[str]:
        for className in chain:
            yield from self[className][kind]

    def _setters(self, chain: list[str]) -> set[str]:
        properties = (one for className in chain for one in self[className]["properties"].values())
        return {one["write"] for one in properties if one["write"]}


@functools.cache
def _qtMembers(qtClass: type) -> dict[str, set[str]]:
    """Names of the properties, signals and slots of a class of Qt."""
    if not issubclass(qtClass, QtCore.QObject):
        return {"properties": set(), **{kind: set() for kind in MEMBER_KINDS}}
    # Of a class of our own: PySide6 drops the meta object of a class when an object of it is deleted. The class must
    # live as long as its meta object is asked.
    heir = type(qtClass.__name__, (qtClass,), {})
    meta = heir.staticMetaObject
    methods = [meta.method(i) for i in range(meta.methodCount())]
    named = {
        kind: {bytes(one.name()).decode() for one in methods if one.methodType() == type_}
        for kind, type_ in MEMBER_KINDS.items()
    }
    named["properties"] = {meta.property(i).name() for i in range(meta.propertyCount())}
    del heir
    return named


@functools.cache
def widgetApi() -> WidgetApi:
    """The index, read once."""
    return WidgetApi()


@functools.cache
def slicerClassOf(pythonClass: type) -> str | None:
    """The class of Slicer or CTK that `pythonClass` (or a base of it) stands for, None for Qt's own classes."""
    return next((one.__name__ for one in pythonClass.__mro__ if one.__name__ in widgetApi()), None)


@functools.cache
def _ownMethods(className: str) -> frozenset[str]:
    return frozenset(widgetApi().ownMethods(className))


def offers(pythonClass: type, name: str) -> bool:
    """Whether the real class behind a stand-in has a method or signal `name`; Qt's own classes have all they show."""
    className = slicerClassOf(pythonClass)
    if className is None or name in _ownMethods(className):
        return True
    qtBase = next((one for one in pythonClass.__mro__ if one.__module__.startswith("PySide6")), None)
    return qtBase is not None and hasattr(qtBase, name)
