"""Presets: sets of targets that the user has given a name, kept in the application's settings."""

from __future__ import annotations

import json
from collections.abc import Sequence

import qt

KEY = "CFSegmenter/TargetSets"


class Presets:
    """Presets remember sets of structures by name, from one session of Slicer to the next.

    They are one JSON text: Qt turns a list of one text into a text when it is read back.
    """

    def __init__(self, settings: qt.QSettings):
        """Args: the application's settings."""
        self._settings = settings

    @property
    def names(self) -> tuple[str, ...]:
        """In the order of the alphabet."""
        return tuple(sorted(self._read(), key=str.casefold))

    def targets(self, name: str) -> list[str]:
        """The structures of a set; none for a name that is not remembered."""
        return list(self._read().get(name, ()))

    def save(self, name: str, targets: Sequence[str]) -> None:
        """Remember `targets`; a set of this name is replaced."""
        self._write({**self._read(), name: list(targets)})

    def delete(self, name: str) -> None:
        """Forget a set."""
        self._write({each: targets for each, targets in self._read().items() if each != name})

    def _read(self) -> dict[str, list[str]]:
        try:
            sets = json.loads(self._settings.value(KEY, "{}"))
        except (TypeError, ValueError):
            return {}  # a settings file is the user's to edit: what is no set is no set
        if not isinstance(sets, dict):
            return {}
        return {name: targets for name, targets in sets.items() if isinstance(targets, list)}

    def _write(self, sets: dict[str, list[str]]) -> None:
        self._settings.setValue(KEY, json.dumps(sets))
