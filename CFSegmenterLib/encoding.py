"""An Encoding: a volume passed through the network once, to be asked for anything from then on."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import torch
from torch import Tensor

from .caveats import caveats
from .decision import margins, plan_layers, winners, with_guests_last
from .errors import UserError
from .grid import ModelGrid, Taps
from .hierarchy import overlap_matrix
from .memory import memory_for
from .model import Model
from .pieces import bounding_boxes, largest_piece
from .progress import Progress, advance, silent
from .protocols import Protocol
from .repertoire import Repertoire
from .structures import Vocabulary

ROWS_BYTES = 64 << 20
"""Memory that a slab of interpolated features or similarities may take while a volume is decided."""

BLOCK_VALUES = 1 << 18
"""Similarities that are computed and decided at a time: few enough to stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Query:
    """A direction to compare every voxel with, for a structure that has no prototype yet.

    Attributes:
        name: what the user calls it.
        embedding: (D,) unit vector; it can be appended to a bank as it is.
        vector: (C,) float32, what a unit feature is multiplied with to get the similarity.
    """

    name: str
    embedding: np.ndarray
    vector: np.ndarray


@dataclass(frozen=True, eq=False)
class Probe:
    """What the network sees at one point.

    Attributes:
        ranked: (structure, similarity), background included, the most similar first.
        query: the feature at the point, to be asked for like a structure.
    """

    ranked: tuple[tuple[str, float], ...]
    query: Query


@dataclass(frozen=True, eq=False)
class Segmentation:
    """Structures on a volume's own grid.

    Attributes:
        names: the structures that were asked for, found or not, in that order.
        layers: (I, J, K) uint8 or uint16 label maps; structures that overlap lie in different ones.
        places: structure -> (layer, label value).
    """

    names: tuple[str, ...]
    layers: tuple[np.ndarray, ...]
    places: dict[str, tuple[int, int]]

    def mask(self, name: str) -> np.ndarray:
        """(I, J, K) bool, where the structure is.

        Args:
            name: one of `names`.

        Raises:
            UserError: it is not.
        """
        if name not in self.places:
            raise UserError(f"This segmentation has no '{name}'; it has {', '.join(self.names)}.")
        layer, value = self.places[name]
        return self.layers[layer] == value

    def voxels(self, name: str) -> int:
        """Number of voxels of the structure."""
        return int(np.count_nonzero(self.mask(name)))


