"""How a parameter node keeps values: as texts and node references of a vtkMRMLScriptedModuleNode."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, MutableSequence, Sequence
from dataclasses import dataclass

import slicer

# Annotations ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Default:
    """What the parameter is by itself."""

    value: object


@dataclass(frozen=True)
class Choice:
    """The only values that the parameter may have."""

    choices: Sequence

    def validate(self, value) -> None:
        if value not in self.choices:
            raise ValueError(f"{value!r} is not one of {list(self.choices)}")


@dataclass(frozen=True)
class WithinRange:
    """The least and the greatest value, both allowed."""

    minimum: float
    maximum: float

    def validate(self, value) -> None:
        if not self.minimum <= value <= self.maximum:
            raise ValueError(f"{value} is not within [{self.minimum}, {self.maximum}]")


@dataclass(frozen=True)
class Minimum:
    """The least value."""

    minimum: float

    def validate(self, value) -> None:
        if value < self.minimum:
            raise ValueError(f"{value} is less than {self.minimum}")


@dataclass(frozen=True)
class Maximum:
    """The greatest value."""

    maximum: float

    def validate(self, value) -> None:
        if value > self.maximum:
            raise ValueError(f"{value} is greater than {self.maximum}")


@dataclass(frozen=True)
class Decimals:
    """Decimals that a spin box or slider shows."""

    value: int


@dataclass(frozen=True)
class SingleStep:
    """Step of a spin box or slider."""

    value: float


# Kinds of values -----------------------------------------------------------------------------------------------------


class TextKind:
    """A number, a text, or yes and no: one text under the parameter's name."""

    FIRST = types.MappingProxyType({bool: False, float: 0, int: 0, str: ""})
    """Type -> value of a parameter without default."""

    def __init__(self, type_: type):
        self._type = type_
        self._accepted = (int, float) if type_ is float else type_
        self.first = self.FIRST[type_]

    def isIn(self, node, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node, name: str, value) -> None:
        if value is None:
            raise ValueError(f"{name} must not be None")
        if not isinstance(value, self._accepted):
            raise TypeError(f"{name} is of type {self._type.__name__}, which {value!r} is not")
        node.SetParameter(name, str(value))

    def read(self, node, name: str):
        text = node.GetParameter(name)
        return text == "True" if self._type is bool else self._type(text)

    def remove(self, node, name: str) -> None:
        node.UnsetParameter(name)


class NodeKind:
    """A node or None: a node reference under the parameter's name, and an empty text that says it was set."""

    first = None

    def __init__(self, classes: tuple[type, ...]):
        self.classes = classes

    def isIn(self, node, name: str) -> bool:
        return bool(node.HasParameter(name))

    def write(self, node, name: str, value) -> None:
        if value is not None and not isinstance(value, self.classes):
            names = " or ".join(one.__name__ for one in self.classes)
            raise TypeError(f"{name} is of type {names}, which {value.GetClassName()} is not")
        with slicer.util.NodeModify(node):
            node.SetParameter(name, "")
            node.SetNodeReferenceID(name, None if value is None else value.GetID())

    def read(self, node, name: str):
        return node.GetNodeReference(name)

    def remove(self, node, name: str) -> None:
        node.UnsetParameter(name)
        node.RemoveNodeReferenceIDs(name)


class ListKind:
    """A list: its length as `<name>.len`, its items as `<name>.0`, `<name>.1` ..."""

    def __init__(self, item: TextKind | NodeKind):
        self._item = item
        self._length = TextKind(int)

    @property
    def first(self) -> list:
        return []

    def isIn(self, node, name: str) -> bool:
        return self._length.isIn(node, f"{name}.len")

    def write(self, node, name: str, values) -> None:
        """Write all items, or leave everything as it was when one of them does not fit."""
        before = list(self.read(node, name)) if self.isIn(node, name) else []
        with slicer.util.NodeModify(node):
            try:
                self._writeItems(node, name, list(values), len(before))
            except (TypeError, ValueError):
                self._writeItems(node, name, before, len(values))
                raise

    def _writeItems(self, node, name: str, values: list, lengthBefore: int) -> None:
        for index, value in enumerate(values):
            self._item.write(node, f"{name}.{index}", value)
        for index in range(len(values), lengthBefore):
            self._item.remove(node, f"{name}.{index}")
        self._length.write(node, f"{name}.len", len(values))

    def read(self, node, name: str) -> ObservedList:
        count = self._length.read(node, f"{name}.len")
        values = [self._item.read(node, f"{name}.{index}") for index in range(count)]
        return ObservedList(values, lambda changed: self.write(node, name, changed))


class ObservedList(MutableSequence):
    """A list in a parameter node: what is changed in it is changed in the node. It cannot be added or multiplied."""

    def __init__(self, values: list, save: Callable[[list], None]):
        self._values = values
        self._save = save

    def __len__(self):
        return len(self._values)

    def __getitem__(self, index):
        return self._values[index]

    def __setitem__(self, index, value):
        self._change(lambda values: values.__setitem__(index, value))

    def __delitem__(self, index):
        self._change(lambda values: values.__delitem__(index))

    def insert(self, index, value):
        self._change(lambda values: values.insert(index, value))

    def __eq__(self, other):
        return self._values == (other._values if isinstance(other, ObservedList) else other)

    def __repr__(self):
        return f"ObservedList({self._values})"

    def _change(self, change: Callable[[list], None]) -> None:
        values = list(self._values)
        change(values)
        self._save(values)
        self._values = values


def kindOf(type_) -> TextKind | NodeKind | ListKind:
    """How values of a type are kept.

    Raises:
        TypeError: Slicer, or this stand-in for it, does not know the type.
    """
    if type_ in TextKind.FIRST:
        return TextKind(type_)
    if typing.get_origin(type_) is list:
        return ListKind(kindOf(typing.get_args(type_)[0]))
    isUnion = typing.get_origin(type_) in (typing.Union, types.UnionType)
    classes = tuple(one for one in (typing.get_args(type_) if isUnion else [type_]) if one is not types.NoneType)
    if all(isinstance(one, type) and issubclass(one, slicer.vtkMRMLNode) for one in classes):
        return NodeKind(classes)
    raise TypeError(f"a parameter node cannot keep a {type_}")
