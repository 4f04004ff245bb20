"""What is installed into Slicer: only what the worker needs, and enough for it to run."""

from __future__ import annotations

import ast
import importlib.metadata
import itertools
import sys
import tomllib
from pathlib import Path

import numpy as np
from packaging.requirements import Requirement

from CFSegmenterLib.model import save_model
from CFSegmenterLib.phantom import draw_small
from CFSegmenterLib.worker.client import WorkerClient
from CFSegmenterLib.worker.framing import PROTOCOL
from Testing.Extension.sources import LIBRARY, MODULE, ROOT, files, imports, tree_of
from Testing.Library.painted import a_plain_model

FILE = MODULE / "Resources" / "requirements.txt"
BUNDLED = {"numpy", "packaging", "scipy", "setuptools"}
"""Distributions that Slicer brings: another version of one may keep it from starting."""
OF_THE_EXTENSION_PYTORCH = {"torch"}

WORKER = """
import importlib.abc
import sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.path.insert(0, {root!r})
from CFSegmenterLib.cli import main
main(["worker", "--device", "cpu"])
"""


def requirements() -> list[Requirement]:
    """As Slicer reads them."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def test_requirements_are_lower_bounds_of_what_slicer_does_not_bring() -> None:
    assert all([each.operator for each in one.specifier] == [">="] for one in requirements())
    assert not {one.name for one in requirements()} & (BUNDLED | OF_THE_EXTENSION_PYTORCH | {"SimpleITK"})


def test_every_requirement_says_what_it_is_for() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    explained = [before.startswith("# ") for before, line in itertools.pairwise(lines) if ">=" in line]
    assert explained and all(explained)


def test_bounds_are_those_of_the_library() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {str(one) for one in requirements()} <= {str(Requirement(one)) for one in project["dependencies"]}


def test_the_library_imports_every_requirement() -> None:
    nodes = (node for name in files(LIBRARY, "*.py") for node in ast.walk(tree_of(LIBRARY / name)))
    assert {one.name for one in requirements()} <= {name.split(".")[0] for _, name in imports(nodes)}


def test_the_worker_runs_on_the_requirements_alone(tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text(WORKER.format(missing=_not_brought(), root=str(ROOT)), encoding="utf-8")
    save_model(a_plain_model(), tmp_path / "model", "")
    phantom = draw_small(0)
    with WorkerClient([sys.executable, "-I", str(program)]) as worker:
        worker.ask("hello", {"protocol": PROTOCOL})
        assert worker.ask("models").message["models"]
        encode = {"key": "small", "model": str(tmp_path / "model"), "affine": phantom.affine.tolist()}
        worker.ask("encode", {**encode, "modality": "mr-t2"}, {"image": phantom.image})
        shape = phantom.image.shape
        assert worker.ask("segment", {"key": "small", "structures": ["liver"]}).arrays["layer0"].shape == shape
        for verb, message in (("similarity", {"structure": "spleen"}), ("margin", {}), ("best", {})):
            assert worker.ask(verb, {"key": "small", **message}).arrays["map"].shape == shape
        assert worker.ask("probe", {"key": "small", "ras": [0.0, 0.0, 0.0]}).message["ranked"]
        painted = {"mask": (phantom.labels == 1).astype(np.uint8)}
        assert worker.ask("prototype", {"key": "small", "name": "painted"}, painted).arrays["vector"].size


def _not_brought() -> set[str]:
    """Packages that can be imported here, but not where only Slicer, PyTorch and the requirements are installed."""
    brought: set[str] = set()
    waiting = [*BUNDLED, *OF_THE_EXTENSION_PYTORCH, *(one.name for one in requirements())]
    while waiting:
        name = _normalized(waiting.pop())
        if name in brought:
            continue
        brought.add(name)
        try:
            needed = [Requirement(each) for each in importlib.metadata.requires(name) or ()]
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform
        waiting += [each.name for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    owners = importlib.metadata.packages_distributions()
    missing = {package for package, names in owners.items() if not {_normalized(name) for name in names} & brought}
    return missing - {"CFSegmenterLib"}


def _normalized(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
