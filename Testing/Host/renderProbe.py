"""Whether this machine can draw pictures with VTK."""

from __future__ import annotations

import functools
import subprocess
import sys

PROBE = """
import vtk
window = vtk.vtkRenderWindow()
window.SetOffScreenRendering(1)
window.AddRenderer(vtk.vtkRenderer())
window.Render()
"""


@functools.cache
def canRender() -> bool:
    """Whether offscreen views work. Tried in a process of its own: without any OpenGL library VTK ends the process."""
    try:
        return subprocess.run([sys.executable, "-c", PROBE], capture_output=True, timeout=120).returncode == 0
    except subprocess.TimeoutExpired:
        return False
