"""What a case folder says of its cases, in the format of a case list: numbers, sources, splits, subjects."""

from __future__ import annotations

import datetime
import hashlib
import json
import secrets
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .cases import Modality, OwnStructures
from .errors import UserError, plain_reason
from .parsing import first_complaint
from .structures import Structure

FORMAT = 1
INDEX = "dataset.json"

EVERY = 4
"""One of so many cases of a source is kept aside for validation."""

Split = Literal["training", "validation"]

_ROUNDS = 100_000
"""Of the hash that a subject is known by: nobody should find a name by trying many."""


class CaseEntry(BaseModel):
    """One case, as a case list says it, and its number.

    Attributes:
        subject: "subject N", after the number of its first case.
        key: a salted hash of what the caller called the subject, to know it again; None where it was not said.
        partly: the structures of `labels` that are not `annotated`; older folders do not say, and they do not count.
        voxels: a hash of the image, to know a scan again that is added once more; older folders have none.
        split: of a case that was withdrawn; else the list that the case stands in says it.
        own_structures: code, color and region of those that the vocabulary does not know.
        added: date.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    number: int = Field(ge=1)
    image: str
    label: str
    source: str = Field(min_length=1)
    modality: Modality
    subject: str
    key: str | None = None
    voxels: str | None = None
    labels: dict[str, str] = Field(min_length=1)
    annotated: tuple[str, ...] = Field(min_length=1)
    partly: tuple[str, ...] | None = None
    own_structures: OwnStructures | None = None
    added: str
    split: Split | None = None


class CaseIndex(BaseModel):
    """A CaseIndex is a case list that knows which numbers were given, and to whom.

    Attributes:
        case_folder: version of this layout; a case list of somebody else has none.
        salt: of the subjects' hashes.
        training, validation: the cases; `withdrawn` are those that were.
    """

    model_config = ConfigDict(frozen=True, extra="allow")
    case_folder: int
    salt: str
    training: tuple[CaseEntry, ...] = ()
    validation: tuple[CaseEntry, ...] = ()
    withdrawn: tuple[CaseEntry, ...] = ()

    @classmethod
    def empty(cls) -> CaseIndex:
        """Of a folder without cases."""
        return cls(case_folder=FORMAT, salt=secrets.token_hex(16))

    def placed(self) -> Iterator[tuple[CaseEntry, Split]]:
        """Every case that was not withdrawn, with its split, by number."""
        both = [(each, "training") for each in self.training] + [(each, "validation") for each in self.validation]
        yield from sorted(both, key=lambda pair: pair[0].number)

    def own_structures(self) -> Iterator[Structure]:
        """What the cases say of structures that the vocabulary does not know, the older case first."""
        for each, _ in self.placed():
            yield from each.own_structures or ()

    def next_number(self) -> int:
        """A number that no case had before."""
        every = (*self.training, *self.validation, *self.withdrawn)
        return 1 + max((each.number for each in every), default=0)

    def key(self, subject: str) -> str:
        """What a subject is known by; what it is called cannot be read from it."""
        said = " ".join(subject.casefold().split()).encode("utf-8")
        return hashlib.pbkdf2_hmac("sha256", said, bytes.fromhex(self.salt), _ROUNDS, 16).hex()

    def subject(self, key: str | None, voxels: str) -> str | None:
        """The subject of that scan, or else of that key, where it has a case, withdrawn or not."""
        every = (*self.training, *self.validation, *self.withdrawn)
        of_scan = (each.subject for each in every if each.voxels == voxels)
        of_key = (each.subject for each in every if key is not None and each.key == key)
        return next(chain(of_scan, of_key), None)

    def split_for(self, source: str, subject: str | None, said: Split | None) -> Split:
        """The split of one more case.

        A subject stays in its split, also when its other cases were withdrawn: models may have learned from them. Else
        it is what the caller says, or validation where the source has fewer than one of `EVERY` there.

        Raises:
            UserError: the caller says another than the subject's.
        """
        bound = self._split_of(subject)
        if said is not None and bound is not None and said != bound:
            raise UserError(
                f"This scan, or another of its subject, is for {bound} already, and a subject in both would flatter "
                f"the scores; add the case without saying a split, or for {bound}."
            )
        of_source = [split for each, split in self.placed() if each.source == source]
        due = (len(of_source) + 1) // EVERY > of_source.count("validation")
        return said or bound or ("validation" if due else "training")

    def check_source(self, source: str, modality: str) -> None:
        """Keep each source to one modality, as case lists must.

        Raises:
            UserError: the source has another.
        """
        other = next((e.modality for e, _ in self.placed() if e.source == source and e.modality != modality), None)
        if other is not None:
            raise UserError(
                f"The cases of the source '{source}' are {other} images, and this one is {modality}; name another "
                "source for it."
            )

    def with_case(self, entry: CaseEntry, split: Split) -> CaseIndex:
        """The index with one case more."""
        return self.model_copy(update={split: (*getattr(self, split), entry)})

    def without_case(self, number: int, image: str, label: str) -> CaseIndex:
        """The index with a case among those withdrawn, its files elsewhere.

        Raises:
            UserError: there is no such case.
        """
        found = next(((each, split) for each, split in self.placed() if each.number == number), None)
        if found is None:
            gone = any(each.number == number for each in self.withdrawn)
            numbers = ", ".join(str(each.number) for each, _ in self.placed())
            listed = f"there are {numbers}" if numbers else "there is none"
            raise UserError(f"There is no case {number}{' any more, it was withdrawn' if gone else ''}; {listed}.")
        entry, split = found
        rest = tuple(each for each in getattr(self, split) if each.number != number)
        moved = entry.model_copy(update={"image": image, "label": label, "split": split})
        return self.model_copy(update={split: rest, "withdrawn": (*self.withdrawn, moved)})

    def as_json(self) -> str:
        """As it is written."""
        said: dict[str, Any] = self.model_dump(mode="json", exclude_none=True)
        return json.dumps(said, indent=2, ensure_ascii=False) + "\n"

    def _split_of(self, subject: str | None) -> Split | None:
        if subject is None:
            return None
        places = [*self.placed(), *((each, each.split) for each in self.withdrawn)]
        return next((split for each, split in places if each.subject == subject and split is not None), None)


def known_modality(said: str | None) -> str:
    """A modality as case lists have it: "MRI T1" is "mr-t1".

    Raises:
        UserError: nobody said one.
    """
    if not (said or "").strip():
        raise UserError("Nobody said what made the image; give its modality, as ct, mr or mr-t1.")
    return TypeAdapter(Modality).validate_python(said)


def voxels_hash(image: np.ndarray) -> str:
    """What an image (I, J, K) is known by when it is added again, drawn on further; its grid does not matter."""
    return hashlib.sha256(np.ascontiguousarray(image)).hexdigest()[:32]


def today() -> str:
    """The date, as entries have it."""
    return datetime.date.today().isoformat()


def read_case_index(folder: Path) -> CaseIndex | None:
    """The index of a case folder; None where the folder is not there, or empty but for what a dead writer left.

    Raises:
        UserError: the folder holds something else, or its index is damaged or of a newer version of CFSegmenter.
    """
    path = folder / INDEX
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        _check_empty(folder)
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(_damaged(folder, "it is not valid JSON")) from error
    except OSError as error:
        raise UserError(f"The case folder {folder} cannot be read ({plain_reason(error)}).") from error
    if not isinstance(said, dict) or "case_folder" not in said:
        raise UserError(
            f"{path} is the case list of somebody else, to which nothing is added here; name a new or an empty folder."
        )
    if isinstance(said["case_folder"], int) and said["case_folder"] > FORMAT:
        raise UserError(
            f"The case folder {folder} was written by a newer version of CFSegmenter (format {said['case_folder']}; "
            f"this one reads up to {FORMAT}); update CFSegmenter."
        )
    try:
        return CaseIndex.model_validate(said)
    except ValidationError as error:
        raise UserError(_damaged(folder, first_complaint(error))) from error


def _check_empty(folder: Path) -> None:
    try:
        foreign = folder.exists() and any(p.suffix != ".lock" and p.name[0] != "." for p in folder.iterdir())
    except OSError as error:
        raise UserError(f"{folder} cannot be a case folder ({plain_reason(error)}); name another folder.") from error
    if foreign:
        raise UserError(f"The folder {folder} is not empty and is no case folder; name a new or an empty folder.")


def _damaged(folder: Path, why: str) -> str:
    return (
        f"The index of the case folder {folder} is damaged ({why}); its images and labels are untouched: bring {INDEX} "
        "back from a backup, or add the cases to a new folder."
    )
