"""The fields of the parameter node, read from its source, and the widgets that Slicer connects to them."""

from __future__ import annotations

import ast
from dataclasses import dataclass

from Testing.Extension.sources import MODULE, tree_of

SOURCE = MODULE / "CFSegmenterUI" / "parameters.py"

RESERVED = {
    *(
        "allParameters",
        "default",
        "isCached",
        "dataType",
        "getValue",
        "setValue",
        "connectGui",
        "connectParametersToGui",
    ),
    *("disconnectGui", "StartModify", "EndModify", "AddObserver", "RemoveObserver", "Modified"),
}
"""Methods of a wrapped parameter node: no field may be called so, and anything else is silently accepted."""

NUMBERS = {"int", "float"}
CHOICES = {"int", "float", "str", "bool"}
ACCEPTED = {
    "QCheckBox": {"bool"},
    "ctkCheckBox": {"bool"},
    "QPushButton": {"bool"},
    "ctkCheckablePushButton": {"bool"},
    "QSlider": {"int"},
    "QSpinBox": {"int"},
    "QDoubleSpinBox": NUMBERS,
    "ctkSliderWidget": NUMBERS,
    "qMRMLSliderWidget": NUMBERS,
    "ctkDoubleSlider": NUMBERS,
    "ctkDoubleSpinBox": NUMBERS,
    "qMRMLSpinBox": NUMBERS,
    "QComboBox": CHOICES,
    "ctkComboBox": CHOICES,
    "QLineEdit": {"str"},
    "QTextEdit": {"str"},
    "QLabel": {"str"},
    "ctkRangeWidget": {"FloatRange"},
    "ctkDoubleRangeSlider": {"FloatRange"},
    "qMRMLRangeWidget": {"FloatRange"},
    "ctkPathLineEdit": {"Path"},
    "ctkDirectoryButton": {"Path"},
    "qMRMLNodeComboBox": {"node"},
    "ctkColorPickerButton": {"QColor"},
}
"""Class of a widget, exactly, -> types of the fields that it can show."""

BOUNDED = {"QSlider", "ctkSliderWidget", "qMRMLSliderWidget", "ctkRangeWidget", "qMRMLRangeWidget"}
"""They take no field without WithinRange."""
CHOOSING = {"QComboBox", "ctkComboBox"}
"""They take no field without Choice."""


@dataclass(frozen=True)
class Field:
    """A field of the parameter node.

    Attributes:
        types: names of its type, of all for a union, "node" for every class of MRML nodes.
        annotations: names of what `Annotated` adds, such as "WithinRange".
    """

    types: frozenset[str]
    annotations: frozenset[str]


def fields() -> dict[str, Field]:
    """Name -> Field of every annotated field of the wrapped class."""
    (wrapped,) = (
        node
        for node in ast.walk(tree_of(SOURCE))
        if isinstance(node, ast.ClassDef) and any("parameterNodeWrapper" in ast.unparse(d) for d in node.decorator_list)
    )
    return {each.target.id: _field(each.annotation) for each in wrapped.body if isinstance(each, ast.AnnAssign)}


def _field(annotation: ast.expr) -> Field:
    extras: list[ast.expr] = []
    if isinstance(annotation, ast.Subscript) and ast.unparse(annotation.value).endswith("Annotated"):
        annotation, *extras = annotation.slice.elts
    names = (ast.unparse(each.func if isinstance(each, ast.Call) else each) for each in extras)
    return Field(frozenset(_types(annotation)), frozenset(name.split(".")[-1] for name in names))


def _types(annotation: ast.expr) -> set[str]:
    if isinstance(annotation, ast.BinOp):
        return _types(annotation.left) | _types(annotation.right)
    if isinstance(annotation, ast.Constant):
        return set()  # None
    if isinstance(annotation, ast.Subscript):
        outer = ast.unparse(annotation.value).split(".")[-1]
        if outer in ("Optional", "Union"):
            inner = annotation.slice.elts if isinstance(annotation.slice, ast.Tuple) else [annotation.slice]
            return set().union(*map(_types, inner))
        return {outer}
    name = ast.unparse(annotation).split(".")[-1]
    return {"node" if name.startswith("vtkMRML") else name}
