"""One version in a store: a model folder that never changes, and the report that came with it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UserError, plain_reason
from .model import Manifest, read_manifest
from .store_index import Status

REPORT, PAGE = "report/report.json", "report/index.html"
REPORT_FORMAT = 1


@dataclass(frozen=True)
class StoredVersion:
    """A StoredVersion says where a version lies and what was decided about it.

    Attributes:
        name: "1", "2", ...; never given to another version.
        folder: a model folder.
        status: "proposed" until somebody accepts or rejects it.
        active: whether it is the version that is used.
        imported: whether it came from outside, so that no report says what it changed.
    """

    name: str
    folder: Path
    status: Status
    active: bool
    imported: bool

    @property
    def manifest(self) -> Manifest:
        """As the folder holds it.

        Raises:
            UserError: it is damaged.
        """
        return read_manifest(self.folder)

    @property
    def has_report(self) -> bool:
        """Whether there is a report, sound or not."""
        return (self.folder / REPORT).is_file()

    @property
    def page(self) -> Path:
        """Of the report, for people; it is there where there is a report."""
        return self.folder / PAGE

    def report(self) -> dict[str, Any]:
        """The report of the update that made this version.

        Raises:
            UserError: there is none, it is damaged, or a newer version of CFSegmenter wrote it.
        """
        try:
            said = json.loads((self.folder / REPORT).read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise UserError(f"Version {self.name} has no report; measure it with `cfsegmenter evaluate`.") from error
        except OSError as error:
            raise UserError(f"The report of version {self.name} cannot be read ({plain_reason(error)}).") from error
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise UserError(f"The report of version {self.name} is damaged: it is not valid JSON.") from error
        if not isinstance(said, dict) or not isinstance(said.get("fell"), bool):
            raise UserError(f"The report of version {self.name} is damaged: it does not say whether structures fell.")
        if isinstance(said.get("format"), int) and said["format"] > REPORT_FORMAT:
            raise UserError(
                f"The report of version {self.name} was written by a newer version of CFSegmenter; update CFSegmenter."
            )
        return said
