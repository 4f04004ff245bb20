"""Every name of Slicer, CTK, Qt and VTK in the module's sources exists, and is used as PythonQt offers it.

What is found wrong is listed as "file:line: name".
"""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterator
from functools import cache

import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtWidgets
from vtkmodules import vtkCommonCore, vtkCommonDataModel, vtkCommonMath, vtkCommonTransforms, vtkRenderingCore

from Testing.Extension.parameters import RESERVED, fields
from Testing.Extension.sources import dotted, imports, module_scripts, place, tree_of
from Testing.Extension.ui_files import ui_files
from Testing.Extension.widget_usage import UI, Use, ui_of, uses_in
from Testing.Host.widgetApi import qtClass, widgetApi

OF_THE_APPLICATION = {"app", "mrmlScene", "modules", "cli"}
"""What Slicer itself puts into `slicer`, besides classes and modules."""
MODULES_OF_SLICER = {"util", "i18n", "packaging", "parameterNodeWrapper", "ScriptedLoadableModule"}
OF_PYTHONQT = {"connect", "disconnect", "delete", "name", "className"}
"""What PythonQt gives to every object."""


def dotted_names() -> Iterator[tuple[str, str]]:
    """(place, "a.b.c") of every dotted name and every import."""
    for path in module_scripts():
        tree = tree_of(path)
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
        inner = {id(node.value) for node in nodes}
        named = ((node, dotted(node)) for node in nodes if id(node) not in inner)
        yield from ((place(path, node), name) for node, name in named if name)
        yield from ((place(path, node), name) for node, name in imports(ast.walk(tree)))


@cache
def uses() -> tuple[tuple[str, Use], ...]:
    """(place, Use) of every use of a widget whose class is known."""
    found = ((path, use) for path in module_scripts() for use in uses_in(path) if use.kind != UI)
    return tuple((place(path, use.node), use) for path, use in found)


# --- Names of modules, classes and functions -------------------------------------------------------------------------


def test_names_of_qt_and_ctk_exist() -> None:
    missing = []
    for where, name in dotted_names():
        module, *parts = name.split(".")
        if parts and ((module == "qt" and not _in_qt(parts)) or (module == "ctk" and parts[0] not in widgetApi())):
            missing.append(f"{where}: {name}")
    assert not missing


def _in_qt(parts: list[str]) -> bool:
    found = next((module for module in (QtCore, QtGui, QtWidgets) if hasattr(module, parts[0])), None)
    for part in parts:
        found = getattr(found, part, None)
    return found is not None


def test_names_of_slicer_and_vtk_exist() -> None:
    missing = []
    for where, name in dotted_names():
        module, *parts = name.split(".")
        if parts and ((module == "slicer" and not _in_slicer(parts)) or (module == "vtk" and not _in_vtk(parts))):
            missing.append(f"{where}: {name}")
    assert not missing


def _in_vtk(parts: list[str]) -> bool:
    return hasattr(vtk, parts[0]) or importlib.util.find_spec(f"vtkmodules.{parts[0]}") is not None


def _in_slicer(parts: list[str]) -> bool:
    """Whether the application has `slicer.a.b`. The wheel alone also has there all that is in `slicer.util`."""
    name = parts[0]
    if name == "util" and len(parts) > 1:
        return hasattr(slicer.util, parts[1])
    if name.startswith("q"):
        return name in widgetApi()
    return name in OF_THE_APPLICATION | MODULES_OF_SLICER or (name.startswith("vtk") and hasattr(slicer, name))


def test_methods_of_nodes_and_logics_exist() -> None:
    known = _members_of_vtk()
    missing = []
    for path in module_scripts():
        nodes = list(ast.walk(tree_of(path)))
        others = {node.asname or node.name for node in nodes if isinstance(node, ast.alias)} - {"slicer", "vtk"}
        called = (node.func for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute))
        missing += [
            f"{place(path, function)}: {function.attr}"
            for function in called
            if re.match("[A-Z][a-z]", function.attr) and function.attr not in known
            if not (dotted(function) or "").startswith((*(f"{name}." for name in others), "slicer.util."))
        ]
    assert not missing


def _members_of_vtk() -> set[str]:
    """Names of all members of all classes that Slicer wraps, of VTK for data and colors, and of those named."""
    modules = (slicer, vtkCommonCore, vtkCommonDataModel, vtkCommonMath, vtkCommonTransforms, vtkRenderingCore)
    classes = [each for module in modules for name, each in vars(module).items() if name.startswith("vtk")]
    named = {name.split(".")[1] for _, name in dotted_names() if name.startswith("vtk.")}
    classes += [getattr(vtk, name) for name in named if hasattr(vtk, name)]
    return {name for each in classes for name in dir(each)}


