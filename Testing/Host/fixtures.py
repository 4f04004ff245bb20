"""Fixtures of all tests with a scene or with Qt; a folder's conftest.py takes what it needs.

Where the stand-in host cannot start, for want of a wheel or of a library, the tests of such a folder are skipped.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from Testing.Host import slotErrors, startApplication, startScene
from Testing.Host.availability import whyNot

MODULE_FOLDER = Path(__file__).parents[2] / "CFSegmenter"
"""What Slicer puts on the path of Python."""


def collectAfter(start: Callable[[], object], *only: str):
    """The hook `pytest_pycollect_makemodule` of a folder whose tests import what `start` makes importable.

    Args:
        start: `startScene` or `startApplication`. Where it cannot work, the folder's tests are skipped.
        only: names of the test files that need it; none means all.
    """

    class Skipped(pytest.Module):
        """A test file that is not even imported."""

        def collect(self):
            pytest.skip(whyNot(start.__name__))

    def pytest_pycollect_makemodule(module_path, parent):
        if only and module_path.name not in only:
            return None
        if whyNot(start.__name__):
            return Skipped.from_parent(parent, path=module_path)
        if str(MODULE_FOLDER) not in sys.path:
            sys.path.insert(0, str(MODULE_FOLDER))
        start()
        return None

    return pytest_pycollect_makemodule


@pytest.fixture
def scene():
    """The one scene of the process, closed before and after the test as Slicer closes it, and without views."""
    scene = startScene()
    _empty(scene)
    yield scene
    _empty(scene)


def _empty(scene) -> None:
    """Close the scene, and remove the views' nodes: they outlive it, as the application's views do."""
    scene.Clear(0)
    for className in ("vtkMRMLSliceCompositeNode", "vtkMRMLSliceNode", "vtkMRMLViewNode", "vtkMRMLCameraNode"):
        nodes = scene.GetNodesByClass(className)
        nodes.UnRegister(None)
        for node in [nodes.GetItemAsObject(number) for number in range(nodes.GetNumberOfItems())]:
            scene.RemoveNode(node)


@pytest.fixture(scope="session")
def application():
    """The stand-in for `slicer.app`; `qt`, `ctk` and Slicer's widgets can be imported from now on."""
    return startApplication()


@pytest.fixture(autouse=True)
def noSlotRaised(application):
    """Fail a test in which a slot raised, which PythonQt only prints; settings start empty."""
    application.settings().clear()
    slotErrors.clear()
    yield
    raised = [f"{where}: {error!r}" for where, error in slotErrors]
    slotErrors.clear()
    assert not raised


@pytest.fixture
def process(application):
    """`process(until=condition, seconds=10)` runs Qt's events until the condition is true, and fails if it never is.

    Without a condition it runs the events that wait now.
    """

    def process(until=None, seconds: float = 10.0) -> None:
        application.processEvents()
        end = time.monotonic() + seconds
        while until is not None and not until():
            assert time.monotonic() < end, f"this did not happen within {seconds:g} s"
            application.processEvents()
            time.sleep(0.002)

    return process


@pytest.fixture
def layout(scene):
    """The layout node of the application's views, which outlives a closed scene and which a plot needs."""
    import slicer

    node = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    node.SetSingletonTag("vtkMRMLLayoutNode")
    node.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    yield node
    scene.RemoveNode(node)
