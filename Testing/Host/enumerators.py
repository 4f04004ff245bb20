"""Enumerations as PythonQt shows them: numbers."""

from __future__ import annotations

import enum
import re
import sys


class EnumValue(int):
    """An enumerator of Qt as a number. It remembers the enumerator of PySide6, for the way back."""

    enumerator: enum.Enum

    def __new__(cls, enumerator):
        value = super().__new__(cls, enumerator.value if isinstance(enumerator, enum.Enum) else int(enumerator))
        value.enumerator = enumerator
        return value

    def __or__(self, other):
        if not isinstance(other, EnumValue):
            other = EnumValue(type(self.enumerator)(int(other)))
        return EnumValue(self.enumerator | other.enumerator)

    __ror__ = __or__

    def __repr__(self):
        return str(int(self))


class EnumScope:
    """An enumeration: `qt.QFrame.Shape.Box` as well as `qt.QFrame.Box`."""

    def __init__(self, enumeration: type[enum.Enum]):
        self._enumeration = enumeration

    def __getattr__(self, name):
        try:
            return EnumValue(self._enumeration[name])
        except KeyError:
            raise AttributeError(f"{self._enumeration.__name__} has no enumerator '{name}'") from None

    def __call__(self, number):
        return EnumValue(self._enumeration(int(number)))


def isEnumeration(value) -> bool:
    """Whether it is an enumeration itself, not one of its enumerators."""
    return isinstance(value, type) and issubclass(value, enum.Enum)


def fittedToSignature(function, arguments: list) -> list | None:
    """The arguments with plain numbers made the enumerators that a method of PySide6 wants.

    PythonQt takes any number there, and a float for an int. PySide6 writes the signatures into the docstring.

    Returns:
        None when no signature asks for something else than was given.
    """
    for line in (function.__doc__ or "").splitlines():
        signature = re.match(r"\w+\((.*)\)(?: ->|$)", line)
        if signature is None:
            continue
        parameters = [one for one in signature.group(1).split(", ") if ":" in one]
        types = [one.split(":")[1].split("=")[0].strip() for one in parameters]
        fitted = [_fitted(value, type_) for value, type_ in zip(arguments, types, strict=False)]
        changed = any(new is not old for new, old in zip(fitted, arguments, strict=False))
        if len(fitted) == len(arguments) and changed:
            return fitted
    return None


def _fitted(value, typeName: str):
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if typeName == "int" and isinstance(value, float):
        return int(value)
    if typeName.startswith("PySide6."):
        package, module, *path = typeName.split(".")
        found = sys.modules.get(f"{package}.{module}")
        for name in path:
            found = getattr(found, name, None)
        if isEnumeration(found):
            return found(int(value))
    return value
