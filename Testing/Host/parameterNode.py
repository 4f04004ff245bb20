"""Stand-in for `slicer.parameterNodeWrapper`: typed access to a vtkMRMLScriptedModuleNode, and its tie to widgets."""

from __future__ import annotations

import typing
import weakref
from dataclasses import dataclass

import slicer
import vtk

from Testing.Host.parameterTypes import (
    Choice,
    Decimals,
    Default,
    ListKind,
    Maximum,
    Minimum,
    NodeKind,
    SingleStep,
    TextKind,
    WithinRange,
    kindOf,
)

__all__ = [
    "Choice",
    "Decimals",
    "Default",
    "Maximum",
    "Minimum",
    "SingleStep",
    "WithinRange",
    "isParameterNodeWrapper",
    "parameterNodeWrapper",
]

PROPERTY = "SlicerParameterName"
"""Dynamic property of a widget that names its parameter."""


@dataclass(frozen=True)
class Parameter:
    """One annotated field."""

    basename: str
    datatype: object
    kind: TextKind | NodeKind | ListKind
    limits: tuple
    default: object

    def read(self, node):
        """Its value; the default is written when the node has none."""
        if not self.kind.isIn(node, self.basename):
            self.kind.write(node, self.basename, self.default)
        return self.kind.read(node, self.basename)

    def write(self, node, value) -> None:
        """
        Raises:
            TypeError, ValueError: the value is of another type, or not allowed by an annotation.
        """
        with slicer.util.NodeModify(node):
            for limit in self.limits:
                limit.validate(value)
            self.kind.write(node, self.basename, value)


class CachedParameter:
    """A parameter of one node, which is read anew only when the node says that it was modified.

    So a referenced node that comes into the scene later, as during an import, is not noticed.
    """

    def __init__(self, parameter: Parameter, node):
        self._parameter, self._node = parameter, node
        self._isWriting = False
        self._value = parameter.read(node)
        reference = weakref.ref(self)  # the node must not keep what remembers its values alive
        self._tag = node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: reference()._onModified())

    def __del__(self):
        if hasattr(self, "_tag"):
            self._node.RemoveObserver(self._tag)

    def read(self):
        return self._value

    def write(self, value) -> None:
        """
        Raises:
            TypeError, ValueError: the value is of another type, or not allowed by an annotation.
        """
        self._isWriting = True
        try:
            with slicer.util.NodeModify(self._node):  # who hears of the change finds the new value
                self._parameter.write(self._node, value)
                self._value = self._parameter.read(self._node)
        finally:
            self._isWriting = False

    def _onModified(self) -> None:
        if not self._isWriting:
            self._value = self._parameter.read(self._node)


