"""Which members of which widget classes a Python file of the module uses, as far as reading it tells.

The class of an expression is known when it is a widget of the panel's .ui file, was made by its constructor, or is a
parameter annotated with it; variables and attributes pass it on. What is not known is passed over.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from Testing.Extension.sources import dotted, tree_of
from Testing.Extension.ui_files import ui_files

UI = "<widgets of the .ui file>"
"""In place of a class: the object that holds a panel's widgets."""

SINGLETONS = {"slicer.app": "qSlicerApplication"}
RETURNED = {
    ("qSlicerApplication", "layoutManager"): "qSlicerLayoutManager",
    ("qSlicerApplication", "extensionsManagerModel"): "qSlicerExtensionsManagerModel",
    ("qSlicerApplication", "userSettings"): "QSettings",
    ("qSlicerApplication", "settings"): "QSettings",
}
"""(class, method) -> class of what it returns."""

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Classes = dict[str, str]
"""Name of a variable or attribute -> class of what it holds."""


@dataclass(frozen=True)
class Use:
    """A member of a widget class, used.

    Attributes:
        node: where.
        kind: the class, or UI.
        member: its name.
        how: "get", "set" or "call".
        signal: for a call of `connect` or `disconnect` with the signature of a signal, that signature.
    """

    node: ast.AST
    kind: str
    member: str
    how: str
    signal: str | None = None


def class_named(node: ast.AST) -> str | None:
    """The class that an expression such as `qt.QLabel` names; a `| None` beside it is passed over."""
    if isinstance(node, ast.BinOp):
        return class_named(node.left)
    found = re.fullmatch(r"qt\.(Q\w+)|ctk\.(ctk\w+)|slicer\.(q(?:MRML|Slicer)\w+)", dotted(node) or "")
    return found[found.lastindex] if found else None


def ui_of(path: Path) -> Classes:
    """Name -> class of the widgets in the .ui file that a Python file loads."""
    texts = (node.value for node in ast.walk(tree_of(path)) if isinstance(node, ast.Constant))
    named = {Path(text).name for text in texts if isinstance(text, str) and re.fullmatch(r"UI/\w+\.ui", text)}
    return {name: kind for ui in ui_files() if ui.path.name in named for name, kind in ui.classes.items()}


def uses_in(path: Path) -> Iterator[Use]:
    """All uses in a Python file, in no particular order."""
    reader = _Reader(ui_of(path))
    tree = tree_of(path)
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            attributes = reader.attributes_of(node)
            for function in _functions(node):
                yield from reader.uses(function, {}, attributes)
        else:
            yield from reader.uses(node, {}, {})


class _Reader:
    """Finds out classes; a name that holds two of them holds none that is known."""

    def __init__(self, widgets: Classes):
        self._widgets = widgets

    def attributes_of(self, class_: ast.ClassDef) -> Classes:
        """`self.x` -> class, from all methods; twice, since one may be made of another."""
        attributes: Classes = {}
        for _ in range(2):
            found = [
                (target.attr, self.class_of(value, variables, attributes))
                for function in _functions(class_)
                for variables in [self._variables(function, {}, attributes)]
                for target, value in _assignments(function)
                if dotted(target) == f"self.{getattr(target, 'attr', '')}"
            ]
            attributes = _agreed(found)
        return attributes

    def uses(self, scope: ast.AST, outer: Classes, attributes: Classes) -> Iterator[Use]:
        """What a function or statement uses, functions inside it included."""
        variables = {**outer, **self._variables(scope, outer, attributes)}
        called = {id(node.func): node for node in _own_nodes(scope) if isinstance(node, ast.Call)}
        for node in _own_nodes(scope):
            if isinstance(node, Function):
                yield from self.uses(node, variables, attributes)
            if not isinstance(node, ast.Attribute):
                continue
            kind = self.class_of(node.value, variables, attributes)
            if kind is not None:
                how = "set" if isinstance(node.ctx, ast.Store) else "call" if id(node) in called else "get"
                yield Use(node, kind, node.attr, how, _signal(called.get(id(node))))

    def class_of(self, node: ast.AST, variables: Classes, attributes: Classes) -> str | None:
        """The class of an expression, None where it is not known."""
        name = dotted(node)
        if name in SINGLETONS:
            return SINGLETONS[name]
        if isinstance(node, ast.Name):
            return variables.get(node.id)
        if isinstance(node, ast.Attribute):
            if dotted(node.value) == "self" and node.attr in attributes:
                return attributes[node.attr]
            if self.class_of(node.value, variables, attributes) == UI:
                return self._widgets.get(node.attr)
        if isinstance(node, ast.Call):
            if (dotted(node.func) or "").endswith("childWidgetVariables"):
                return UI
            if isinstance(node.func, ast.Attribute):
                owner = self.class_of(node.func.value, variables, attributes)
                return RETURNED.get((owner, node.func.attr)) or class_named(node.func)
        return None

    def _variables(self, scope: ast.AST, outer: Classes, attributes: Classes) -> Classes:
        found: list[tuple[str, str | None]] = []
        if isinstance(scope, Function):
            every = (*scope.args.posonlyargs, *scope.args.args, *scope.args.kwonlyargs)
            found = [(each.arg, class_named(each.annotation)) for each in every if each.annotation]
        for _ in range(2):
            known = {**outer, **_agreed(found)}
            named = [(t.id, v) for t, v in _assignments(scope) if isinstance(t, ast.Name)]
            found += [(name, self.class_of(value, known, attributes)) for name, value in named]
        return _agreed(found)


def _agreed(found: list[tuple[str, str | None]]) -> Classes:
    kinds: dict[str, set[str]] = {}
    for name, kind in found:
        if kind is not None:
            kinds.setdefault(name, set()).add(kind)
    return {name: next(iter(each)) for name, each in kinds.items() if len(each) == 1}


def _functions(class_: ast.ClassDef) -> list[Function]:
    return [node for node in class_.body if isinstance(node, Function)]


def _own_nodes(scope: ast.AST) -> Iterator[ast.AST]:
    """Everything in a function or statement; of functions inside it only themselves."""
    for child in ast.iter_child_nodes(scope):
        yield child
        if not isinstance(child, Function):
            yield from _own_nodes(child)


def _assignments(scope: ast.AST) -> Iterator[tuple[ast.AST, ast.AST]]:
    """(target, value) of every assignment; `a, b = c, d` is two."""
    statements = [scope, *_own_nodes(scope)]
    for node in statements:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        value = getattr(node, "value", None) if isinstance(node, ast.Assign | ast.AnnAssign) else None
        for target in targets if value is not None else ():
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                yield from zip(target.elts, value.elts, strict=False)
            else:
                yield target, value


def _signal(call: ast.Call | None) -> str | None:
    """The signature in `connect("clicked(bool)", slot)`."""
    if call is None or call.func.attr not in ("connect", "disconnect") or not call.args:
        return None
    first = call.args[0]
    return first.value if isinstance(first, ast.Constant) and isinstance(first.value, str) else None
