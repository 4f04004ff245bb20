"""Folders with models of the user's own, remembered in the application's settings."""

from __future__ import annotations

import json
from collections.abc import Sequence

import qt

KEY = "CFSegmenter/ModelFolders"


class ModelFolders:
    """ModelFolders remember where the user keeps models besides the shipped ones.

    They are one JSON text: Qt turns a list of one text into a text when it is read back.
    """

    def __init__(self, settings: qt.QSettings):
        """Args: the application's settings."""
        self._settings = settings

    @property
    def paths(self) -> list[str]:
        """In the order in which they were imported."""
        try:
            said = json.loads(self._settings.value(KEY, "[]"))
        except (TypeError, ValueError):
            return []  # a settings file is the user's to edit: what is no list is no list
        return [path for path in said if isinstance(path, str)] if isinstance(said, list) else []

    def add(self, path: str) -> None:
        """Remember a folder, once."""
        self._write([*(each for each in self.paths if each != path), path])

    def remove(self, path: str) -> None:
        """Forget a folder."""
        self._write([each for each in self.paths if each != path])

    def _write(self, paths: Sequence[str]) -> None:
        self._settings.setValue(KEY, json.dumps(list(paths)))