class ParameterNodeWrapper:
    """What the decorator adds to a class."""

    allParameters: typing.ClassVar[dict[str, Parameter]] = {}

    def __init__(self, parameterNode):
        self.parameterNode = parameterNode
        self._guis = {}
        self._updatingGui = False
        self._cached = {name: CachedParameter(one, parameterNode) for name, one in self.allParameters.items()}

    # Values by name

    def default(self, name):
        return Default(self._parameter(name).default)

    def isCached(self, name):
        """Whether Slicer remembers the value instead of reading the node: so it does with all types known here."""
        return self._parameter(name) is not None

    @classmethod
    def dataType(cls, name):
        return cls._parameter(name).datatype

    def getValue(self, name):
        self._parameter(name)
        return self._cached[name].read()

    def setValue(self, name, value):
        self._parameter(name)
        self._cached[name].write(value)

    @classmethod
    def _parameter(cls, name: str) -> Parameter:
        if name not in cls.allParameters:
            raise ValueError(f"there is no parameter {name}, only {', '.join(cls.allParameters)}")
        return cls.allParameters[name]

    # The node

    def StartModify(self):
        return self.parameterNode.StartModify()

    def EndModify(self, wasModified):
        return self.parameterNode.EndModify(wasModified)

    def AddObserver(self, event, callback, priority=0.0):
        return self.parameterNode.AddObserver(event, callback, priority)

    def RemoveObserver(self, tag):
        return self.parameterNode.RemoveObserver(tag)

    def Modified(self):
        return self.parameterNode.Modified()

    # Widgets

    def connectGui(self, gui):
        """Tie every widget that has the property SlicerParameterName to its parameter, both ways.

        Args:
            gui: a widget, or an object whose attributes are all widgets (`slicer.util.childWidgetVariables`).

        Returns:
            A tag for `disconnectGui`. Slicer forgets to return it before its change #8667 of 2025: there only
            `connectParametersToGui` does.
        """
        import qt

        widgets = gui.findChildren(qt.QWidget) if hasattr(gui, "isWidgetType") else gui.__dict__.values()
        named = {one.property(PROPERTY): one for one in widgets}
        return self.connectParametersToGui({name: one for name, one in named.items() if name})

    def connectParametersToGui(self, widgets):
        """Tie widgets to parameters, given as `{name: widget}`; returns a tag for `disconnectGui`.

        Raises:
            ValueError: there is no such parameter.
            RuntimeError: a widget cannot show a parameter of this type.
        """
        from Testing.Host.parameterGui import connector

        connectors = {name: connector(widget, self.dataType(name)) for name, widget in widgets.items()}
        for name, one in connectors.items():
            one.write(self.getValue(name))
            one.onChanged(self._storing(name, one))
        observer = self.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda caller, event: self._updateGui())
        tag = max(self._guis, default=-1) + 1
        self._guis[tag] = (connectors, observer)
        return tag

    def disconnectGui(self, tag):
        """Undo a connection; an unknown tag, None too, does nothing."""
        connectors, observer = self._guis.pop(tag, ({}, None))
        for one in connectors.values():
            one.onChanged(None)
        if observer is not None:
            self.RemoveObserver(observer)

    def _storing(self, name, connector_):
        def store():
            if not self._updatingGui:
                self.setValue(name, connector_.read())

        return store

    def _updateGui(self):
        if self._updatingGui:
            return
        self._updatingGui = True
        try:
            for connectors, _ in self._guis.values():
                for name, one in connectors.items():
                    one.write(self.getValue(name))
        finally:
            self._updatingGui = False


RESERVED = {one for one in vars(ParameterNodeWrapper) if not one.startswith("_")} | {"parameterNode"}


def isParameterNodeWrapper(classOrObject) -> bool:
    """Whether it is a decorated class, or an object of one."""
    class_ = classOrObject if isinstance(classOrObject, type) else type(classOrObject)
    return issubclass(class_, ParameterNodeWrapper)


def parameterNodeWrapper(classtype=None):
    """Class decorator: every annotated field becomes a typed value in the node given to the constructor.

    Raises:
        TypeError: a field has a type that a parameter node cannot keep.
        ValueError: a field has a reserved name.
    """
    return parameterNodeWrapper if classtype is None else _wrapped(classtype)


def _wrapped(classtype: type) -> type:
    hints = typing.get_type_hints(classtype, include_extras=True)
    taken = RESERVED & (set(hints) | set(vars(classtype)))
    if taken:
        raise ValueError(f"reserved names in a parameter node: {', '.join(sorted(taken))}")
    parameters = {name: _parameterOf(classtype, name, datatype) for name, datatype in hints.items()}
    members = {name: property(_reader(name), _writer(name)) for name in parameters}
    about = {name: getattr(classtype, name) for name in ("__doc__", "__module__", "__qualname__")}
    members |= about | {"allParameters": parameters}
    return type(classtype.__name__, (ParameterNodeWrapper, classtype), members)


def _parameterOf(classtype: type, name: str, datatype) -> Parameter:
    isAnnotated = typing.get_origin(datatype) is typing.Annotated
    type_, *annotations = typing.get_args(datatype) if isAnnotated else (datatype,)
    kind = kindOf(type_)
    stated = next((one.value for one in annotations if isinstance(one, Default)), kind.first)
    limits = tuple(one for one in annotations if hasattr(one, "validate"))
    return Parameter(name, datatype, kind, limits, getattr(classtype, name, stated))


def _reader(name: str):
    return lambda self: self._cached[name].read()


def _writer(name: str):
    return lambda self, value: self._cached[name].write(value)
