"""What the module may import: starting Slicer and opening the panel load nothing heavy."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from Testing.Extension.sources import LIBRARY, MODULE, ROOT, at_import, files, imports, module_scripts, place, tree_of
from Testing.Host.availability import whyNot

LIGHT_ROOMS = (
    *("budget", "errors", "grid", "hierarchy", "own_structures", "repertoire", "resources", "spelling"),
    *("structure_file", "structures"),
    "worker.framing",
)
"""Of the library: they need numpy and nothing else."""
OF_SLICER = {"slicer", "vtk", "qt", "ctk", "numpy"}
OF_SLICERS_MODULES = {"SampleData", "PyTorchUtils", "packaging"}
"""Other modules of Slicer, and of its Python, imported inside functions only: they may be missing."""
HEAVY = {"torch", "monai", "nibabel", "pydantic", "SimpleITK", "scipy", "matplotlib", "safetensors", "typer"}


def _is_light(name: str, *others: str) -> bool:
    top = name.split(".")[0]
    rooms = (f"CFSegmenterLib.{room}" for room in LIGHT_ROOMS)
    return (
        top in OF_SLICER | {"CFSegmenterUI", *others}
        or name == "CFSegmenterLib"  # which imports nothing by itself
        or top in sys.stdlib_module_names
        or any(f"{name}.".startswith(f"{room}.") for room in rooms)
    )


def test_importing_a_file_of_the_module_imports_only_what_slicer_has() -> None:
    found = ((path, node, name) for path in module_scripts() for node, name in imports(at_import(tree_of(path))))
    assert not [f"{place(path, node)}: {name}" for path, node, name in found if not _is_light(name)]


def test_nothing_heavy_is_imported_inside_functions_either() -> None:
    found = ((path, node, name) for path in module_scripts() for node, name in imports(ast.walk(tree_of(path))))
    wrong = [f"{place(path, node)}: {name}" for path, node, name in found if not _is_light(name, *OF_SLICERS_MODULES)]
    assert not wrong


def test_light_rooms_of_the_library_import_light_rooms_only() -> None:
    wrong = []
    for room in LIGHT_ROOMS:
        path = LIBRARY.joinpath(*room.split(".")).with_suffix(".py")
        nodes = list(at_import(tree_of(path)))
        relative = [node for node in nodes if isinstance(node, ast.ImportFrom) and node.level]
        named = [(node, ".".join([*room.split(".")[: -node.level], node.module or ""])) for node in relative]
        wrong += [f"{place(path, node)}: {name}" for node, name in named if name not in LIGHT_ROOMS]
        wrong += [f"{place(path, node)}: {name}" for node, name in imports(nodes) if not _is_light(name)]
    assert not wrong


def test_importing_and_opening_the_whole_module_loads_nothing_heavy() -> None:
    if whyNot("startApplication"):
        pytest.skip(whyNot("startApplication"))
    names = [name.removesuffix(".py").replace("/", ".") for name in files(MODULE, "*.py")]
    program = (
        "import importlib, sys\n"
        "from Testing.Host import startApplication\n"
        "startApplication()\n"
        f"sys.path.insert(0, {str(MODULE)!r})\n"
        f"for name in {names!r}:\n"
        "    importlib.import_module(name.removesuffix('.__init__'))\n"
        "from pathlib import Path\n"
        "from Testing.Host.modules import ScriptedModule\n"
        f"module = ScriptedModule(Path({str(MODULE)!r}) / 'CFSegmenter.py').load()\n"
        "module.widgetRepresentation().show()\n"
        "module.enter()\n"  # the worker is a process of its own, and is not started before there are events
        f"heavy = {HEAVY!r} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
