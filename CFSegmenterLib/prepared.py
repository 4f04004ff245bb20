"""Prepared cases: images on the model's grid, in the network's numbers, kept on disk and read by the patch.

Nothing is held in memory but where each structure lies, so a cohort of ten thousand volumes needs no more memory than
one of ten. The files are plain arrays under numbers; a file name of a patient's never gets here.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .cases import Case
from .errors import UserError
from .grid import ModelGrid
from .progress import Progress, advance, silent
from .protocols import Protocol
from .volume import Volume

VOXELS_REMEMBERED = 2000
"""Voxels of each structure that a patch may be centred on; more would only cost disk."""


@dataclass(frozen=True)
class PreparedCase:
    """A case on the model's grid.

    Attributes:
        image: (X, Y, Z) float16, memory-mapped.
        labels: (X, Y, Z) uint16 index of the prototype, 0 where nothing is drawn, memory-mapped.
        centers: structure -> (n, 3) voxels of it.
    """

    image: np.ndarray
    labels: np.ndarray
    centers: dict[str, np.ndarray]

    def __reduce__(self):
        """Give another process the files to map, not a copy of what is in them."""
        return _mapped, (str(self.image.filename), str(self.labels.filename), self.centers)


class CaseCache:
    """A CaseCache prepares each case once and gives it back as memory-mapped arrays."""

    def __init__(self, folder: Path, names: Sequence[str]):
        """`names`: of the prototypes, background first; label values become indices into it."""
        self.folder = Path(folder)
        self.names = tuple(names)

    def prepare(
        self, cases: Sequence[Case], protocols: Sequence[Protocol], progress: Progress = silent
    ) -> list[PreparedCase]:
        """Prepare all cases, each with the protocol at its index.

        Raises:
            UserError: an image or label map cannot be used.
            Cancelled: as `progress` asked.
        """
        prepared = []
        for done, (case, protocol) in enumerate(zip(cases, protocols, strict=True)):
            advance(progress, done, len(cases), f"preparing case {done + 1} of {len(cases)}")
            prepared.append(self._one(case, protocol))
        return prepared

    def _one(self, case: Case, protocol: Protocol) -> PreparedCase:
        stem = self.folder / self._key(case, protocol)
        if not stem.with_suffix(".json").exists():
            self._write(stem, case, protocol)
        centers = {
            name: np.array(voxels, dtype=np.int32).reshape(-1, 3)
            for name, voxels in json.loads(stem.with_suffix(".json").read_text()).items()
        }
        return _mapped(f"{stem}-image.npy", f"{stem}-labels.npy", centers)

    def _key(self, case: Case, protocol: Protocol) -> str:
        """A number for all that the prepared arrays depend on; the files' dates stand for their content."""
        stamp = [
            path and [str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns]
            for path in (case.image, case.labels)
        ]
        rule = [protocol.spacing, protocol.intensity.model_dump()]
        said = json.dumps([stamp, rule, sorted(case.values.items()), sorted(case.annotated), self.names])
        return hashlib.sha256(said.encode()).hexdigest()[:24]

    def _write(self, stem: Path, case: Case, protocol: Protocol) -> None:
        volume, labels = load_case(case)
        grid = ModelGrid.fit(volume.shape, volume.affine, protocol.spacing)
        image = grid.to_model(protocol.intensity.apply(volume.array)).astype(np.float16)
        indexed = np.zeros(labels.shape, dtype=np.uint16)
        for value, name in case.values.items():
            if name in case.annotated:
                indexed[labels == value] = self.names.index(name)
        on_grid = grid.labels_to_model(indexed)
        self.folder.mkdir(parents=True, exist_ok=True)
        # The index is written last and renamed into place: it says that the arrays are whole.
        for kind, array in (("image", image), ("labels", on_grid)):
            part = Path(f"{stem}-{kind}.part{os.getpid()}.npy")
            np.save(part, np.ascontiguousarray(array))
            os.replace(part, f"{stem}-{kind}.npy")
        part = stem.with_suffix(f".part{os.getpid()}")
        part.write_text(json.dumps({name: voxels.tolist() for name, voxels in self._centers(on_grid).items()}))
        os.replace(part, stem.with_suffix(".json"))

    def _centers(self, labels: np.ndarray) -> dict[str, np.ndarray]:
        random = np.random.default_rng(0)
        centers = {}
        for index in np.unique(labels[labels > 0]):
            voxels = np.argwhere(labels == index)
            if len(voxels) > VOXELS_REMEMBERED:
                voxels = voxels[random.choice(len(voxels), VOXELS_REMEMBERED, replace=False)]
            centers[self.names[index]] = voxels
        return centers


def _mapped(image: str, labels: str, centers: dict[str, np.ndarray]) -> PreparedCase:
    arrays = (np.load(path, mmap_mode="r", allow_pickle=False) for path in (image, labels))
    return PreparedCase(*arrays, centers)


def load_case(case: Case) -> tuple[Volume, np.ndarray]:
    """Read a case's image and its label map.

    Returns:
        The volume, and (I, J, K) integer label values on its grid; all 0 where nothing is annotated.

    Raises:
        UserError: a file cannot be used, the two are not on one grid, or a label value stands for nothing.
    """
    from .files.reading import read_labels, read_volume

    volume = read_volume(case.image, modality=case.modality)
    if case.labels is None:
        return volume, np.zeros(volume.shape, dtype=np.uint8)
    labels = read_labels(case.labels)
    if not volume.on_same_grid_as(labels):
        raise UserError(
            f"The label map {case.labels} does not lie on the grid of its image {case.image}; resample it first."
        )
    unknown = sorted(set(np.unique(labels.array).tolist()) - {0, *case.values})
    if unknown:
        raise UserError(f"{case.labels} holds the value {unknown[0]}, which its case list gives no name.")
    return volume, labels.array
