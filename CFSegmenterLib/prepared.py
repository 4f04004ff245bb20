"""Prepared cases: images on the model's grid, in the network's numbers, kept on disk and read by the patch.

Of a case, memory holds little more than its number, and a file is open only while a patch is cut from it, so a cohort
of ten thousand volumes can be trained on like one of ten. The files are plain arrays under numbers; a file name of a
patient's never gets here.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch.utils.data import DataLoader, Dataset

from .cases import Case
from .errors import UserError, plain_reason
from .grid import ModelGrid
from .memory import memory_for
from .progress import Progress, advance, silent
from .protocols import Protocol
from .structures import Vocabulary
from .volume import Volume

FORMAT = 3
"""Of the files; those of another are not looked at."""

VOXELS_REMEMBERED = 2000
"""Voxels of each structure that a patch may be centred on; more would only cost disk."""

WORTH_A_PROCESS = 4
"""Cases that another process prepares in less time than it needs to start."""

BYTES_A_VOXEL, BYTES_A_PROCESS = 20, 500_000_000
"""Memory that preparing takes at its peak, for a voxel of the image, and for the process by itself."""

LEFT_SECONDS = 3600.0
"""A part of a file that nobody wrote to for so long was left by a process that was killed."""


@dataclass(frozen=True)
class PreparedCase:
    """A case on the model's grid, in files that are opened when they are asked for.

    Attributes:
        stem: path of the files, without what tells them apart.
        darkest: what the image is filled up with outside.
        rows: structure -> the part of the remembered voxels that are its own, as first row and the row after the last.
    """

    stem: Path
    darkest: float
    rows: Mapping[str, tuple[int, int]]

    @classmethod
    def write(
        cls, stem: Path, image: np.ndarray, labels: np.ndarray, centers: Mapping[str, np.ndarray]
    ) -> PreparedCase:
        """Write a case's files.

        Args:
            image: (X, Y, Z) float16.
            labels: (X, Y, Z) uint16.
            centers: structure -> (n, 3) voxels of it.

        Raises:
            UserError: there is no room for them, or the folder cannot be written to.
        """
        voxels = np.concatenate([np.zeros((0, 3), np.int32), *(v.astype(np.int32) for v in centers.values())])
        ends = np.cumsum([len(v) for v in centers.values()]).tolist()
        rows = {name: (end - len(v), end) for (name, v), end in zip(centers.items(), ends, strict=True)}
        # Every fourth voxel tells it well enough.
        index = json.dumps({"darkest": float(image[::4, ::4, ::4].min()), "rows": rows})
        try:
            stem.parent.mkdir(parents=True, exist_ok=True)
            # The index is written last and renamed into place: it says that the arrays are whole.
            for kind, array in (("image", image), ("labels", labels), ("voxels", voxels)):
                with _whole(Path(f"{stem}-{kind}.npy")) as part:
                    np.save(part, np.ascontiguousarray(array))
            with _whole(stem.with_suffix(".json")) as part:
                part.write_text(index)
        except OSError as error:
            reason = plain_reason(error) if error.errno else "there is no room"  # NumPy only says how much it wrote
            raise UserError(
                f"A prepared case cannot be written to {stem.parent} ({reason}): free some space, or train in a folder "
                "that you may write to."
            ) from error
        return cls.read(stem)

    @classmethod
    def read(cls, stem: Path) -> PreparedCase:
        """What `write` wrote under `stem`."""
        index = json.loads(stem.with_suffix(".json").read_text())
        return cls(stem, index["darkest"], {name: tuple(rows) for name, rows in index["rows"].items()})

    @property
    def image(self) -> np.ndarray:
        """(X, Y, Z) float16, memory-mapped."""
        return self._mapped("image")

    @property
    def labels(self) -> np.ndarray:
        """(X, Y, Z) uint16 index of the prototype, 0 where nothing is drawn, memory-mapped."""
        return self._mapped("labels")

    def centers(self, structure: str | None) -> np.ndarray:
        """(n, 3) voxels of a structure, memory-mapped; n is 0 where it has none."""
        first, end = self.rows.get(structure, (0, 0))
        return self._mapped("voxels")[first:end]

    def _mapped(self, kind: str) -> np.ndarray:
        return np.load(f"{self.stem}-{kind}.npy", mmap_mode="r", allow_pickle=False)


class CaseCache:
    """A CaseCache prepares each case once."""

    def __init__(self, folder: Path, names: Sequence[str], vocabulary: Vocabulary | None = None):
        """`names`: of the prototypes, background first; label values become indices into it."""
        self.folder = Path(folder)
        self.names = tuple(names)
        self.vocabulary = vocabulary or Vocabulary.load()

    def prepare(
        self,
        cases: Sequence[Case],
        protocols: Sequence[Protocol],
        progress: Progress = silent,
        processes: int = 0,
        memory: float = math.inf,
    ) -> list[PreparedCase]:
        """Prepare all cases, each with the protocol at its index.

        Args:
            processes: that may help; they are started only where there is enough to do.
            memory: bytes that they may take together.

        Raises:
            UserError: an image or label map cannot be used, or there is no room for what is prepared.
            Cancelled: as `progress` asked.
        """
        self._sweep()
        stems = [self._stem(case, protocol) for case, protocol in zip(cases, protocols, strict=True)]
        work = zip(stems, cases, protocols, strict=True)
        # By stem: two sources may list the same case.
        left = {stem: (stem, *how) for stem, *how in work if not stem.with_suffix(".json").exists()}
        outcomes, had = self._outcomes(list(left.values()), processes, memory), len(stems) - len(left)
        for number in range(had, len(stems)):
            advance(progress, number, len(stems), f"preparing case {number + 1} of {len(stems)}")
            failure = next(outcomes)
            if failure is not None:
                raise failure
        return [PreparedCase.read(stem) for stem in stems]

    def write(self, stem: Path, case: Case, protocol: Protocol) -> None:
        """Prepare one case.

        Raises:
            UserError: its image or label map cannot be used, or there is no room or too little memory.
        """
        with memory_for(f"to prepare {case.image}"):
            volume, labels = load_case(case)
            grid = ModelGrid.fit(volume.shape, volume.affine, protocol.spacing)
            image = grid.to_model(protocol.intensity.apply(volume.array)).astype(np.float16)
            indexed = np.zeros(labels.shape, dtype=np.uint16)
            for value, index in self._indices(case).items():
                indexed[labels == value] = index
            on_grid = grid.labels_to_model(indexed)
            PreparedCase.write(stem, image, on_grid, self._centers(on_grid))

    def _outcomes(
        self, left: Sequence[tuple[Path, Case, Protocol]], processes: int, memory: float
    ) -> Iterator[Exception | None]:
        """Prepare what is left, one after another as far as can be seen: None for each, or why it could not be."""
        helping = min(processes, len(left) // WORTH_A_PROCESS)
        if helping > 1:
            helping = int(min(helping, memory / max(_memory_for(case, how) for _, case, how in left)))
        helping = helping if helping > 1 else 0  # one would only do what this process can do itself
        yield from DataLoader(
            _Preparation(self, left),
            batch_size=None,
            num_workers=helping,
            # A forked process would inherit the locks of ITK's threads.
            multiprocessing_context="spawn" if helping else None,
        )

    def _sweep(self) -> None:
        """Remove what killed processes left; others may be at work here, on this machine or on another."""
        for part in self.folder.glob("*.part*"):
            with suppress(OSError):
                if time.time() - part.stat().st_mtime > LEFT_SECONDS:
                    part.unlink()

    def _stem(self, case: Case, protocol: Protocol) -> Path:
        """Named by a number for all that the prepared arrays depend on; the files' dates stand for their content."""
        stamp = [
            path and [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]
            for path in (case.image, case.labels)
        ]
        rule = [protocol.spacing, protocol.intensity.model_dump()]
        meaning = [sorted(self._indices(case).items()), self.names]
        said = json.dumps([FORMAT, stamp, rule, meaning])
        return self.folder / hashlib.sha256(said.encode()).hexdigest()[:24]

    def _indices(self, case: Case) -> dict[int, int]:
        """Label value -> index of the prototype.

        A structure that does not count is a piece of the one around it, where that is drawn completely: a liver has no
        hole where somebody began to draw a tumor.
        """
        counting = {*case.annotated, *case.partly}.intersection(self.names)
        known = {value: name if name in counting else self._around(name, case) for value, name in case.values.items()}
        return {value: self.names.index(name) for value, name in known.items() if name is not None}

    def _around(self, name: str, case: Case) -> str | None:
        """The innermost of a case's complete structures that a structure lies in; None where it lies in none."""
        contains = self.vocabulary.contains
        around = [whole for whole in case.annotated if whole in self.names and contains(whole, name)]
        return min(around, key=lambda each: sum(contains(each, other) for other in around), default=None)

    def _centers(self, labels: np.ndarray) -> dict[str, np.ndarray]:
        random = np.random.default_rng(0)
        centers = {}
        for index in np.unique(labels[labels > 0]):
            voxels = np.argwhere(labels == index)
            if len(voxels) > VOXELS_REMEMBERED:
                voxels = voxels[random.choice(len(voxels), VOXELS_REMEMBERED, replace=False)]
            centers[self.names[index]] = voxels
        return centers


