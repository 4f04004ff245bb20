"""The .ui files of the panels: every name in them exists in Slicer, CTK or Qt, and fits the parameter node."""

from __future__ import annotations

import re

import pytest
from PySide6 import QtCore, QtWidgets

from Testing.Extension.parameters import ACCEPTED, BOUNDED, CHOOSING, RESERVED, fields
from Testing.Extension.sources import MODULE, UI_FILES, files
from Testing.Extension.ui_files import UiFile, property_of, ui_files
from Testing.Host.uiCheck import findings
from Testing.Host.widgetApi import widgetApi

SELF_EXPLANATORY = {"QProgressBar"}
"""Classes of which a panel has one, called like its class."""

each_file = pytest.mark.parametrize("ui", ui_files(), ids=lambda ui: ui.path.stem)


def test_every_panel_has_its_ui_file() -> None:
    panels = [name.removesuffix(".py") for name in files(MODULE / "CFSegmenterUI", "*Panel.py")]
    assert len(panels) == 8
    assert sorted(path.stem for path in UI_FILES.glob("*.ui")) == sorted(name[0].upper() + name[1:] for name in panels)


@each_file
def test_every_name_exists_in_slicer_ctk_or_qt(ui: UiFile) -> None:
    assert not findings(ui.path)


@each_file
def test_custom_widgets_are_those_used_with_their_headers(ui: UiFile) -> None:
    api = widgetApi()
    assert {kind for kind in ui.classes.values() if kind in api} == set(ui.headers)
    assert not {kind: name for kind, name in ui.headers.items() if not api[kind]["source"].endswith(f"/{name}")}


@each_file
def test_the_only_dynamic_property_is_the_name_of_a_parameter(ui: UiFile) -> None:
    properties = (each for _, element in ui.widgets for each in element.findall("property"))
    assert {each.get("name") for each in properties if each.get("stdset") == "0"} <= {"SlicerParameterName"}


@each_file
def test_enumerators_exist(ui: UiFile) -> None:
    written = {value for _, element in ui.widgets for each in element.findall("property") for value in _enums(each)}
    missing = {value for value in written if not _is_enumerator(value)}
    assert not missing


def _enums(element) -> list[str]:
    kinds = (*element.findall("enum"), *element.findall("set"))
    return [value for kind in kinds for value in (kind.text or "").split("|")]


def _is_enumerator(value: str) -> bool:
    scope, *names = value.split("::")
    found = next((getattr(module, scope) for module in (QtCore, QtWidgets) if hasattr(module, scope)), None)
    if found is None:
        return scope in widgetApi() and any(names[-1] in each for each in widgetApi()[scope]["enums"].values())
    for name in names:
        found = getattr(found, name, None)
    return found is not None


@each_file
def test_the_scene_reaches_every_widget_that_shows_nodes(ui: UiFile) -> None:
    (top, element), *inner = ui.widgets
    assert element.get("class") == "qMRMLWidget"
    wanted = {name for name, each in inner if "setMRMLScene" in widgetApi().members(each.get("class"), "slots")}
    scene = "(vtkMRMLScene*)"
    handed_on = {(top, f"mrmlSceneChanged{scene}", name, f"setMRMLScene{scene}") for name in wanted}
    assert handed_on <= set(ui.connections)


@each_file
def test_names_are_unique_and_say_what_the_widget_is_for(ui: UiFile) -> None:
    names = [name for name, _ in ui.widgets]
    assert len(names) == len(set(names))
    kinds = ((name, kind) for name, kind in ui.classes.items() if kind not in SELF_EXPLANATORY)
    nameless = [name for name, kind in kinds if _is_default_name(name, kind)]
    assert not nameless


def _is_default_name(name: str, kind: str) -> bool:
    """Whether Qt Designer made up the name: that of the class, with or without its prefix, and a number."""
    plain = re.sub(r"(_?\d+)?$", "", name).casefold()
    return plain in {"", kind.casefold(), re.sub("^(qSlicer|qMRML|ctk|Q)", "", kind).casefold()}


@each_file
def test_every_parameter_is_a_field_that_the_widget_can_show(ui: UiFile) -> None:
    known = fields()
    wrong = []
    for name, parameter in ui.parameters.items():
        kind, field = ui.classes[name], known.get(parameter)
        if field is None:
            wrong.append(f"{name}: the parameter node has no field {parameter}")
        elif not field.types <= ACCEPTED.get(kind, set()):
            wrong.append(f"{name}: a {kind} cannot show {parameter}, which is {sorted(field.types)}")
        elif kind in BOUNDED and "WithinRange" not in field.annotations:
            wrong.append(f"{name}: a {kind} needs WithinRange for {parameter}")
        elif kind in CHOOSING and "Choice" not in field.annotations:
            wrong.append(f"{name}: a {kind} needs Choice for {parameter}")
        elif kind == "QPushButton" and property_of(dict(ui.widgets)[name], "checkable") is None:
            wrong.append(f"{name}: a QPushButton must be checkable to show {parameter}")
    assert not wrong


def test_no_field_has_the_name_of_a_method_of_parameter_nodes() -> None:
    assert fields()
    assert not RESERVED & set(fields())
