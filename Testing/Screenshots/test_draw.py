"""The README's pictures of the module: drawn by its own panels on real MRML, and labelled as what they are."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from Testing.Host import canRender
from Testing.Screenshots.draw import PANEL, ROOT, SCREENSHOTS, VIEW

LARGEST = 300_000
"""Bytes of a picture of the README."""
NEAR = 300
"""Characters of the README below a picture in which its label stands."""


def hasBlue(view: np.ndarray) -> bool:
    """Whether the dark blue of the least similarity is in a view: in a gray scan with segments only a legend has it."""
    return bool((view[..., 2].astype(int) - view[..., 0] > 80).any())


@pytest.mark.slow
def test_the_pictures_show_panel_slices_and_surface_and_with_a_map_its_legend(tmp_path):
    if not canRender():
        pytest.skip("VTK cannot draw here: there is no OpenGL library")
    command = [sys.executable, "-m", "Testing.Screenshots.draw", "--targets", "liver", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    drawn = {path.stem: np.asarray(Image.open(path).convert("RGB")) for path in tmp_path.iterdir()}
    assert set(drawn) == {"slicer-segment", "slicer-inspect", "slicer-models"}
    for name, legend in (("slicer-segment", False), ("slicer-inspect", True)):
        axial = drawn[name][:VIEW, -2 * VIEW : -VIEW - 10]
        surface = drawn[name][:VIEW, -VIEW:]
        assert np.ptp(axial, axis=2).max() > 50, "segments or a map in color"
        assert hasBlue(axial) == legend
        assert (np.ptp(surface, axis=2) > 60).mean() > 0.01, "a surface in color"
    assert drawn["slicer-models"].shape[1] == PANEL


@pytest.mark.parametrize("name", ["slicer-segment", "slicer-inspect", "slicer-models", "update-panel"])
def test_a_picture_of_the_module_says_that_it_is_none_of_the_application(name):
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    path = f"Resources/Screenshots/{name}.png"
    assert readme.count(path) == 1
    assert "outside the application" in readme.partition(path)[2][:NEAR].replace("\n", " ")
    assert (SCREENSHOTS / f"{name}.png").stat().st_size < LARGEST