@dataclass(frozen=True)
class _Preparation(Dataset):
    """What is left to prepare; item n prepares it, and is None or why it could not be."""

    cache: CaseCache
    left: Sequence[tuple[Path, Case, Protocol]]

    def __len__(self) -> int:
        return len(self.left)

    def __getitem__(self, number: int) -> Exception | None:
        try:
            self.cache.write(*self.left[number])
        except (UserError, OSError) as error:  # raised in another process, it would drown in tracebacks
            return error
        return None


def _memory_for(case: Case, protocol: Protocol) -> float:
    """Bytes that preparing a case takes in a process of its own, by its image's header."""
    from .planning import geometry_of

    voxels = 0.0
    with suppress(UserError):  # it will be told when its turn comes
        spacing, shape = geometry_of(case.image)
        voxels = max(np.prod(shape.astype(float)), np.prod(shape * spacing / protocol.spacing))
    return BYTES_A_PROCESS + BYTES_A_VOXEL * voxels


@contextmanager
def _whole(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` once that is done, and is removed otherwise."""
    part = path.with_name(f"{path.stem}.part{secrets.token_hex(4)}{path.suffix}")
    try:
        yield part
        os.replace(part, path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def load_case(case: Case) -> tuple[Volume, np.ndarray]:
    """Read a case's image and its label map.

    Returns:
        The volume, and (I, J, K) integer label values on its grid; all 0 where nothing is annotated.

    Raises:
        UserError: a file cannot be used, the two are not on one grid, or a label value stands for nothing.
    """
    from .files.reading import read_labels, read_volume

    with _named(case.image):
        volume = read_volume(case.image, modality=case.modality)
    if case.labels is None:
        return volume, np.zeros(volume.shape, dtype=np.uint8)
    with _named(case.labels):
        labels = read_labels(case.labels)
    if not volume.on_same_grid_as(labels):
        raise UserError(
            f"The label map {case.labels} does not lie on the grid of its image {case.image}; resample it first."
        )
    unknown = sorted(set(np.unique(labels.array).tolist()) - {0, *case.values})
    if unknown:
        raise UserError(f"{case.labels} holds the value {unknown[0]}, which its case list gives no name.")
    return volume, labels.array


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Let what is wrong with a file name it: among thousands of cases nobody would find it."""
    try:
        yield
    except UserError as error:
        raise (error if str(path) in str(error) else UserError(f"{path}: {error}")) from error
