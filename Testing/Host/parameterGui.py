"""Which widgets a parameter node can be connected to, and how.

As in Slicer the type of a widget is compared exactly: a subclass is refused.
"""

from __future__ import annotations

import typing
from collections.abc import Callable
from dataclasses import dataclass

import ctk
import qt
import slicer

from Testing.Host.parameterTypes import (
    Choice,
    Decimals,
    Maximum,
    Minimum,
    NodeKind,
    SingleStep,
    WithinRange,
    kindOf,
)

SLIDERS = (qt.QSlider, ctk.ctkSliderWidget, ctk.ctkDoubleSlider, slicer.qMRMLSliderWidget)
NUMBER_BOXES = (qt.QSpinBox, qt.QDoubleSpinBox, ctk.ctkDoubleSpinBox, slicer.qMRMLSpinBox)
INTEGER_WIDGETS = (qt.QSlider, qt.QSpinBox)
LARGEST_INTEGER = 2**31 - 1


@dataclass
class Connector:
    """One widget, and how its value is read, written and noticed to change."""

    widget: object
    signal: str
    read: Callable[[], object]
    write: Callable[[object], None]
    _callback: Callable[[], None] | None = None

    def onChanged(self, callback: Callable[[], None] | None) -> None:
        """Call `callback()` when the user changes the widget; None ends that."""
        if self._callback is not None:
            getattr(self.widget, self.signal).disconnect(self._callback)
        if callback is not None:
            getattr(self.widget, self.signal).connect(callback)
        self._callback = callback


def connector(widget, datatype) -> Connector:
    """A connector between a widget and a parameter's type with its annotations.

    Raises:
        RuntimeError: Slicer has none for them.
    """
    isAnnotated = typing.get_origin(datatype) is typing.Annotated
    type_, *annotations = typing.get_args(datatype) if isAnnotated else (datatype,)
    widgetType = type(widget)
    if type_ is bool and widgetType in (qt.QCheckBox, ctk.ctkCheckBox):
        return _byProperty(widget, "toggled", "checked")
    if type_ is bool and widgetType in (qt.QPushButton, ctk.ctkCheckablePushButton):
        widget.checkable = True
        return _byProperty(widget, "toggled", "checked")
    if type_ in (int, float) and widgetType in SLIDERS + NUMBER_BOXES and (type_, widgetType) not in _WHOLE_ONLY:
        _setRange(widget, type_, annotations)
        return _byProperty(widget, "valueChanged", "value", type_)
    if type_ in (bool, float, int, str) and widgetType in (qt.QComboBox, ctk.ctkComboBox):
        return _byChoice(widget, annotations)
    if type_ is str and widgetType is qt.QLineEdit:
        return _byProperty(widget, "textChanged", "text")
    if type_ is str and widgetType is qt.QTextEdit:
        return Connector(widget, "textChanged", widget.toPlainText, widget.setPlainText)
    if widgetType is slicer.qMRMLNodeComboBox and isinstance(kindOf(type_), NodeKind):
        widget.nodeTypes = [one.__name__ for one in kindOf(type_).classes]
        return Connector(widget, "currentNodeChanged", widget.currentNode, widget.setCurrentNode)
    raise RuntimeError(f"a {widget.className()} cannot be connected to a parameter of type {datatype}")


_WHOLE_ONLY = {(float, one) for one in INTEGER_WIDGETS}
"""A widget of whole numbers is refused for a float."""


def _byProperty(widget, signal: str, name: str, convert: Callable = lambda value: value) -> Connector:
    return Connector(widget, signal, lambda: convert(getattr(widget, name)), lambda value: setattr(widget, name, value))


def _byChoice(widget, annotations: list) -> Connector:
    choice = _first(annotations, Choice)
    if choice is None:
        raise RuntimeError("a combo box needs the annotation Choice")
    widget.clear()
    widget.addItems([str(one) for one in choice.choices])

    def write(value):
        widget.currentIndex = list(choice.choices).index(value)

    return Connector(widget, "currentIndexChanged", lambda: choice.choices[widget.currentIndex], write)


def _setRange(widget, type_: type, annotations: list) -> None:
    decimals, step = _first(annotations, Decimals), _first(annotations, SingleStep)
    if decimals is not None:
        widget.decimals = decimals.value
    if step is not None:
        widget.singleStep = step.value
    lower, upper = _first(annotations, WithinRange | Minimum), _first(annotations, WithinRange | Maximum)
    if type(widget) in SLIDERS and (lower is None or upper is None):
        raise RuntimeError(f"a {widget.className()} needs the annotation WithinRange")
    unlimited = LARGEST_INTEGER if type_ is int else float("inf")
    widget.minimum = -unlimited if lower is None else lower.minimum
    widget.maximum = unlimited if upper is None else upper.maximum


def _first(annotations: list, types_):
    return next((one for one in annotations if isinstance(one, types_)), None)
