"""The index of a store: which version is active, and what happened to which version when."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import UserError, plain_reason
from .parsing import first_complaint

FORMAT = 1
INDEX, VERSIONS, UPDATES = "store.json", "versions", "updates"

Status = Literal["proposed", "accepted", "rejected"]
Happening = Literal["imported", "proposed", "accepted", "rejected", "rolled back"]
VersionName = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}$")]


class Event(BaseModel):
    """What happened to a version; more may stand with it, as the origin of an import.

    Attributes:
        date: of the local clock, with its zone.
        event: of a roll back, `version` is the one that became active again.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    date: str
    event: Happening
    version: VersionName


class StoreIndex(BaseModel):
    """A StoreIndex is a page of history that only grows; the statuses are read off it.

    Attributes:
        format: version of this layout.
        name: of the model that all versions are versions of.
        active: the version that is used.
        events: in the order of time.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    format: int = FORMAT
    name: str
    active: VersionName
    events: tuple[Event, ...] = Field(min_length=1)

    def status(self, version: str) -> Status:
        """What was decided last; a version that nothing happened to yet waits for a decision."""
        status: Status = "proposed"
        for each in self.events:
            if each.version == version and each.event != "rolled back":
                status = "accepted" if each.event == "imported" else each.event
        return status

    def was_imported(self, version: str) -> bool:
        """Whether a version came from outside, and so was never an update to decide on."""
        return any(each.event == "imported" and each.version == version for each in self.events)

    def active_before(self) -> list[str]:
        """The versions that were active before the active one, the last first, without those taken back since."""
        stack: list[str] = []
        for each in self.events:
            if each.event in ("imported", "accepted"):
                stack.append(each.version)
            elif each.event == "rolled back":
                while len(stack) > 1 and stack[-1] != each.version:
                    stack.pop()
        return [name for name in reversed(stack[:-1]) if name != self.active]

    def names(self) -> set[str]:
        """Of all versions that anything ever happened to."""
        return {each.version for each in self.events}

    def with_event(self, event: Happening, version: str, active: str | None = None, **more: Any) -> StoreIndex:
        """The index after one more event, with `active` moved where it is given."""
        happened = Event(date=now(), event=event, version=version, **more)
        return self.model_copy(update={"events": (*self.events, happened), "active": active or self.active})

    def as_json(self) -> str:
        """As it is written."""
        return json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"


def now() -> str:
    """Date and time to the second, with the zone."""
    return datetime.datetime.now().astimezone().isoformat(timespec="seconds")


def is_store(folder: str | Path) -> bool:
    """Whether a folder holds the index of a store, sound or not."""
    return (Path(folder) / INDEX).is_file()


def refuse_version(folder: Path) -> None:
    """Keep what writes models away from the versions in a store.

    Raises:
        UserError: the folder is one.
    """
    place = folder.resolve()
    if place.name.isdecimal() and place.parent.name == VERSIONS and is_store(place.parent.parent):
        raise UserError(
            f"{folder} is version {place.name} of the store {place.parent.parent}, and versions never change; write to "
            "another folder, or to a copy of this one."
        )


def read_index(folder: str | Path) -> StoreIndex:
    """Read the index of the store in a folder.

    Raises:
        UserError: it is no store, its index is damaged, or a newer version of CFSegmenter wrote it.
    """
    try:
        said = json.loads((Path(folder) / INDEX).read_text(encoding="utf-8"))
        if isinstance(said, dict) and isinstance(said.get("format"), int) and said["format"] > FORMAT:
            raise UserError(
                f"The store {folder} was written by a newer version of CFSegmenter (format {said['format']}; this one "
                f"reads up to {FORMAT}); update CFSegmenter."
            )
        return StoreIndex.model_validate(said)
    except OSError as error:
        raise UserError(
            f"{folder} is not a store of models: its {INDEX} cannot be read ({plain_reason(error)}); name the folder "
            "that an update was written to."
        ) from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(_damaged(folder, "it is not valid JSON")) from error
    except ValidationError as error:
        raise UserError(_damaged(folder, first_complaint(error))) from error


def _damaged(folder: str | Path, why: str) -> str:
    return (
        f"The index of the store {folder} is damaged ({why}); its versions are untouched: bring {INDEX} back from a "
        "backup, or begin a new store with one of the folders in versions."
    )
