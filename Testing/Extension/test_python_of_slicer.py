"""Slicer 5.8 brings Python 3.9, so what it imports is written for that; the worker may need a newer one.

Neither a compiler nor the tests notice, since they run on a newer Python.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from Testing.Extension.parameters import SOURCE as PARAMETERS
from Testing.Extension.sources import LIBRARY, dotted, imports, module_scripts, place, tree_of
from Testing.Extension.test_imports import LIGHT_ROOMS

OLDEST = (3, 9)
NEWER_NAMES = {
    *("itertools.pairwise", "enum.StrEnum", "datetime.UTC", "tomllib", "hashlib.file_digest", "contextlib.chdir"),
    *("typing.Self", "typing.TypeAlias", "typing.assert_never", "typing.override", "types.UnionType", "math.cbrt"),
}
NEWER_ARGUMENTS = {("zip", "strict"), ("dataclass", "slots"), ("dataclass", "kw_only")}
"""(function, keyword) that Python 3.9 does not take."""


def sources() -> list[Path]:
    """What is imported inside Slicer."""
    return [*module_scripts(), *(LIBRARY.joinpath(*room.split(".")).with_suffix(".py") for room in LIGHT_ROOMS)]


def test_the_grammar_is_that_of_the_oldest_python() -> None:
    for path in sources():
        ast.parse(path.read_text(encoding="utf-8"), str(path), feature_version=OLDEST)


def test_no_union_of_types_is_computed() -> None:
    """`X | None` is an error there; it may stand in annotations that nobody evaluates."""
    found = [(path, node) for path in sources() for node in _evaluated(path) if _is_union(node)]
    assert not [f"{place(path, node)}: {ast.unparse(node)}" for path, node in found]


def test_no_newer_function_or_argument_is_used() -> None:
    wrong = []
    for path in sources():
        nodes = list(ast.walk(tree_of(path)))
        named = [(node, dotted(node)) for node in nodes if isinstance(node, ast.Attribute)] + list(imports(nodes))
        wrong += [f"{place(path, node)}: {name}" for node, name in named if name in NEWER_NAMES]
        calls = ((node, (dotted(node.func) or "").split(".")[-1]) for node in nodes if isinstance(node, ast.Call))
        wrong += [
            f"{place(path, node)}: {function}({keyword.arg}=...)"
            for node, function in calls
            for keyword in node.keywords
            if (function, keyword.arg) in NEWER_ARGUMENTS
        ]
    assert not wrong


def _evaluated(path: Path) -> Iterator[ast.AST]:
    """All expressions, without annotations where those stay text. The parameter node's are always evaluated."""
    tree = tree_of(path)
    stays_text = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    annotations: set[int] = set()
    if stays_text and path != PARAMETERS:
        for node in ast.walk(tree):
            for each in (getattr(node, "annotation", None), getattr(node, "returns", None)):
                annotations |= {id(inner) for inner in ast.walk(each)} if isinstance(each, ast.AST) else set()
    return (node for node in ast.walk(tree) if id(node) not in annotations)


def _is_union(node: ast.AST) -> bool:
    return (
        isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr) and (_is_type(node.left) or _is_type(node.right))
    )


def _is_type(node: ast.expr) -> bool:
    """Whether it looks like a type or None; names all in capitals are constants."""
    if isinstance(node, ast.Subscript):
        return _is_type(node.value)
    if isinstance(node, ast.Constant):
        return node.value is None
    names = (dotted(node) or "").split(".")
    if names[0] == "qt" and len(names) > 2:
        return False  # an enumerator
    name = names[-1]
    kinds = {"int", "float", "str", "bool", "bytes", "list", "dict", "tuple", "set", "frozenset", "type", "object"}
    return name in kinds or name.startswith("vtkMRML") or (name[:1].isupper() and not name.isupper())
