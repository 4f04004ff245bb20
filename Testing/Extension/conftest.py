"""The scene that the sample is loaded into; all other tests here read files only."""

from __future__ import annotations

from Testing.Host.fixtures import scene

__all__ = ["scene"]
