"""Embeddings of names -> an orthonormal, append-only bank of class prototypes."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from .errors import UserError

BACKGROUND = "background"

ORTHONORMAL_TOLERANCE = 1e-6
"""Largest allowed entry of |P P^T - I|; rounding a bank to float32 costs about 1e-7."""

MIN_KEPT_OF_TEXT = 1e-3
"""Below this share a text vector's remainder is the rounding noise of the text tower, not a meaning."""

MIN_KEPT_OF_CODE = 1e-6
"""Below this share a random direction is drawn anew: normalizing the remainder would magnify rounding."""

Source = Literal["text", "code"]


@dataclass(frozen=True)
class Prototype:
    """A Prototype says whose direction one row of the bank is and where it came from.

    Attributes:
        name: the structure.
        source: `text` (Gram-Schmidt of a text embedding) or `code` (a seeded direction without meaning).
        prompt: the text that was embedded; None for a code direction, which no text had a part in.
        kept: cosine between the prototype and its own text embedding; None for a code direction.
    """

    name: str
    source: Source
    prompt: str | None = None
    kept: float | None = None


@dataclass(frozen=True, eq=False)
class PrototypeBank:
    """A PrototypeBank holds one unit direction per class, orthonormal, append-only.

    Entry 0 is the background. The bank is immutable: `append` answers with a new bank whose older rows are
    the same bits, which is what keeps a frozen teacher's knowledge valid. Banks are made by `start`, `append`
    and `restore`.

        bank = PrototypeBank.start(dimension=512, seed=0)
        bank = bank.append("liver").append("spleen", embedding, prompt="A medical image of a spleen")

    Attributes:
        entries: one Prototype per row, background first, then in the order of arrival.
        matrix: (K + 1, D) float64, read-only; the rows have length 1.
        seed: of the code directions; row k's is a function of the seed, k and the rows before it.
        orthogonalize: False only for the ablation "raw text vectors": rows are normalized and nothing else.
    """

    entries: tuple[Prototype, ...]
    matrix: np.ndarray = field(repr=False)
    seed: int = 0
    orthogonalize: bool = True

    @classmethod
    def start(
        cls,
        dimension: int = 512,
        seed: int = 0,
        embedding: np.ndarray | None = None,
        prompt: str | None = None,
        orthogonalize: bool = True,
    ) -> PrototypeBank:
        """Make a bank that holds the background only.

        Args:
            dimension: D, the length of every prototype and the most prototypes that the bank can hold.
            seed: of the code directions, 0 or more.
            embedding: (D,) the background's own text vector; None gives it a code direction.
            prompt: the text behind `embedding`.
            orthogonalize: see the class.

        Raises:
            UserError: a dimension, seed or embedding that cannot be used.
        """
        _check_whole_number(dimension, "dimension of the prototypes", at_least=1)
        _check_whole_number(seed, "seed of the prototypes", at_least=0)
        empty = cls((), _frozen(np.zeros((0, int(dimension)))), int(seed), bool(orthogonalize))
        return empty.append(BACKGROUND, embedding, prompt)

    @classmethod
    def restore(
        cls,
        entries: Iterable[Prototype | Mapping[str, Any]],
        matrix: np.ndarray,
        seed: int,
        orthogonalize: bool = True,
    ) -> PrototypeBank:
        """Rebuild a bank from its stored `to_dict()["entries"]` and `matrix`; the rows are taken as they are.

        Args:
            entries: Prototypes, or mappings with their fields.
            matrix: (K + 1, D) float64, or float32 where a bank was rounded to it.
            seed: the bank's seed, so that further code directions continue the same code.
            orthogonalize: see the class.

        Raises:
            UserError: entries and rows that do not belong together, or rows that are not orthonormal to 1e-6.
        """
        _check_whole_number(seed, "seed of the prototypes", at_least=0)
        prototypes = tuple(_as_prototype(entry) for entry in entries)
        rows = _as_float64(matrix, "The stored prototypes")
        _check_rows(prototypes, rows, bool(orthogonalize))
        return cls(prototypes, _frozen(rows), int(seed), bool(orthogonalize))

    def append(self, name: str, embedding: np.ndarray | None = None, prompt: str | None = None) -> PrototypeBank:
        """Answer with a bank that holds one more class; the older rows stay bit for bit.

        Args:
            name: of the structure, new to this bank (compared without regard to case).
            embedding: (D,) its text vector of any length but 0; None takes the next direction of the seeded
                code.
            prompt: the text behind `embedding`; not kept for a code direction, which does not come from it.

        Raises:
            UserError: the name is empty or taken, the bank is full, or the embedding is unusable (wrong
                shape, zero, not finite, or so near to a combination of the older prototypes that nothing of
                its own is left).
        """
        name = _checked_name(name)
        if name in self:
            raise UserError(
                f"'{name}' already has a prototype, and prototypes are never replaced; use the existing one "
                "or choose another name."
            )
        if self.remaining == 0:
            raise UserError(
                f"There is no room for a prototype of '{name}': {self.capacity} dimensions hold at most "
                f"{self.capacity} orthonormal prototypes, the background included; train a model with a "
                "larger prototype dimension."
            )
        if embedding is None:
            entry, row = Prototype(name, "code"), self._code_direction()
        else:
            row, kept = self._text_direction(name, embedding)
            entry = Prototype(name, "text", prompt, kept)
        rows = np.concatenate([self.matrix, row[np.newaxis]])
        return PrototypeBank((*self.entries, entry), _frozen(rows), self.seed, self.orthogonalize)

    def __len__(self) -> int:
        """The number of prototypes, the background included."""
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and _key(name) in map(_key, self.names)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PrototypeBank):
            return NotImplemented
        mine = (self.entries, self.seed, self.orthogonalize)
        return mine == (other.entries, other.seed, other.orthogonalize) and np.array_equal(self.matrix, other.matrix)

    def __hash__(self) -> int:
        return hash((self.entries, self.seed, self.orthogonalize))

    @property
    def names(self) -> tuple[str, ...]:
        """Names in the order of the rows, background first."""
        return tuple(entry.name for entry in self.entries)

    @property
    def dimension(self) -> int:
        """D, the length of a prototype."""
        return self.matrix.shape[1]

    @property
    def capacity(self) -> int:
        """The most prototypes that this bank can hold, the background included: D."""
        return self.dimension

    @property
    def remaining(self) -> int:
        """How many more prototypes there is room for."""
        return self.capacity - len(self)

    def index(self, name: str) -> int:
        """The row of a structure.

        Raises:
            UserError: no prototype has this name.
        """
        keys = [_key(known) for known in self.names]
        if _key(name) in keys:
            return keys.index(_key(name))
        near = [self.names[keys.index(key)] for key in difflib.get_close_matches(_key(name), keys, n=3)]
        hint = f" the nearest are {', '.join(near)}." if near else f" it knows {len(self) - 1} structures."
        raise UserError(f"There is no prototype of '{name}' in this model;{hint}")

    def as_float32(self) -> np.ndarray:
        """A new (K + 1, D) float32 array of the prototypes, to be handed to the network."""
        return self.matrix.astype(np.float32)

    def reachable(self, channels: int) -> float:
        """The best cosine that all classes can have to their own prototypes at once, about.

        Features of C channels span C dimensions, so N > C orthonormal prototypes cannot all be reached:
        sqrt(C / N), and 1 as long as N <= C.
        """
        _check_whole_number(channels, "number of feature channels", at_least=1)
        return min(1.0, math.sqrt(channels / len(self)))

    def crowding(self, channels: int) -> str | None:
        """A warning sentence when there are more prototypes than feature channels, else None."""
        if len(self) <= channels:
            return None
        return (
            f"{len(self)} prototypes share {channels} feature channels, so a voxel's cosine to its own "
            f"prototype can reach about {self.reachable(channels):.2f} only; a model trained anew with more "
            "channels (`backbone.features`) separates them better."
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for a manifest, without the matrix (which is stored as an array beside it)."""
        return {
            "dimension": self.dimension,
            "seed": self.seed,
            "orthogonalize": self.orthogonalize,
            "entries": [asdict(entry) for entry in self.entries],
        }

    def _code_direction(self) -> np.ndarray:
        attempt = 0
        while True:
            # A child of the seed: a caller's own stream from the same seed must not give the same row.
            child = np.random.SeedSequence(self.seed, spawn_key=(len(self), attempt))
            generator = np.random.default_rng(child)
            row, kept = self._new_direction(_unit(generator.standard_normal(self.dimension)))
            if kept > MIN_KEPT_OF_CODE:
                return row
            attempt += 1

    def _text_direction(self, name: str, embedding: np.ndarray) -> tuple[np.ndarray, float]:
        vector = _as_float64(embedding, f"The text embedding of '{name}'")
        if vector.shape != (self.dimension,):
            raise UserError(
                f"The text embedding of '{name}' has shape {vector.shape} where the bank needs "
                f"({self.dimension},); use the text encoder that this model was made with."
            )
        if not vector.any():
            raise UserError(
                f"The text embedding of '{name}' is zero and so has no direction; embed the name anew or "
                "append it without an embedding."
            )
        row, kept = self._new_direction(_unit(vector))
        if kept < MIN_KEPT_OF_TEXT:
            raise UserError(
                f"The text embedding of '{name}' is a combination of the {len(self)} older prototypes, so "
                "nothing of its own is left; use another prompt, or append it without an embedding to give "
                "it a code direction."
            )
        return row, kept

    def _new_direction(self, unit: np.ndarray) -> tuple[np.ndarray, float]:
        """What is left of a unit vector beside the older rows, as a unit vector, and their cosine."""
        if not self.orthogonalize:
            return unit, 1.0
        # The second pass removes what rounding left of the older rows when the remainder is small.
        first = unit - self.matrix.T @ (self.matrix @ unit)
        kept = float(np.linalg.norm(first))
        if kept == 0.0:
            return first, 0.0
        row = _unit(first)
        row = _unit(row - self.matrix.T @ (self.matrix @ row))
        return row, min(1.0, max(0.0, float(row @ unit)))


def _key(name: str) -> str:
    return " ".join(str(name).casefold().split())


def _checked_name(name: object) -> str:
    if not isinstance(name, str) or not name.strip():
        raise UserError(f"A prototype needs the name of a structure, and {name!r} is none; give it a name.")
    return name.strip()


def _check_whole_number(value: object, what: str, at_least: int) -> None:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    if not whole or value < at_least:
        raise UserError(f"The {what} is {value!r}; it must be a whole number of at least {at_least}.")


def _as_float64(values: object, what: str) -> np.ndarray:
    """A copy, so that a caller who goes on writing into his array does not move a prototype."""
    try:
        array = np.array(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} cannot be read as numbers; hand over an array of floats.") from error
    if not np.isfinite(array).all():
        raise UserError(f"{what} contains NaN or infinite values; make it anew.")
    return array


def _unit(vector: np.ndarray) -> np.ndarray:
    # Scaled first: the square of a very large or very small value would overflow or vanish.
    largest = np.abs(vector).max()
    scaled = vector / largest if largest > 0 else vector
    length = np.linalg.norm(scaled)
    return scaled / length if length > 0 else scaled


def _frozen(matrix: np.ndarray) -> np.ndarray:
    matrix.setflags(write=False)
    return matrix


def _as_prototype(entry: Prototype | Mapping[str, Any]) -> Prototype:
    if not isinstance(entry, Prototype):
        try:
            entry = Prototype(**entry)
        except TypeError as error:
            raise UserError(
                f"A stored prototype reads {entry!r} where name, source, prompt and kept are expected; the "
                "model's manifest is damaged or of another version."
            ) from error
    _checked_name(entry.name)
    if entry.source not in ("text", "code"):
        raise UserError(
            f"The prototype of '{entry.name}' comes from {entry.source!r} where 'text' or 'code' is "
            "expected; the model's manifest is damaged or of another version."
        )
    cosine = isinstance(entry.kept, int | float) and 0 <= entry.kept <= 1
    if not (cosine if entry.source == "text" else entry.kept is None):
        raise UserError(
            f"The {entry.source} prototype of '{entry.name}' keeps {entry.kept!r} of its text embedding, "
            "where a text prototype keeps a cosine from 0 to 1 and a code prototype none; the model's "
            "manifest is damaged."
        )
    return entry


def _check_rows(entries: tuple[Prototype, ...], rows: np.ndarray, orthogonalize: bool) -> None:
    if rows.ndim != 2 or len(rows) != len(entries) or len(rows) > rows.shape[1]:
        raise UserError(
            f"{len(entries)} prototypes are named and an array of shape {rows.shape} is stored, where one "
            "row for each, at least as long as there are rows, is expected; weights and manifest do not "
            "belong together."
        )
    if not entries or entries[0].name != BACKGROUND:
        raise UserError(
            f"The first stored prototype is not '{BACKGROUND}'; the model's manifest is damaged or of another version."
        )
    keys = [_key(entry.name) for entry in entries]
    if len(set(keys)) != len(keys):
        twice = next(entry.name for entry, key in zip(entries, keys, strict=True) if keys.count(key) > 1)
        raise UserError(f"'{twice}' has more than one stored prototype; the model's manifest is damaged.")
    gram = rows @ rows.T
    error = np.abs(gram - np.eye(len(rows)) if orthogonalize else np.diag(gram) - 1).max()
    if not error < ORTHONORMAL_TOLERANCE:
        raise UserError(
            f"The stored prototypes are off orthonormality by {error:.1e}; the model's weights are damaged."
        )
