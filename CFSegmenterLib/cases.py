"""Cases: which images there are, what their sources annotate, and which of them may be trained on.

A case list is a Medical-Decathlon-style JSON file: `name`, `modality`, `labels`, and lists of {`image`, `label`} under
`training`, `validation` and `test`; an image whose `label` is null has no annotations. What is added to that format:
`annotated`, the structures that were drawn completely, for the whole file or for a case; `partly`, those of which what
is drawn counts although more of them may be there, likewise; `own_structures`, code, color and region of those that the
vocabulary does not know (see there), likewise; `subject`; and `source`, `modality` and `labels` of a case, so that one
file can list several sources.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    InstanceOf,
    PlainSerializer,
    ValidationError,
    field_validator,
)

from .errors import UserError
from .own_structures import agreed, entry_of, own_structure
from .parsing import first_complaint
from .structures import Structure, Vocabulary
from .volume import plain_modality

Split = Literal["training", "validation", "test"]
SPLITS: tuple[Split, ...] = ("training", "validation", "test")


@dataclass(frozen=True)
class Case:
    """One image, with its label map where anything is annotated.

    Attributes:
        image: path of the image file.
        labels: path of the label map on the same grid; None where nothing is annotated.
        source: name of the source.
        modality: "ct", "mr-t1", ...
        subject: who it is, within the source; a subject is in one split only.
        split: "training", "validation" or "test".
        values: label value -> structure, by preferred name.
        annotated: the structures that were drawn completely here; label 0 says nothing about any other.
        own_structures: what is said of those of `values` that the vocabulary does not know.
        partly: the structures of which a part was drawn; voxels of any other of `values` are not looked at.
    """

    image: Path
    labels: Path | None
    source: str
    modality: str
    subject: str
    split: Split
    values: dict[int, str]
    annotated: tuple[str, ...]
    own_structures: tuple[Structure, ...] = ()
    partly: tuple[str, ...] = ()


def _one_modality(value: object) -> object:
    if isinstance(value, dict):
        if len(value) != 1:
            raise ValueError("images with several channels are not supported; list one modality")
        value = next(iter(value.values()))
    if not isinstance(value, str):
        return value
    return plain_modality(value)


def _value_to_name(value: object) -> object:
    # The Decathlon writes {"1": "liver"}, its successors {"liver": 1}.
    if isinstance(value, dict) and value and all(isinstance(v, int) for v in value.values()):
        twice = next((v for v in value.values() if list(value.values()).count(v) > 1), None)
        if twice is not None:
            raise ValueError(f"the value {twice} stands for two structures")
        return {str(v): k for k, v in value.items()}
    return value


def _own_structures(value: object) -> object:
    if not isinstance(value, list | tuple):
        raise ValueError("it must be a list of structures")
    return tuple(each if isinstance(each, Structure) else own_structure(each) for each in value)


Modality = Annotated[str, BeforeValidator(_one_modality)]
Labels = Annotated[dict[str, str], BeforeValidator(_value_to_name)]
OwnStructures = Annotated[
    tuple[InstanceOf[Structure], ...],
    BeforeValidator(_own_structures),
    PlainSerializer(lambda said: [entry_of(each) for each in said]),
]
"""Structures in memory, entries of `own_structures` in a file."""


class _CaseEntry(BaseModel):
    model_config = ConfigDict(extra="ignore")
    image: str
    label: str | None
    subject: str | None = None
    source: str | None = None
    modality: Modality | None = None
    labels: Labels | None = None
    annotated: list[str] | None = None
    partly: list[str] | None = None
    own_structures: OwnStructures = ()


class _CaseFile(BaseModel):
    model_config = ConfigDict(extra="ignore")
    name: str | None = None
    modality: Modality | None = None
    labels: Labels | None = None
    annotated: list[str] | None = None
    partly: list[str] | None = None
    own_structures: OwnStructures = ()
    licence: str = Field(default="not stated")
    salt: str | None = None
    training: list[_CaseEntry] = Field(default_factory=list)
    validation: list[_CaseEntry] = Field(default_factory=list)
    test: list[_CaseEntry] = Field(default_factory=list)

    @field_validator("test", mode="before")
    @classmethod
    def _with_labels(cls, value: object) -> object:
        # The Decathlon lists its test images by name alone: there is nothing to compare an answer with.
        return [e for e in value if not isinstance(e, str)] if isinstance(value, list) else value


@dataclass(frozen=True)
class CaseList:
    """A CaseList holds the cases of one source.

    Attributes:
        source: its name.
        modality: of all its images.
        licence: as stated by the source.
        structures: by preferred name, in the order of the label values.
        cases: of all splits.
    """

    source: str
    modality: str
    licence: str
    structures: tuple[str, ...]
    cases: tuple[Case, ...]

    def of(self, split: Split) -> tuple[Case, ...]:
        """The cases of one split."""
        return tuple(case for case in self.cases if case.split == split)


def read_case_lists(paths: Iterable[str | Path], vocabulary: Vocabulary | None = None) -> tuple[CaseList, ...]:
    """Read case lists; paths in them are relative to their own folder.

    Structures that the vocabulary knows get its preferred name; any other keeps its own, in lower case. Case folders
    name their sources by themselves, so two folders may have one name; their cases are one source then.

    Returns:
        One CaseList a source, in the order of arrival.

    Raises:
        UserError: a file cannot be read or is not of the format, says neither for itself nor for a case what source,
            modality or labels it has, says something of a structure that has no label value, names files that do
            not exist, or puts one subject into two splits; two files speak of one source and are no case folders, or
            copies of one.
    """
    vocabulary = vocabulary or Vocabulary.load()
    cases: dict[str, list[Case]] = {}
    homes: dict[str, dict[Path, _CaseFile]] = {}
    for path in dict.fromkeys(map(Path, paths)):
        parsed = _parse(path)
        read = _read(path, parsed, vocabulary)
        for source in dict.fromkeys(case.source for case in read):
            home = homes.setdefault(source, {})
            _check_home(source, home, path, parsed)
            home[path] = parsed
            cases.setdefault(source, []).extend(case for case in read if case.source == source)
    if not cases:
        raise UserError("There is no case to work on; name a case list that holds at least one.")
    return tuple(_grouped(homes[source], source, group) for source, group in cases.items())


def structures_of(lists: Sequence[CaseList]) -> tuple[str, ...]:
    """All structures of several sources, in the order of arrival."""
    return tuple(dict.fromkeys(name for each in lists for name in each.structures))


def _check_home(source: str, home: Mapping[Path, _CaseFile], path: Path, parsed: _CaseFile) -> None:
    """Check that a further file may speak of a source: every case folder has a salt, and its copies have the same."""
    for other, said in home.items():
        if said.salt is None or parsed.salt is None:
            raise UserError(
                f"The source '{source}' stands in {other} and in {path}; give each source a name of its own, or list "
                "it in one file."
            )
        if said.salt == parsed.salt:
            raise UserError(f"{path} is a copy of {other}, or the other way round; name one of the two.")


def _read(path: Path, parsed: _CaseFile, vocabulary: Vocabulary) -> list[Case]:
    cases = [_case(path, parsed, entry, split, vocabulary) for split in SPLITS for entry in getattr(parsed, split)]
    _own(path, parsed.own_structures, [name for case in cases for name in case.values.values()], vocabulary)
    for source in {case.source for case in cases}:
        _check_splits(path, [case for case in cases if case.source == source])
    return cases


def _parse(path: Path) -> _CaseFile:
    try:
        return _CaseFile.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"The case list {path} cannot be read: {error.strerror}.") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"The case list {path} is not valid JSON: {error}.") from error
    except ValidationError as error:
        raise UserError(f"The case list {path} is not as expected {first_complaint(error)}.") from error


def _case(path: Path, parsed: _CaseFile, entry: _CaseEntry, split: Split, vocabulary: Vocabulary) -> Case:
    """One case; what its entry does not say, the file says for all."""
    source, modality = entry.source or parsed.name, entry.modality or parsed.modality
    labels = entry.labels or parsed.labels
    missing = next((k for k, v in (("name", source), ("modality", modality), ("labels", labels)) if not v), None)
    if missing:
        raise UserError(f"The case list {path} does not say '{missing}', neither for itself nor for every case.")
    values = _values(path, labels, vocabulary)
    structures = tuple(dict.fromkeys(values.values()))
    declared = entry.annotated if entry.annotated is not None else parsed.annotated
    annotated = structures if declared is None else _names(declared, vocabulary)
    begun = _names(entry.partly if entry.partly is not None else parsed.partly or (), vocabulary)
    for said, names in (("annotated", annotated), ("drawn partly", begun)):
        unknown = next((name for name in names if name not in structures), None)
        if unknown is not None:
            raise UserError(
                f"{path}: '{unknown}' is declared as {said} but no label value stands for it; "
                f"the labels are {', '.join(structures)}."
            )
    partly = tuple(name for name in begun if name not in annotated)
    of_file = [each for each in parsed.own_structures if each.name in structures]
    own = _own(path, (*entry.own_structures, *of_file), structures, vocabulary)
    image = path.parent / entry.image
    label_map = None if entry.label is None else path.parent / entry.label
    if label_map is None:
        annotated = partly = ()
    for file in (image, label_map):
        if file is not None and not file.exists():
            raise UserError(f"{path} lists {file}, which does not exist; correct the list or its folder.")
    subject = entry.subject or entry.image
    return Case(image, label_map, source, modality, subject, split, values, annotated, own, partly)


def _own(
    path: Path, said: Iterable[Structure], labelled: Sequence[str], vocabulary: Vocabulary
) -> tuple[Structure, ...]:
    """What is said of names that the vocabulary does not know, of each name once."""
    own, _ = agreed(each for each in said if each.name not in vocabulary)
    stranger = next((each.name for each in own if each.name not in labelled), None)
    if stranger is not None:
        raise UserError(
            f"{path}: 'own_structures' speaks of '{stranger}' but no label value stands for it; the labels are "
            f"{', '.join(dict.fromkeys(labelled))}."
        )
    return own


def _values(path: Path, labels: Mapping[str, str], vocabulary: Vocabulary) -> dict[int, str]:
    values: dict[int, str] = {}
    for value, name in labels.items():
        if not value.isdecimal():
            raise UserError(f"{path}: the label value '{value}' is not a whole number of 0 or more.")
        if not name.strip():
            raise UserError(f"{path}: the label value {value} has no name; name the structure that it stands for.")
        if int(value) != 0 and name.strip().lower() != "background":
            values[int(value)] = _names([name], vocabulary)[0]
    if not values:
        raise UserError(f"{path} lists no structure under 'labels'.")
    return dict(sorted(values.items()))


def _names(names: Iterable[str], vocabulary: Vocabulary) -> tuple[str, ...]:
    known = ((vocabulary.get(name), name) for name in names)
    return tuple(dict.fromkeys(found.name if found else " ".join(name.lower().split()) for found, name in known))


def _grouped(home: Mapping[Path, _CaseFile], source: str, cases: Sequence[Case]) -> CaseList:
    modalities = dict.fromkeys(case.modality for case in cases)
    if len(modalities) > 1:
        raise UserError(
            f"{' and '.join(map(str, home))}: the source '{source}' has images of {', '.join(modalities)}; "
            "make it a source for each modality."
        )
    structures = tuple(dict.fromkeys(name for case in cases for name in case.values.values()))
    licence = " and ".join(dict.fromkeys(file.licence for file in home.values()))
    return CaseList(source, cases[0].modality, licence, structures, tuple(cases))


def _check_splits(path: Path, cases: Sequence[Case]) -> None:
    splits: dict[str, set[str]] = {}
    for case in cases:
        splits.setdefault(case.subject, set()).add(case.split)
    leaked = sum(len(found) > 1 for found in splits.values())
    if leaked:
        raise UserError(
            f"{path}: {leaked} subject(s) stand in more than one of {', '.join(SPLITS)}, which would flatter the "
            "scores; move each subject to one of them."
        )
