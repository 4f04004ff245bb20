"""What the static tests read: the files of the extension, parsed."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODULE = ROOT / "CFSegmenter"
LIBRARY = ROOT / "CFSegmenterLib"
UI_FILES = MODULE / "Resources" / "UI"


def files(folder: Path, pattern: str = "*") -> list[str]:
    """All files below a folder as paths relative to it, without those that Python or an editor leaves behind."""
    found = (path.relative_to(folder) for path in folder.rglob(pattern) if path.is_file())
    return sorted(p.as_posix() for p in found if "__pycache__" not in p.parts and not p.name.startswith("."))


def module_scripts() -> list[Path]:
    """All Python files of the module."""
    return [MODULE / name for name in files(MODULE, "*.py")]


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """A Python file, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def place(path: Path, node: ast.AST) -> str:
    """Where something stands, to be named in a failure."""
    return f"{path.relative_to(ROOT).as_posix()}:{node.lineno}"


def dotted(node: ast.AST) -> str | None:
    """`a.b.c` of an expression that is names and dots only, None of others."""
    names = []
    while isinstance(node, ast.Attribute):
        names.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(names)]) if isinstance(node, ast.Name) else None


def imports(nodes: Iterable[ast.AST]) -> Iterator[tuple[ast.stmt, str]]:
    """(statement, full name of a module) of everything imported; relative imports are passed over."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def at_import(node: ast.AST) -> Iterator[ast.AST]:
    """What runs when a file is imported: everything but the bodies of functions."""
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from at_import(child)


def cmake_set(path: Path, variable: str) -> list[str]:
    """The words that a CMake file sets a variable to; `${...}` of variables that it sets itself are replaced."""
    text = re.sub(r"(?m)^\s*#.*$", "", path.read_text(encoding="utf-8"))
    values = dict(re.findall(r"(?s)\bset\(\s*(\w+)\s+([^()]*?)\s*\)", text))
    return re.sub(r"\$\{(\w+)\}", lambda match: values.get(match[1], match[0]), values[variable]).split()
