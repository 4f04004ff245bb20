"""Ours: prototypes, the ambiguity-aware loss, and in an update the background-aware distillation; all defaults."""

from __future__ import annotations

from .method import Method


class Ours(Method):
    """The library as it is, without or with images of earlier steps that have no annotation any more."""

    def __init__(self, name: str, unlabelled: bool = False):
        self.name = name
        self.unlabelled = unlabelled
        self.title = "ours, unlabelled old images" if unlabelled else "ours"
