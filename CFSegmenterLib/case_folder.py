"""Annotated cases in a folder of the user's choosing, so that what was drawn outlives the scene it was drawn in.

    FOLDER/dataset.json            a case list, as `read_case_lists` reads it
    FOLDER/images/0001.nii.gz      and labels/0001.nii.gz, on the same grid
    FOLDER/withdrawn/              what was taken back, in case that was a mistake

Files have numbers; what a patient or a file was called never gets here.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .case_index import INDEX, CaseEntry, CaseIndex, Split, known_modality, read_case_index, today, voxels_hash
from .case_labels import CaseLabels
from .errors import UserError, plain_reason
from .files.durable import flush_file, flush_names
from .files.nifti import write_labels_nifti, write_volume_nifti
from .files.writing import write_atomically
from .locking import locked
from .own_structures import agreed, own_structure
from .structures import Vocabulary
from .volume import Volume, check_volume

LOCK = "cases.lock"
IMAGES, LABELS, WITHDRAWN = "images", "labels", "withdrawn"

_LEFT_BEHIND = re.compile(r"\.[0-9]+\.part|\.[0-9a-f]{8}-dataset\.json")


@dataclass(frozen=True)
class AddedCase:
    """What a case became.

    Attributes:
        number: of its files.
        split: "training" or "validation", which it stays.
        passed_over: a sentence for each code that contradicts an older case's of the same name.
    """

    number: int
    split: Split
    passed_over: tuple[str, ...] = ()


@dataclass(frozen=True)
class FolderCase:
    """A case in the folder.

    Attributes:
        number: of its files.
        subject: "subject N"; cases of one subject are in one split.
        structures: that its labels have values for.
        annotated: those of them that are drawn completely.
    """

    number: int
    source: str
    modality: str
    split: Split
    subject: str
    structures: tuple[str, ...]
    annotated: tuple[str, ...]


class CaseFolder:
    """A CaseFolder takes cases in, whole or not at all, and gives none away.

    cases = CaseFolder.open("cases")
    cases.add(volume, labels, {1: "liver", 2: "gallbladder"}, annotated=["gallbladder"])
    read_case_lists([cases.list_file])
    """

    def __init__(self, folder: str | Path):
        """`open` checks what this does not."""
        self.folder = Path(folder)

    @classmethod
    def open(cls, folder: str | Path) -> CaseFolder:
        """The case folder at a path; one that is empty or not there becomes one with its first case.

        Raises:
            UserError: the folder holds something else, or its index is damaged or of a newer version of CFSegmenter.
        """
        read_case_index(Path(folder))
        return cls(folder)

    @property
    def list_file(self) -> Path:
        """The case list."""
        return self.folder / INDEX

    @property
    def cases(self) -> tuple[FolderCase, ...]:
        """All cases but those withdrawn, by number."""
        index = read_case_index(self.folder)
        return tuple(_row(entry, split) for entry, split in index.placed()) if index else ()

    def add(
        self,
        volume: Volume,
        labels: np.ndarray,
        values: Mapping[int, str],
        annotated: Iterable[str],
        *,
        own_structures: Iterable[Mapping[str, Any]] = (),
        source: str | None = None,
        split: Split | None = None,
        subject: str | None = None,
        vocabulary: Vocabulary | None = None,
    ) -> AddedCase:
        """Copy an annotated volume into the folder.

        Args:
            volume: its modality says what made it.
            labels: (I, J, K) whole numbers on the volume's grid, 0 where nothing is drawn.
            values: label value -> structure, by any of its names, for every value but 0.
            annotated: those that are drawn completely: where they are not drawn, they are not. Of the others, what is
                drawn counts.
            own_structures: entries (see the file of that name) for structures that the vocabulary does not know; of
                what the folder's cases say of a name already, nothing changes.
            source: of cases that belong together, of one modality; None makes it "ct cases" after the modality.
            split: None keeps every fourth case of a source for validation, and a subject in its split.
            subject: whoever it is, to know the subject again; what is kept is a hash that nobody can read. A scan that
                is added again is of the subject that it was of, whatever is said.

        Raises:
            UserError: volume and labels do not fit together, a name is missing or unknown, or the folder cannot be
                written to; nothing was added.
        """
        volume = check_volume(volume)
        modality = known_modality(volume.modality)
        if split not in (None, "training", "validation"):
            raise UserError(f"A case is for training or validation, not for '{split}'; say one of the two, or none.")
        vocabulary = vocabulary or Vocabulary.load()
        drawn = CaseLabels.checked(labels, volume.shape, values, annotated, vocabulary)
        said = [each for each in map(own_structure, own_structures) if each.name not in vocabulary]
        with self._writing() as index:
            number = index.next_number()
            key = index.key(subject) if subject is not None and subject.strip() else None
            voxels = voxels_hash(volume.array)
            known = index.subject(key, voxels)
            own, passed_over = agreed((*index.own_structures(), *said))
            here = {each.name for each in said} & set(drawn.values.values())
            entry = CaseEntry(
                number=number,
                image=f"{IMAGES}/{number:04d}.nii.gz",
                label=f"{LABELS}/{number:04d}.nii.gz",
                source=" ".join((source or "").split()) or f"{modality} cases",
                modality=modality,
                subject=known or f"subject {number}",
                key=key,
                voxels=voxels,
                labels={str(value): name for value, name in drawn.values.items()},
                annotated=drawn.annotated,
                partly=drawn.partly or None,
                own_structures=tuple(each for each in own if each.name in here) or None,
                added=today(),
            )
            index.check_source(entry.source, entry.modality)
            chosen = index.split_for(entry.source, known, split)
            self._put(entry, volume, drawn.array, index.with_case(entry, chosen))
        return AddedCase(number, chosen, tuple(f"{each[0].upper()}{each[1:]}." for each in passed_over))

    def withdraw(self, number: int) -> None:
        """Take a case back; its files move to `withdrawn`, and its number is not given again.

        Raises:
            UserError: there is no such case, or the folder cannot be written to.
        """
        if read_case_index(self.folder) is None:
            raise UserError(f"{self.folder} holds no cases; name the folder that they were added to.")
        stem = f"{WITHDRAWN}/{number:04d}"
        with self._writing() as index:
            new = index.without_case(number, f"{stem}-image.nii.gz", f"{stem}-labels.nii.gz")
            with write_atomically(self.list_file) as written:
                written.write_text(new.as_json(), encoding="utf-8")
            self._set_aside(new)

    @contextmanager
    def _writing(self) -> Iterator[CaseIndex]:
        """Hold the lock, and what the index says under it; whatever a dead writer left is finished or swept."""
        read_case_index(self.folder)  # no lock file is left in a folder that is somebody else's
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(self._cannot_write(error)) from error
        with locked(self.folder / LOCK, f"The case folder {self.folder}"):
            self._sweep()
            index = read_case_index(self.folder)
            try:
                if index is None:
                    index = CaseIndex.empty()
                    with write_atomically(self.list_file) as written:
                        written.write_text(index.as_json(), encoding="utf-8")
                self._set_aside(index)
                yield index
            except OSError as error:
                raise UserError(self._cannot_write(error)) from error

    def _sweep(self) -> None:
        """Remove what writers that died left behind; nobody else writes now."""
        with suppress(OSError):
            for path in self.folder.iterdir():
                if _LEFT_BEHIND.fullmatch(path.name):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _set_aside(self, index: CaseIndex) -> None:
        """Move the files of withdrawn cases to where the index has them, those of a writer that died included."""
        for entry in index.withdrawn:
            name = f"{entry.number:04d}.nii.gz"
            for old, new in ((f"{IMAGES}/{name}", entry.image), (f"{LABELS}/{name}", entry.label)):
                if (self.folder / old).exists():
                    (self.folder / WITHDRAWN).mkdir(exist_ok=True)
                    os.replace(self.folder / old, self.folder / new)

    def _put(self, entry: CaseEntry, volume: Volume, labels: np.ndarray, index: CaseIndex) -> None:
        """Write a case beside the others, then give its files their names, then its entry its place in the index."""
        part = self.folder / f".{entry.number:04d}.part"
        files = {part / "image.nii.gz": self.folder / entry.image, part / "labels.nii.gz": self.folder / entry.label}
        try:
            for folder in (part, self.folder / IMAGES, self.folder / LABELS):
                folder.mkdir(exist_ok=True)
            image_part, labels_part = files
            write_volume_nifti(image_part, volume.array, volume.affine)
            write_labels_nifti(labels_part, labels, volume.affine)
            with write_atomically(self.list_file) as written:
                written.write_text(index.as_json(), encoding="utf-8")
                flush_file(written)
                for new, place in files.items():
                    os.replace(new, place)
        except BaseException:
            if entry.number not in {case.number for case in self.cases}:
                # Without an entry the files would lie there unknown, until the next case took their number.
                for place in files.values():
                    with suppress(OSError):
                        place.unlink()
            raise
        finally:
            shutil.rmtree(part, ignore_errors=True)
        for folder in (self.folder / IMAGES, self.folder / LABELS, self.folder):
            flush_names(folder)

    def _cannot_write(self, error: OSError) -> str:
        return (
            f"The case folder {self.folder} cannot be written to ({plain_reason(error)}), and is as it was; free some "
            "space, or choose a folder that you may write to."
        )


def _row(entry: CaseEntry, split: Split) -> FolderCase:
    return FolderCase(
        number=entry.number,
        source=entry.source,
        modality=entry.modality,
        split=split,
        subject=entry.subject,
        structures=tuple(dict.fromkeys(entry.labels.values())),
        annotated=entry.annotated,
    )
