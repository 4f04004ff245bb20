"""Joint training: all steps at once, the ceiling of every method that learns them one after another."""

from __future__ import annotations

from .method import Method


class Joint(Method):
    """Our first training on the cases and annotations of all steps, as long as all steps together."""

    name = "joint"
    title = "joint training (ceiling)"
    paper = "none"
    at_once = True
