"""Every scene test has real MRML without Qt."""

from __future__ import annotations

from Testing.Host import startScene
from Testing.Host.fixtures import collectAfter, layout, scene

__all__ = ["layout", "scene"]

pytest_pycollect_makemodule = collectAfter(startScene)