class Encoding:
    """An Encoding answers questions about a volume without passing it through the network again.

    It holds the unit features on the model's grid. Maps and masks come back on the volume's own grid, voxel for voxel.
    Where memory does not suffice for an answer a UserError says so, and the encoding stays as it was.
    """

    def __init__(
        self,
        model: Model,
        protocol: Protocol,
        grid: ModelGrid,
        affine: np.ndarray,
        features: np.ndarray,
        vocabulary: Vocabulary | None = None,
    ):
        """
        Args:
            grid: between the volume and the model.
            affine: (4, 4) of the volume, IJK to RAS in mm.
            features: (X, Y, Z, C) float16 unit features, averaged over windows.
        """
        self.model = model
        self.protocol = protocol
        self.grid = grid
        self.affine = affine
        self.features = features
        vocabulary = vocabulary or Vocabulary.load()
        self.repertoire = Repertoire(model.manifest.structures, vocabulary, model.manifest.name)
        self._overlaps = overlap_matrix(model.bank.names, vocabulary, model.manifest.told_apart)
        self.layers = plan_layers(self._overlaps)
        self._guests = tuple(model.bank.index(name) for name in model.manifest.guests(protocol.modality))
        with torch.inference_mode():
            self._cosine = model.network.cosine()
            prototypes = torch.from_numpy(model.bank.as_float32())
            self._queries = self._cosine.queries(prototypes.to(self._cosine.projection.device)).cpu()
        self._decided: tuple[np.ndarray, ...] | None = None
        self._boxes: tuple[dict[int, tuple[slice, ...]], ...] = ()
        self._whole: set[int] = set()

    @property
    def structures(self) -> tuple[str, ...]:
        """What can be asked for by name: the model's structures, and wholes of which it knows all the parts."""
        return self.repertoire.structures

    @property
    def nbytes(self) -> int:
        """Bytes that it holds, in memory or in a file: the features, and what was decided from them."""
        return self.features.nbytes + sum(contest.nbytes for contest in self._decided or ())

    def caveats(self, names: Iterable[str] | None = None) -> tuple[str, ...]:
        """Sentences on what to know before trusting the answer for these structures; None asks for all.

        Raises:
            UserError: the model was not taught one of them.
        """
        asked = self.repertoire.resolve_all(names)
        return caveats(self.model.manifest, self.protocol, self.grid, self.repertoire, asked)

    @memory_for("for a similarity map of this volume")
    def similarity(self, structure: str | Query) -> np.ndarray:
        """(I, J, K) float32 cosine of every voxel with a structure, -1..1.

        Raises:
            UserError: the model does not know the structure.
        """
        return self.grid.to_volume(self._model_map(structure))

    @memory_for("to segment this volume")
    def segment(self, structures: Sequence[str] | None = None, progress: Progress = silent) -> Segmentation:
        """Decide which voxels belong to each of `structures`; None asks for all that the model was taught.

        The first call decides for every structure at once; later ones look the answer up. Of a structure that every
        annotation showed in one piece, the largest piece is given.

        Raises:
            UserError: the model does not know a structure.
            Cancelled: as `progress` asked.
        """
        names = self.repertoire.resolve_all(structures)
        decided = self._decide(progress)
        self._make_whole([member for name in names for member in self._members(name)])
        dtype = np.uint8 if len(names) < 256 else np.uint16
        layers: list[np.ndarray] = []
        places: dict[str, tuple[int, int]] = {}
        shared: dict[int, tuple[int, np.ndarray]] = {}
        for value, name in enumerate(names, start=1):
            members = self._members(name)
            if len(members) == 1:
                # Members of one contest exclude each other, so they share a label map and one pass fills it.
                contest = self._contest_of(members[0])
                if contest not in shared:
                    shared[contest] = (len(layers), np.zeros(len(self.model.bank), dtype=dtype))
                    layers.append(np.zeros(0))
                place, table = shared[contest]
                table[members[0]] = value
                places[name] = (place, value)
            else:
                places[name] = (len(layers), value)
                layers.append(self._either(members).astype(dtype) * dtype(value))
        for contest, (place, table) in shared.items():
            layers[place] = table[decided[contest]]
        return Segmentation(names, tuple(layers), places)

    @memory_for("to segment this volume")
    def best(self, progress: Progress = silent) -> np.ndarray:
        """(I, J, K) uint16 index into the bank of the winning prototype, 0 for the background.

        Where structures that overlap have both won it is one of them.
        """
        found, *others = self._decide(progress)
        self._make_whole(range(1, len(self.model.bank)))
        if others:
            found = found.copy()
        for other in others:
            np.copyto(found, other, where=found == 0)
        return found

    @memory_for("to measure the margins of this volume")
    def margin(self, progress: Progress = silent) -> np.ndarray:
        """(I, J, K) float32 lead of the most similar prototype over the next: small where the model is unsure.

        Structures that overlap do not contest each other, so the next is the next that excludes the first.
        """
        overlaps = self._overlaps
        (result,) = self._over_volume([lambda s: margins(s, overlaps)], np.float32, "measuring margins", progress)
        return result

    def probe(self, ras: Sequence[float]) -> Probe:
        """Ask what is at a point, in mm RAS.

        Raises:
            UserError: the point lies outside the volume.
        """
        index = self.grid.index_of(ras)
        if index is None:
            raise UserError("The point lies outside the volume; place it inside.")
        unit = torch.from_numpy(np.array(self.features[index], dtype=np.float32))
        similarities = (self._queries @ unit).tolist()
        ranked = sorted(zip(self.model.bank.names, similarities, strict=True), key=lambda pair: -pair[1])
        return Probe(tuple(ranked), self._query("point", unit))

    @memory_for("to look at the painted example")
    def prototype_from(self, mask: np.ndarray, name: str = "painted example") -> Query:
        """The mean unit feature under a painted mask, as a query.

        Args:
            mask: (I, J, K) bool on the volume's own grid.
            name: what the user calls it.

        Raises:
            UserError: the mask is empty, or not on the volume's grid.
        """
        mask = np.asarray(mask)
        if mask.shape != self.grid.volume_shape:
            raise UserError(
                f"The painted mask has {mask.shape} voxels but the volume {self.grid.volume_shape}; "
                "paint on the volume that was encoded."
            )
        if not mask.any():
            raise UserError("The painted mask is empty; paint at least one voxel of the structure.")
        share = self.grid.to_model((mask != 0).astype(np.float32))
        chosen = np.nonzero(share > 0)
        weights = torch.from_numpy(share[chosen])
        mean = (torch.from_numpy(self.features[chosen].astype(np.float32)) * weights[:, None]).sum(dim=0)
        return self._query(name, mean / weights.sum())

    def _query(self, name: str, feature: Tensor) -> Query:
        with torch.inference_mode():
            projection = self._cosine.projection.cpu()
            embedding = projection @ feature
            embedding = embedding / embedding.norm().clamp(min=1e-12)
            return Query(name, embedding.numpy(), (projection.T @ embedding).numpy())

    def _model_map(self, structure: str | Query) -> np.ndarray:
        """(X, Y, Z) float32 on the model's grid."""
        if isinstance(structure, Query):
            return self._dot(torch.from_numpy(structure.vector))
        first, *others = self._members(self.repertoire.resolve(structure))
        result = self._dot(self._queries[first])
        for member in others:
            np.maximum(result, self._dot(self._queries[member]), out=result)
        return result

    def _dot(self, vector: Tensor) -> np.ndarray:
        """Features times one vector, row by row so that no float32 copy of the features is made."""
        result = np.empty(self.features.shape[:3], dtype=np.float32)
        for row, plane in enumerate(self.features):
            result[row] = (torch.from_numpy(plane).float() @ vector).numpy()
        return np.clip(result, -1, 1, out=result)

    def _members(self, name: str) -> tuple[int, ...]:
        """Indices of the prototypes whose union is the structure."""
        return tuple(self.model.bank.index(member) for member in self.repertoire.members(name))

    def _contest_of(self, index: int) -> int:
        return next(number for number, layer in enumerate(self.layers) if index in layer.members)

    def _either(self, members: Sequence[int]) -> np.ndarray:
        """(I, J, K) bool, where any of `members` won its contest."""
        decided = self._decide(silent)
        found = np.zeros(self.grid.volume_shape, dtype=bool)
        for member in members:
            found |= decided[self._contest_of(member)] == member
        return found

    def _decide(self, progress: Progress) -> tuple[np.ndarray, ...]:
        if self._decided is None:
            deciders = [partial(winners, layer=layer) for layer in self.layers]
            decided = self._over_volume(deciders, np.uint16, "deciding", progress, self._with_guests_last)
            self._boxes = tuple(bounding_boxes(contest) for contest in decided)
            self._decided = decided
        return self._decided

    def _with_guests_last(self, similarities: Tensor) -> Tensor:
        return with_guests_last(similarities, self._guests, self._overlaps) if self._guests else similarities

    def _make_whole(self, members: Sequence[int]) -> None:
        """Leave only the largest piece of the prototypes whose structures are of one piece; the rest is background."""
        one_piece = set(self.model.manifest.one_piece)
        for index in members:
            if index in self._whole or self.model.bank.names[index] not in one_piece:
                continue
            contest = self._contest_of(index)
            box = self._boxes[contest].get(index)
            if box is not None:
                inside = self._decided[contest][box]
                mask = inside == index
                inside[mask & ~largest_piece(mask)] = 0
            self._whole.add(index)

    def _over_volume(
        self,
        deciders: Sequence[Callable[[Tensor], np.ndarray]],
        dtype: type,
        message: str,
        progress: Progress,
        prepare: Callable[[Tensor], Tensor] = lambda similarities: similarities,
    ) -> tuple[np.ndarray, ...]:
        """Apply each of `deciders`, (N, K + 1) similarities -> (N,), at every voxel of the volume's own grid.

        `prepare` is applied to the similarities before, once for all of them.
        What is interpolated, slab by slab, is the fewer of C features and K similarities.
        """
        shape = self.grid.ordered_shape
        results = tuple(np.empty(shape, dtype=dtype) for _ in deciders)
        with torch.inference_mode():
            for start, stop in self._slabs(shape):
                advance(progress, start, shape[0], message)
                rows = [result[start:stop].reshape(-1) for result in results]
                first = 0
                for similarities in map(prepare, self._similarities(start, stop)):
                    last = first + len(similarities)
                    for row, decide in zip(rows, deciders, strict=True):
                        row[first:last] = decide(similarities)
                    first = last
        advance(progress, shape[0], shape[0], message)
        return tuple(np.ascontiguousarray(self.grid.restore_order(result)) for result in results)

    def _similarities(self, start: int, stop: int) -> Iterator[Tensor]:
        """(n, K + 1) float32 for n voxels at a time of the rows `start`..`stop` of the volume's own grid, in order."""
        queries = self._queries.T
        features_are_fewer = queries.shape[0] < queries.shape[1]
        holds_features = self.grid.is_identity or features_are_fewer
        if self.grid.is_identity:
            values = torch.from_numpy(self.features[start:stop])
        else:
            taps, needed = self.grid.taps[0].part(start, stop)
            values = torch.from_numpy(self.features[needed]).float()
            if not features_are_fewer:
                values = values @ queries
            for axis, along in enumerate((taps, *self.grid.taps[1:])):
                values = _interpolated(values, along, axis)
        for block in values.flatten(0, 2).split(max(1, BLOCK_VALUES // max(queries.shape))):
            yield block.float() @ queries if holds_features else block

    def _slabs(self, shape: tuple[int, int, int]) -> Iterator[tuple[int, int]]:
        # Where the model's grid is the finer one its rows are more and larger than the volume's.
        finer = max(1.0, self.grid.shape[0] / shape[0])
        row_voxels = max(shape[1] * shape[2], finer * self.grid.shape[1] * self.grid.shape[2])
        row_bytes = int(4 * row_voxels * min(self._queries.shape))
        rows = max(1, ROWS_BYTES // row_bytes)
        for start in range(0, shape[0], rows):
            yield start, min(shape[0], start + rows)


def _interpolated(values: Tensor, taps: Taps, axis: int) -> Tensor:
    """Interpolate one of the first three axes of (X, Y, Z, channels)."""
    share = torch.from_numpy(taps.share).reshape([-1 if a == axis else 1 for a in range(4)])
    low = values.index_select(axis, torch.from_numpy(taps.low))
    return torch.lerp(low, values.index_select(axis, torch.from_numpy(taps.high)), share)


def _reserve(file: IO[bytes], size: int) -> None:
    """Give a file its size on disk now: a disk that fills up later would end the process without a word."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file.fileno(), 0, size)
    else:
        file.truncate(size)


def allocator(limit_bytes: int) -> Callable[[tuple[int, ...]], np.ndarray]:
    """Makes a float16 array, in memory up to `limit_bytes`, in an unnamed temporary file above.

    The file has no name from the start, so nothing of a patient's is left behind, whatever ends the process.
    """

    def allocate(shape: tuple[int, ...]) -> np.ndarray:
        size = int(np.prod(shape)) * 2
        if size <= limit_bytes:
            return np.empty(shape, dtype=np.float16)
        file = tempfile.TemporaryFile(dir=Path(tempfile.gettempdir()))  # noqa: SIM115 - as open as the array needs it
        try:
            _reserve(file, size)
            return np.memmap(file, dtype=np.float16, mode="r+", shape=shape)
        except OSError as error:
            file.close()
            raise UserError(
                f"There is no room for the encoding of this volume ({size / 1e9:.1f} GB), neither in memory nor in "
                f"the temporary folder: {error.strerror}. Free some, or crop the volume."
            ) from error

    return allocate
