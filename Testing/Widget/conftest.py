"""Every widget test has the stand-in application, an empty scene when it asks for one, and Qt's event loop."""

from __future__ import annotations

from Testing.Host import startApplication
from Testing.Host.fixtures import application, collectAfter, layout, noSlotRaised, process, scene

__all__ = ["application", "layout", "noSlotRaised", "process", "scene"]

pytest_pycollect_makemodule = collectAfter(startApplication)
