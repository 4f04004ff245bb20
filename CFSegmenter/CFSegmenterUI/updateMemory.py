"""What the update panels remember from one scene, and one start of Slicer, to the next."""

from __future__ import annotations

import json
from typing import Any

import qt

FOLDERS, RUNNING = "CFSegmenter/TeachingFolders", "CFSegmenter/RunningUpdate"


class UpdateMemory:
    """UpdateMemory keeps the folders that were chosen last, and which update is under way.

    A new scene has a new parameter node, and cases are added from one scene after the other: without it the folder
    would have to be found again for each. Both are one JSON text.
    """

    def __init__(self, settings: qt.QSettings):
        """Args: the application's settings."""
        self._settings = settings

    @property
    def folders(self) -> dict[str, str]:
        """Field of the parameter node -> folder."""
        return {name: path for name, path in self._read(FOLDERS).items() if isinstance(path, str)}

    def keepFolder(self, name: str, path: str) -> None:
        """Remember a folder."""
        self._settings.setValue(FOLDERS, json.dumps({**self.folders, name: path}))

    @property
    def running(self) -> dict[str, Any]:
        """The update that was started last and has not been seen to end: what `update_start` took, and its name."""
        found = self._read(RUNNING)
        isWhole = all(isinstance(found.get(name), str) and found[name] for name in ("store", "update"))
        return found if isWhole else {}

    @running.setter
    def running(self, started: dict[str, Any]) -> None:
        self._settings.setValue(RUNNING, json.dumps(started))

    def _read(self, key: str) -> dict[str, Any]:
        try:
            found = json.loads(self._settings.value(key, "{}"))
        except (TypeError, ValueError):
            return {}  # a settings file is the user's to edit
        return found if isinstance(found, dict) else {}