# --- Members of widgets ----------------------------------------------------------------------------------------------


def test_reading_the_sources_finds_the_widgets_of_the_panels() -> None:
    """Otherwise the tests below would pass over everything."""
    assert {use.how for _, use in uses()} == {"get", "set", "call"}
    assert {"qSlicerApplication", "QLabel", "QPushButton"} <= {use.kind for _, use in uses()}
    assert sum(use.signal is not None for _, use in uses()) > 10


def test_every_widget_that_a_panel_names_is_in_its_ui_file() -> None:
    found = ((path, use) for path in module_scripts() for use in uses_in(path) if use.kind == UI)
    assert not [f"{place(path, use.node)}: {use.member}" for path, use in found if use.member not in ui_of(path)]


def test_every_ui_file_that_is_loaded_exists() -> None:
    nodes = (node for path in module_scripts() for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant))
    named = {node.value for node in nodes if isinstance(node.value, str) and node.value.endswith(".ui")}
    assert named == {f"UI/{ui.path.name}" for ui in ui_files()}


def test_members_of_widgets_exist() -> None:
    assert not _wrong(lambda use: use.member not in _members(use.kind) | OF_PYTHONQT)


def test_a_property_is_a_value_and_not_called() -> None:
    assert not _wrong(lambda use: use.how == "call" and use.member in _properties(use.kind))


def test_only_properties_are_assigned() -> None:
    """PythonQt takes any other name, too, and nothing happens."""
    assert not _wrong(lambda use: use.how == "set" and use.member not in _properties(use.kind) | {"name"})


def test_signals_that_are_connected_exist() -> None:
    assert not _wrong(lambda use: use.signal is not None and not _is_signal(use.kind, use.signal))


def _wrong(is_wrong) -> list[str]:
    return [f"{where}: {use.kind}.{use.member} {use.signal or ''}" for where, use in uses() if is_wrong(use)]


def _members(kind: str) -> set[str]:
    api, base = widgetApi(), _base(kind)
    if kind not in api:
        return _properties(kind) | set(dir(base))
    enumerators = {name for each in api.ancestry(kind)[0] for names in api[each]["enums"].values() for name in names}
    return enumerators | _properties(kind) | api.ownMethods(kind) | set(dir(base))


def _properties(kind: str) -> set[str]:
    if kind in widgetApi():
        return widgetApi().properties(kind)
    meta = _meta_object(_base(kind))
    return {meta.property(number).name() for number in range(meta.propertyCount())} if meta else set()


def _is_signal(kind: str, signature: str) -> bool:
    if kind in widgetApi() and signature.replace(" ", "") in widgetApi().ownSignals(kind):
        return True
    normalized = bytes(QtCore.QMetaObject.normalizedSignature(signature)).decode()
    meta = _meta_object(_base(kind))
    return meta is not None and meta.indexOfSignal(normalized) >= 0


def _base(kind: str) -> type:
    """The class of Qt that it is or that it extends."""
    if kind in widgetApi():
        return widgetApi().ancestry(kind)[1]
    return qtClass(kind) or getattr(QtGui, kind)


def _meta_object(base: type) -> QtCore.QMetaObject | None:
    return _heir(base).staticMetaObject if issubclass(base, QtCore.QObject) else None


@cache
def _heir(base: type) -> type:
    """A class of our own, which lives as long as its meta object is used: PySide6 may drop that of its own classes."""
    return type(base.__name__, (base,), {})


# --- The parameter node ----------------------------------------------------------------------------------------------


def test_what_is_read_from_the_parameter_node_is_a_field() -> None:
    """The wrapper takes any name and forgets what it does not know."""
    known = set(fields()) | RESERVED | {"parameterNode"}
    holders = [
        (path, node) for path in module_scripts() for node in ast.walk(tree_of(path)) if _has_parameter_node(node)
    ]
    used = [(path, node) for path, holder in holders for node in ast.walk(holder) if _is_of_parameter_node(node)]
    assert used
    assert not [f"{place(path, node)}: {node.attr}" for path, node in used if node.attr not in known]


def _has_parameter_node(node: ast.AST) -> bool:
    if not isinstance(node, ast.ClassDef):
        return False
    return "setParameterNode" in (each.name for each in node.body if isinstance(each, ast.FunctionDef))


def _is_of_parameter_node(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and dotted(node.value) in ("self._node", "self._parameterNode")
