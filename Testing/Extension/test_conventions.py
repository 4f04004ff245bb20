"""Conventions of the module's sources that are easily forgotten."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from Testing.Extension.sources import dotted, module_scripts, place, tree_of

LINES = 400
"""A longer file is a sign that two concepts share a room."""

SHOWN_PROPERTIES = {
    *("text", "title", "windowTitle", "labelText", "placeholderText", "prefix", "suffix", "noneDisplay"),
    *("toolTip", "statusTip", "whatsThis", "helpText", "acknowledgementText", "detailedText"),
}
SHOWING_CALLS = {
    *("setText", "setTitle", "setWindowTitle", "setLabelText", "setPlaceholderText", "setPrefix", "setSuffix"),
    *("setToolTip", "setStatusTip", "setWhatsThis", "setPlainText", "appendPlainText", "setTitleText"),
    *("setHeaderLabel", "setHeaderLabels", "addItem", "addItems", "insertItem", "addAction", "addButton", "addTab"),
    *("infoDisplay", "warningDisplay", "errorDisplay", "messageBox", "showStatusMessage"),
    *("confirmOkCancelDisplay", "confirmYesNoDisplay", "confirmRetryCloseDisplay", "createProgressDialog"),
    *("tryWithErrorDisplay", "getText", "getExistingDirectory", "getOpenFileName", "question", "information"),
    *("UserError", "addSection"),
}
"""Methods and functions whose texts a user reads; what `delayDisplay` says in the self-test is for developers."""


def test_no_file_is_too_long() -> None:
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in module_scripts()}
    assert not {name: length for name, length in lengths.items() if length > LINES}


def test_every_text_that_a_user_reads_can_be_translated() -> None:
    bare = [
        f"{place(path, text)}: {ast.unparse(text)}"
        for path in module_scripts()
        for shown in _shown(tree_of(path))
        for text in _bare_texts(shown)
    ]
    assert not bare


def test_texts_are_translated_before_anything_is_filled_in() -> None:
    """The translator collects literals: an f-string or a formatted text is never found again at run time."""
    wrong = [
        f"{place(path, node)}: {ast.unparse(node)}"
        for path in module_scripts()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call) and dotted(node.func) == "_"
        if not (len(node.args) == 1 and isinstance(node.args[0], ast.Constant))
    ]
    assert not wrong


def test_nothing_is_called_later_through_what_slicer_never_lets_go_of() -> None:
    """Slicer replaces QTimer.singleShot by one that keeps each timer, and what it calls, until the application ends."""
    found = [
        place(path, node)
        for path in module_scripts()
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Attribute) and node.attr == "singleShot"
    ]
    assert not found


def _shown(tree: ast.AST) -> Iterator[ast.expr]:
    """Expressions that end on the screen."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            if any(isinstance(target, ast.Attribute) and target.attr in SHOWN_PROPERTIES for target in node.targets):
                yield node.value
        elif isinstance(node, ast.Call):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in SHOWING_CALLS:
                yield from node.args
                yield from (keyword.value for keyword in node.keywords if keyword.arg in SHOWN_PROPERTIES)


def _bare_texts(node: ast.expr) -> Iterator[ast.expr]:
    """Literals with words in them that are part of what is shown and did not pass through `_()`."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, str) and any(map(str.isalpha, node.value)):
            yield node
    elif isinstance(node, ast.JoinedStr):
        if any(isinstance(part, ast.Constant) and any(map(str.isalpha, part.value)) for part in node.values):
            yield node
    elif isinstance(node, ast.BinOp):
        yield from (*_bare_texts(node.left), *_bare_texts(node.right))
    elif isinstance(node, ast.BoolOp):
        yield from (text for value in node.values for text in _bare_texts(value))
    elif isinstance(node, ast.IfExp):
        yield from (*_bare_texts(node.body), *_bare_texts(node.orelse))
    elif isinstance(node, ast.List | ast.Tuple):
        yield from (text for value in node.elts for text in _bare_texts(value))
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        yield from _bare_texts(node.func.value)  # "...".format(...), ", ".join(...)
