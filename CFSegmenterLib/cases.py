"""Cases: which images there are, what their sources annotate, and which of them may be trained on.

A case list is a Medical-Decathlon-style JSON file. What is added to that format: `modality` as a word, per case (or
for the whole source) `annotated`, the structures that were drawn completely, and `subject`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from .errors import UserError
from .structures import Vocabulary

Split = Literal["training", "validation"]


@dataclass(frozen=True)
class Case:
    """One image with its label map.

    Attributes:
        image: path of the image file.
        labels: path of the label map on the same grid.
        source: name of the source.
        modality: "ct", "mr-t1", ...
        subject: who it is, within the source; a subject is in one split only.
        split: "training" or "validation".
        values: label value -> structure, by preferred name.
        annotated: the structures that were drawn completely here; label 0 says nothing about any other.
    """

    image: Path
    labels: Path
    source: str
    modality: str
    subject: str
    split: Split
    values: dict[int, str]
    annotated: tuple[str, ...]


class _CaseEntry(BaseModel):
    model_config = ConfigDict(extra="ignore")
    image: str
    label: str
    subject: str | None = None
    annotated: list[str] | None = None


class _CaseList(BaseModel):
    model_config = ConfigDict(extra="ignore")
    name: str
    modality: str
    labels: dict[str, str]
    annotated: list[str] | None = None
    licence: str = Field(default="not stated")
    training: list[_CaseEntry] = Field(default_factory=list)
    validation: list[_CaseEntry] = Field(default_factory=list)

    @field_validator("modality", mode="before")
    @classmethod
    def _one_modality(cls, value: object) -> object:
        if isinstance(value, dict):
            if len(value) != 1:
                raise ValueError("images with several channels are not supported; list one modality")
            value = next(iter(value.values()))
        return value.strip().lower().replace(" ", "-").replace("_", "-") if isinstance(value, str) else value

    @field_validator("labels", mode="before")
    @classmethod
    def _value_to_name(cls, value: object) -> object:
        # The Decathlon writes {"1": "liver"}, its successors {"liver": 1}.
        if isinstance(value, dict) and value and all(isinstance(v, int) for v in value.values()):
            return {str(v): k for k, v in value.items()}
        return value


@dataclass(frozen=True)
class CaseList:
    """A CaseList holds the cases of one source.

    Attributes:
        source: its name.
        modality: of all its images.
        licence: as stated by the source.
        structures: by preferred name, in the order of the label values.
        cases: training and validation.
    """

    source: str
    modality: str
    licence: str
    structures: tuple[str, ...]
    cases: tuple[Case, ...]

    def of(self, split: Split) -> tuple[Case, ...]:
        """The cases of one split."""
        return tuple(case for case in self.cases if case.split == split)


def read_case_list(path: str | Path, vocabulary: Vocabulary | None = None) -> CaseList:
    """Read a case list; paths in it are relative to its folder.

    Structures that the vocabulary knows get its preferred name; any other keeps its own, in lower case.

    Raises:
        UserError: the file cannot be read, is not of the format, names a structure as annotated that has no label
            value, names files that do not exist, or puts one subject into both splits.
    """
    path = Path(path)
    vocabulary = vocabulary or Vocabulary.load()
    parsed = _parse(path)
    values = _values(path, parsed, vocabulary)
    structures = tuple(dict.fromkeys(values.values()))
    cases = []
    for split in ("training", "validation"):
        for entry in getattr(parsed, split):
            declared = entry.annotated if entry.annotated is not None else parsed.annotated
            annotated = structures if declared is None else _names(declared, vocabulary)
            unknown = [name for name in annotated if name not in structures]
            if unknown:
                raise UserError(
                    f"{path}: '{unknown[0]}' is declared as annotated but no label value stands for it; "
                    f"the labels are {', '.join(structures)}."
                )
            image, labels = path.parent / entry.image, path.parent / entry.label
            for file in (image, labels):
                if not file.exists():
                    raise UserError(f"{path} lists {file}, which does not exist; correct the list or its folder.")
            subject = entry.subject or entry.image
            cases.append(
                Case(image, labels, parsed.name, parsed.modality, subject, split, values, tuple(annotated))
            )
    _check_splits(path, cases)
    return CaseList(parsed.name, parsed.modality, parsed.licence, structures, tuple(cases))


def read_case_lists(paths: Iterable[str | Path], vocabulary: Vocabulary | None = None) -> tuple[CaseList, ...]:
    """Read several case lists; every source must have a name of its own.

    Raises:
        UserError: as `read_case_list`, or two lists share a source's name.
    """
    lists = tuple(read_case_list(path, vocabulary) for path in paths)
    names = [each.source for each in lists]
    for name in names:
        if names.count(name) > 1:
            raise UserError(f"Two case lists are called '{name}'; give each source a name of its own.")
    if not lists:
        raise UserError("There is no case list; name at least one.")
    return lists


def structures_of(lists: Sequence[CaseList]) -> tuple[str, ...]:
    """All structures of several sources, in the order of arrival."""
    return tuple(dict.fromkeys(name for each in lists for name in each.structures))


def _parse(path: Path) -> _CaseList:
    try:
        return _CaseList.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"The case list {path} cannot be read: {error.strerror}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The case list {path} is not valid JSON: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        raise UserError(f"The case list {path} is not as expected at '{where}': {first['msg']}.") from error


def _values(path: Path, parsed: _CaseList, vocabulary: Vocabulary) -> dict[int, str]:
    values: dict[int, str] = {}
    for value, name in parsed.labels.items():
        if not value.isdigit():
            raise UserError(f"{path}: the label value '{value}' is not a whole number.")
        if int(value) != 0 and name.strip().lower() != "background":
            values[int(value)] = _names([name], vocabulary)[0]
    if not values:
        raise UserError(f"{path} lists no structure under 'labels'.")
    return dict(sorted(values.items()))


def _names(names: Iterable[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    known = ((vocabulary.get(name), name) for name in names)
    return tuple(found.name if found else " ".join(name.lower().split()) for found, name in known)


def _check_splits(path: Path, cases: Sequence[Case]) -> None:
    training = {case.subject for case in cases if case.split == "training"}
    leaked = sorted({case.subject for case in cases if case.split == "validation"} & training)
    if leaked:
        raise UserError(
            f"{path}: {len(leaked)} subject(s) stand in training and in validation, which would flatter the scores; "
            "move each subject to one of them."
        )
