"""What is installed into Slicer: only what the worker needs, and enough for it to run."""

from __future__ import annotations

import ast
import importlib.metadata
import itertools
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement

from CFSegmenterLib.model import save_model
from CFSegmenterLib.phantom import draw_small
from CFSegmenterLib.worker.client import WorkerClient
from CFSegmenterLib.worker.framing import PROTOCOL
from Testing.Extension.sources import LIBRARY, MODULE, ROOT, files, imports, tree_of
from Testing.Library.painted import a_plain_model

FILE = MODULE / "Resources" / "requirements.txt"
BUNDLED = {"SimpleITK", "numpy", "packaging", "scipy", "setuptools"}
"""Distributions that Slicer brings: another version of one may keep it from starting."""
OF_THE_EXTENSION_PYTORCH = {"torch"}

WORKER = """
import importlib.abc
import sys

class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        asked = sys._getframe(2).f_code.co_name  # torch looks for many packages that it does not import
        if name.partition(".")[0] in {missing!r} and asked == "_find_and_load_unlocked":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
sys.path.insert(0, {root!r})
from CFSegmenterLib.cli import main
main(sys.argv[1:])
"""


def requirements() -> list[Requirement]:
    """As Slicer reads them."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    return [Requirement(line) for line in lines if line.strip() and not line.startswith("#")]


def test_requirements_are_lower_bounds_of_what_slicer_does_not_bring() -> None:
    assert all([each.operator for each in one.specifier] == [">="] for one in requirements())
    assert not {one.name for one in requirements()} & (BUNDLED | OF_THE_EXTENSION_PYTORCH)


def test_every_requirement_says_what_it_is_for() -> None:
    lines = FILE.read_text(encoding="utf-8").splitlines()
    explained = [before.startswith("# ") for before, line in itertools.pairwise(lines) if ">=" in line]
    assert explained and all(explained)


def test_bounds_are_those_of_the_library() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {str(one) for one in requirements()} <= {str(Requirement(one)) for one in project["dependencies"]}


def test_the_library_imports_every_requirement() -> None:
    nodes = (node for name in files(LIBRARY, "*.py") for node in ast.walk(tree_of(LIBRARY / name)))
    wanted = {one.name.replace("-", "_") for one in requirements()}
    assert wanted <= {name.split(".")[0] for _, name in imports(nodes)}


def test_the_worker_runs_on_the_requirements_alone(tmp_path: Path) -> None:
    save_model(a_plain_model(), tmp_path / "model", "")
    phantom = draw_small(0)
    with WorkerClient([*_command(tmp_path), "worker", "--device", "cpu"]) as worker:
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


@pytest.mark.slow
def test_a_model_is_taught_on_the_requirements_alone(tmp_path: Path) -> None:
    save_model(a_plain_model(), tmp_path / "model", "")
    command = _command(tmp_path)
    with WorkerClient([*command, "worker", "--device", "cpu"]) as worker:
        for seed in range(4):
            phantom = draw_small(seed)
            values = {str(value): name for value, name in phantom.names.items()}
            case = {"folder": str(tmp_path / "cases"), "affine": phantom.affine.tolist(), "modality": "mr-t2"}
            arrays = {"image": phantom.image, "labels": phantom.labels}
            worker.ask("case_add", {**case, "values": values, "annotated": list(values.values())}, arrays)
        assert len(worker.ask("cases", {"folder": str(tmp_path / "cases")}).message["cases"]) == 4
    # As the worker starts its child, which is told the same way what is missing.
    words = ["--model", tmp_path / "model", "--cases", tmp_path / "cases", "--out", tmp_path / "store"]
    done = subprocess.run(
        [*command, "update", *words, "--iterations", "1", "--device", "cpu"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "store" / "versions" / "2" / "report" / "index.html").is_file()


def _command(folder: Path) -> list[str]:
    """What starts `cfsegmenter` where nothing but the requirements is installed."""
    program = folder / "cfsegmenter.py"
    program.write_text(WORKER.format(missing=_not_brought(), root=str(ROOT)), encoding="utf-8")
    return [sys.executable, "-I", str(program)]


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
