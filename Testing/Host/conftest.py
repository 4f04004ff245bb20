"""The stand-in host's own tests use the fixtures it gives to others."""

from __future__ import annotations

from Testing.Host import startApplication
from Testing.Host.fixtures import application, collectAfter, noSlotRaised, process, scene

__all__ = ["application", "noSlotRaised", "process", "scene"]

pytest_pycollect_makemodule = collectAfter(startApplication)
