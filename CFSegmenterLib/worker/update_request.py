"""What an update is to do, checked before a process is started for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import UserError
from ..parsing import first_complaint


@dataclass(frozen=True)
class UpdateRequest:
    """What an update is to do.

    Attributes:
        store: folder of the store; begun with the model where there is none.
        model: folder, store or name of the model; None takes the store's active version.
        cases: case lists, or folders that hold one.
        unlabelled: folder of images to be reminded on, or a case list.
        budget: as people say it.
        settings: other than the defaults.
        device: "auto", "cpu" or "cuda".
    """

    store: Path
    model: str | None
    cases: tuple[Path, ...]
    unlabelled: Path | None = None
    budget: str | None = None
    settings: Mapping[str, Any] | None = None
    device: str = "auto"

    @property
    def lists(self) -> list[Path]:
        """The files of the case lists."""
        return [path / "dataset.json" if path.is_dir() else path for path in self.cases]

    def check(self) -> None:
        """Find what can be found wrong at once.

        Raises:
            UserError: budget, settings or cases cannot be used.
        """
        from pydantic import ValidationError

        from ..budget import parse_budget
        from ..cases import read_case_lists
        from ..settings import UpdateSettings

        if self.budget is not None:
            parse_budget(self.budget)
        try:
            UpdateSettings.model_validate(dict(self.settings or {}))
        except ValidationError as error:
            raise UserError(f"The settings are not as expected {first_complaint(error)}.") from error
        read_case_lists(self.lists)
        if self.unlabelled is not None and not self.unlabelled.exists():
            raise UserError(f"The folder {self.unlabelled} does not exist; name the folder of the other images.")

    def model_folder(self) -> Path:
        """The folder of the model.

        Raises:
            UserError: there is no such model.
        """
        from ..catalogue import find_model
        from ..store_index import is_store

        said = self.store if self.model is None and is_store(self.store) else self.model
        return find_model(said).resolve()

    def name(self) -> str:
        """The same for the same model, cases and settings, however long the update may take.

        Raises:
            UserError: there is no such model.
        """
        from ..model import read_manifest

        said = [
            read_manifest(self.model_folder()).weights_sha256,
            [[str(path.resolve()), hashlib.sha256(path.read_bytes()).hexdigest()] for path in self.lists],
            None if self.unlabelled is None else str(self.unlabelled.resolve()),
            dict(self.settings or {}),
        ]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:10]
