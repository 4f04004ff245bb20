"""First use: what is missing is found without importing it, and installed only after a yes."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import types
from pathlib import Path

import pytest
import slicer
from CFSegmenterUI import dependencies, workerCommand

from CFSegmenterLib.errors import UserError

OWN_REQUIREMENTS = Path(dependencies.__file__).parents[1] / "Resources" / "requirements.txt"


@pytest.fixture
def requirements(tmp_path):
    """A file that asks for something that is there and something that is not."""
    path = tmp_path / "requirements.txt"
    path.write_text("# what the worker imports\nnumpy>=1.26\nno-such-package>=1.0  # never was\n", encoding="utf-8")
    return path


@pytest.fixture
def installed(monkeypatch):
    """What `slicer.packaging` was asked to install."""
    from slicer import packaging

    monkeypatch.setattr(packaging, "requests", [])
    return packaging.requests


@pytest.fixture
def withoutTorch(monkeypatch):
    monkeypatch.setattr(dependencies, "TORCH", "torch>=999")


@pytest.fixture
def torchAsked(monkeypatch):
    """What the extension PyTorch, present now, was asked for."""
    asked = []

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            asked.append((askConfirmation, torchVersionRequirement))
            return types

    module = types.ModuleType("PyTorchUtils")
    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)
    return asked


def yes(question):
    return True


def test_what_is_missing_or_too_old_is_found_without_importing_anything(requirements, monkeypatch):
    assert dependencies.findMissing(requirements).packages == ("no-such-package>=1.0",)
    assert not dependencies.findMissing(requirements).torch
    before = set(sys.modules)
    requirements.write_text("numpy>=99.0\nmonai>=0.0.1\n", encoding="utf-8")
    missing = dependencies.findMissing(requirements)
    assert missing.packages == ("numpy>=99.0",)
    assert "numpy" in missing.text and missing.text.endswith("press Install.")
    assert not {name.split(".")[0] for name in set(sys.modules) - before} & {"monai", "torch"}


def test_what_a_package_needs_and_does_not_find_is_missing_too(requirements, installed, monkeypatch):
    requirements.write_text("pydantic>=2\n", encoding="utf-8")
    assert not dependencies.findMissing(requirements)
    requires = importlib.metadata.requires
    needed = [
        "Absent_Core==1",
        "torch>=999",
        "another; extra == 'more'",
        "no words of a requirement (",
        "numpy",
        "pydantic",
    ]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: needed if name == "pydantic" else requires(name))
    assert dependencies.findMissing(requirements).packages == ("Absent_Core",)
    assert "Absent_Core" in dependencies.findMissing(requirements).text
    dependencies.install(requirements, confirm=yes)
    assert installed[-1] == ("install", ["Absent_Core"], {"requester": "CFSegmenter"})


def test_this_environment_has_all_that_the_module_asks_for(application):
    assert not dependencies.findMissing(OWN_REQUIREMENTS)
    assert dependencies.findMissing(OWN_REQUIREMENTS).text == ""


def test_with_a_worker_of_the_users_own_nothing_is_missing(requirements, application):
    workerCommand.setOwnCommand("ssh gpu-box cfsegmenter worker")
    assert not dependencies.findMissing(requirements)


def test_an_old_python_is_said_and_nothing_is_installed(requirements, installed, monkeypatch):
    monkeypatch.setattr(dependencies, "PYTHON", (9, 9))
    with pytest.raises(UserError, match=r"needs 9\.9"):
        dependencies.install(requirements, confirm=yes)
    assert installed == []


def test_nothing_is_installed_after_a_no(requirements, installed):
    questions = []
    missing = dependencies.install(requirements, confirm=lambda question: questions.append(question) or False)
    assert installed == [] and missing.packages == ("no-such-package>=1.0",)
    assert questions[0].startswith("no-such-package will be installed into Slicer's Python, from the internet")


def test_after_a_yes_the_requirements_are_installed_without_a_second_question(requirements, installed):
    dependencies.install(requirements, confirm=yes)
    assert installed == [("ensure", ["numpy>=1.26", "no-such-package>=1.0  # never was"], "CFSegmenter")]


def test_before_slicer_5_12_pip_reads_the_file(requirements, monkeypatch):
    calls = []
    monkeypatch.delattr(slicer, "packaging")
    monkeypatch.setitem(sys.modules, "slicer.packaging", None)
    monkeypatch.setattr(slicer.util, "pip_install", calls.append)
    dependencies.install(requirements, confirm=yes)
    assert calls == [["-r", str(requirements)]]


def test_torch_comes_first_and_from_its_extension(requirements, installed, withoutTorch, torchAsked):
    questions = []
    dependencies.install(requirements, confirm=lambda question: questions.append(question) or True)
    assert torchAsked == [(False, ">=999")]
    assert [kind for kind, *_ in installed] == ["ensure"]
    assert questions[0].startswith("torch, no-such-package will be")


@pytest.mark.parametrize("isInstalled", [True, False])
def test_where_the_extension_is_absent_it_is_installed_and_slicer_restarts_before_the_rest(
    requirements, installed, withoutTorch, monkeypatch, isInstalled
):
    asked = []

    def installExtensionFromServer(name, restart):
        asked.append((name, restart))
        return isInstalled

    model = types.SimpleNamespace(installExtensionFromServer=installExtensionFromServer)
    monkeypatch.setattr(slicer.app, "extensionsManagerModel", lambda: model, raising=False)
    if isInstalled:
        assert dependencies.install(requirements, confirm=yes).torch
    else:
        with pytest.raises(UserError, match="extension PyTorch"):
            dependencies.install(requirements, confirm=yes)
    assert asked == [("PyTorch", True)]
    assert installed == []  # else MONAI would bring a torch that does not fit the graphics card


def test_an_application_without_extensions_says_so(requirements, installed, withoutTorch, monkeypatch):
    monkeypatch.setattr(slicer.app, "extensionsManagerModel", lambda: None, raising=False)
    with pytest.raises(UserError, match=r"^This application cannot load the extension PyTorch; .*wheels\.$"):
        dependencies.install(requirements, confirm=yes)
    assert installed == []


def test_without_network_everything_comes_from_a_folder_of_wheels(requirements, installed, withoutTorch, tmp_path):
    with pytest.raises(UserError, match="holds no wheel files"):
        dependencies.install(requirements, tmp_path, confirm=yes)
    (tmp_path / "torch-999-py3-none-any.whl").touch()
    dependencies.install(requirements, tmp_path, confirm=yes)
    wanted = ["--no-index", "--find-links", str(tmp_path), "torch>=999", "no-such-package>=1.0"]
    assert installed == [("install", wanted, {"requester": "CFSegmenter"})]


def test_a_failed_installation_is_said_in_a_sentence(requirements, monkeypatch):
    from slicer import packaging

    def fail(*arguments, **named):
        raise subprocess.CalledProcessError(1, "pip install")

    monkeypatch.setattr(packaging, "pip_ensure", fail)
    with pytest.raises(UserError, match="installation failed"):
        dependencies.install(requirements, confirm=yes)
