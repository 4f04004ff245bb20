"""The vocabulary of anatomical structures: names, codes, colors, and how structures contain one another."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import UserError
from .resources import resource_path
from .spelling import LEFT, RIGHT, likeness, mirrored, name_key, possible_keys
from .structure_file import CODES, read_structure_file

_REGION_CONTEXT = "Anatomic codes - DICOM master list"
_SIDE_CODES = {"7771000": LEFT, "24028007": RIGHT}


class UnknownStructure(UserError):  # noqa: N818 - named for what the user meets
    """No structure has this name; `nearest` holds the closest ones."""

    def __init__(self, name: str, nearest: Sequence[str]) -> None:
        advice = f"did you mean {_listed(nearest)}?" if nearest else "no name comes close to it."
        super().__init__(
            f'"{name}" is not the name of a structure that CFSegmenter knows: {advice} '
            "`cfsegmenter structures` lists all names."
        )
        self.name = name
        self.nearest = tuple(nearest)

    def __reduce__(self) -> tuple[type, tuple[str, tuple[str, ...]]]:
        """Let the error travel from a worker process, which calls the class with what it was made of."""
        return type(self), (self.name, self.nearest)


@dataclass(frozen=True)
class Filling:
    """The divisions whose parts, as the vocabulary lists them, leave nothing of their whole out.

    Those of `everywhere` fill every whole that they divide, those of `within` the whole they stand with: the segments
    that are listed are all of the liver, while the pancreas has a body besides its head and tail.
    """

    everywhere: tuple[str, ...] = ()
    within: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Code:
    """A coded concept as DICOM writes it: value, coding scheme, meaning."""

    value: str
    scheme: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.scheme}^{self.value}^{self.meaning}"

    def same_as(self, other: Code | None) -> bool:
        """Tell whether both are the same concept, in whatever words."""
        return other is not None and (self.value, self.scheme) == (other.value, other.scheme)


@dataclass(frozen=True)
class Structure:
    """One anatomical structure (or a lesion in one).

    `color` is red, green, blue, each 0 to 255. `region` groups structures for display. `part_of` names the
    containing structure, and `division` says by what that one is divided there, such as "side" or "lobe".
    `symmetric` is true where a mirror image, with left and right names exchanged, still shows this structure as it
    may be. `context` names the terminology that lists the codes. `anatomic_region` and its modifier say where a
    lesion or a vessel is; other structures need none. Only a structure of somebody's own (see `own_structures`) may be
    without category and type, which is without any code, and have the region "", which is nobody knows where.
    """

    name: str
    synonyms: tuple[str, ...]
    category: Code | None
    type: Code | None
    modifier: Code | None
    color: tuple[int, int, int]
    region: str
    part_of: str | None
    division: str | None
    symmetric: bool
    context: str
    anatomic_region: Code | None = None
    anatomic_region_modifier: Code | None = None

    @classmethod
    def of(cls, entry: Mapping[str, Any], contexts: Mapping[str, str]) -> Structure:
        """Make a structure of an entry of a structures file, which has been checked."""
        codes = {name: Code(*entry[name]) if entry.get(name) is not None else None for name in CODES}
        return cls(
            name=entry["name"],
            synonyms=tuple(entry.get("synonyms") or ()),
            color=tuple(entry["color"]),
            region=entry["region"],
            part_of=entry.get("part_of"),
            division=entry.get("division"),
            symmetric=entry["symmetric"],
            context=contexts[entry.get("context", "own")],
            **codes,
        )

    @property
    def side(self) -> str | None:
        """Return "left" or "right" where a modifier says so, else None (the heart's chambers have no modifier)."""
        for code in (self.modifier, self.anatomic_region_modifier):
            if code is not None and code.value in _SIDE_CODES:
                return _SIDE_CODES[code.value]
        return None

    def terminology_entry(self, context: str | None = None) -> str:
        """Return the terminology entry as 3D Slicer serializes it in a segment; "" without a code.

        `context` replaces the terminology that the structure's codes were taken from.
        """
        if self.type is None:
            return ""
        parts = (
            context if context is not None else self.context,
            _serialized(self.category),
            _serialized(self.type),
            _serialized(self.modifier),
            _REGION_CONTEXT,
            _serialized(self.anatomic_region),
            _serialized(self.anatomic_region_modifier),
        )
        return "~".join(parts)


class Vocabulary:
    """A Vocabulary finds a structure by any of its names.

    Case, the order of words, punctuation, singular or plural, British spelling and abbreviated sides make no
    difference. A name that would stand for two structures is refused when the Vocabulary is made.
    """

    def __init__(self, structures: Sequence[Structure], filling: Filling | None = None) -> None:
        """Index the structures.

        Raises:
            UserError: two structures share a name, `part_of` names none or leads back to itself, or `filling` names a
                division that is not there.
        """
        self._structures = tuple(structures)
        self._by_name: dict[str, Structure] = {}
        self._by_key: dict[frozenset[str], Structure] = {}
        for structure in self._structures:
            self._index(structure)
        self._chains = {structure.name: self._chain(structure) for structure in self._structures}
        self._parts: dict[str, list[Structure]] = {}
        for structure in self._structures:
            if structure.part_of is not None:
                self._parts.setdefault(structure.part_of, []).append(structure)
        self._filling = filling or Filling()
        self._check_filling()

    @classmethod
    def load(cls, path: str | Path | None = None) -> Vocabulary:
        """Read a structures file; without a path the packaged one, which is read once and shared.

        Raises:
            UserError: the file is missing, not JSON, or not a valid vocabulary.
        """
        return _packaged() if path is None else cls.of(read_structure_file(Path(path)))

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Vocabulary:
        """Make a vocabulary of the content of a structures file, which has been checked."""
        contexts, filling = document["contexts"], document.get("filling") or {}
        structures = [Structure.of(entry, contexts) for entry in document["structures"]]
        within = {whole: tuple(divisions) for whole, divisions in filling.get("within", {}).items()}
        return cls(structures, Filling(tuple(filling.get("everywhere", ())), within))

    def knowing(self, own: Iterable[Structure]) -> Vocabulary:
        """Return this vocabulary with structures of somebody's own besides, where it does not know the name itself.

        Each is found by its very name, because two of them may differ by as little as the order of their words.
        """
        new: dict[str, Structure] = {}
        for structure in own:
            if self.get(structure.name) is None:
                region = structure.region or self._region_of(structure)
                new.setdefault(structure.name, replace(structure, region=region))
        if not new:
            return self
        grown = copy.copy(self)
        grown._structures = (*self._structures, *new.values())
        grown._by_name = {**self._by_name, **new}
        grown._chains = {**self._chains, **{name: (structure,) for name, structure in new.items()}}
        return grown

    def __iter__(self) -> Iterator[Structure]:
        return iter(self._structures)

    def __len__(self) -> int:
        return len(self._structures)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.get(name) is not None

    def names(self) -> tuple[str, ...]:
        """Return the preferred names in the order of the file."""
        return tuple(structure.name for structure in self._structures)

    def find(self, name: str) -> Structure:
        """Return the structure with this name.

        Raises:
            UnknownStructure: there is none; the sentence offers the nearest names.
        """
        structure = self.get(name)
        if structure is None:
            raise UnknownStructure(name, self.nearest(name))
        return structure

    def get(self, name: str) -> Structure | None:
        """Return the structure with this name, or None."""
        exact = self._by_name.get(name)
        if exact is not None:
            return exact
        for key in possible_keys(name):
            if key in self._by_key:
                return self._by_key[key]
        return None

    def nearest(self, name: str, count: int = 3) -> list[str]:
        """Return up to `count` preferred names that look most like `name`, the best first.

        Sides that `name` leaves open are offered together: the nearest of "kidny" are the kidney and its two sides.
        Nothing is returned for a name that resembles none.
        """
        wanted = [key for key in possible_keys(name) if key]
        if not wanted or count < 1:
            return []
        scores: dict[str, float] = {}
        for key, structure in self._by_key.items():
            score = max(likeness(candidate, key) for candidate in wanted)
            scores[structure.name] = max(score, scores.get(structure.name, 0.0))
        ranked = [item for item in sorted(scores, key=lambda item: -scores[item]) if scores[item] >= 0.6]
        if ranked and not any(side in key for key in wanted for side in (LEFT, RIGHT)):
            ranked = _unique([ranked[0], *self._sides(ranked[0]), *ranked[1:]])
        return ranked[:count]

    def overlaps(self, first: str, second: str) -> bool:
        """Tell whether a voxel may belong to both structures.

        It may where they are the same, where one contains the other, and where one whole contains both by
        different divisions: the left and the anterior hippocampus overlap, the left and the right one do not. What
        is left never overlaps what is right. A name that is not in the vocabulary overlaps only itself.
        """
        a, b = self.get(first), self.get(second)
        if a is None or b is None:
            return a is b and name_key(first) == name_key(second)
        if {a.side, b.side} == {LEFT, RIGHT}:
            return False
        chain_a, chain_b = self._chains[a.name], self._chains[b.name]
        for step_a, step_b in zip(chain_a, chain_b):
            if step_a is not step_b:
                # Parts of a whole are apart within one division only; roots have no whole in common and no division.
                return step_a.division != step_b.division
        return True

    def contains(self, whole: str, part: str) -> bool:
        """Tell whether `part` is a part of `whole`, at any depth. Nothing contains itself.

        A side contains what its whole has on that side: the left kidney contains a cyst of the left kidney.
        """
        a, b = self.get(whole), self.get(part)
        if a is None or b is None or a is b:
            return False
        chain = self._chains[b.name]
        same_side = a.division == "side" and a.side is not None and a.side == b.side
        return a in chain or (same_side and self._chains[a.name][-2] in chain)

    def parts_of(self, name: str) -> tuple[Structure, ...]:
        """Return the direct parts of a structure, in the order of the file.

        Raises:
            UnknownStructure: the vocabulary has no such structure.
        """
        return tuple(self._parts.get(self.find(name).name, ()))

    def fills(self, division: str, whole: str) -> bool:
        """Tell whether the parts of `whole` by `division` leave nothing of it out.

        Raises:
            UnknownStructure: the vocabulary has no such whole.
        """
        return division in self._filling.everywhere or division in self._filling.within.get(self.find(whole).name, ())

    def twin(self, name: str) -> Structure | None:
        """Return the structure that takes this one's place in a mirror image: its other side.

        None for structures without sides, and for those whose two sides differ in kind (the heart's ventricles
        are not mirror images of each other), and for names outside the vocabulary.
        """
        structure = self.get(name)
        if structure is None or not structure.symmetric:
            return None
        other = self._by_key.get(mirrored(name_key(structure.name)))
        return other if other is not structure else None

    def _index(self, structure: Structure) -> None:
        for name in (structure.name, *structure.synonyms):
            key = name_key(name)
            if not key:
                raise UserError(f'"{name}" has no word to find a structure by: give the structure a name with one.')
            other = self._by_key.setdefault(key, structure)
            if other is not structure and other.name == structure.name:
                raise UserError(f'"{name}" is there twice: remove one of the two structures.')
            if other is not structure:
                raise UserError(f'"{name}" may mean "{other.name}" or "{structure.name}": take it from one of the two.')
        self._by_name[structure.name] = structure

    def _check_filling(self) -> None:
        divisions = {structure.division for structure in self._structures if structure.division}
        for division in self._filling.everywhere:
            if division not in divisions:
                raise UserError(f'"filling" names the division "{division}", by which nothing is divided: correct it.')
        for whole, named in self._filling.within.items():
            there = {part.division for part in self._parts.get(whole, ())}
            for division in named:
                if division not in there:
                    raise UserError(
                        f'"filling" names the division "{division}" of "{whole}", which the vocabulary does not divide '
                        "so: use the preferred name of a structure, and a division that its parts have."
                    )

    def _chain(self, structure: Structure) -> tuple[Structure, ...]:
        """Return the structure and all that contain it, the outermost first."""
        chain = [structure]
        while chain[0].part_of is not None:
            whole = self._by_name.get(chain[0].part_of)
            if whole is None:
                raise UserError(
                    f'"{chain[0].name}" is said to be part of "{chain[0].part_of}", which is not in the '
                    "vocabulary: use the preferred name of a structure."
                )
            if whole in chain:
                raise UserError(f'"{whole.name}" is said to be part of itself: correct "part_of" of one of its parts.')
            chain.insert(0, whole)
        return tuple(chain)

    def _region_of(self, structure: Structure) -> str:
        """Return the region of what a structure's codes name, where it is or what it is; "" where none is known."""
        for code in (structure.anatomic_region, structure.type):
            for known in self._structures if code is not None else ():
                # The type of a lesion or a vessel says nothing of where it is.
                if known.anatomic_region is None and known.type is not None and known.type.same_as(code):
                    return known.region
        return ""

    def _sides(self, name: str) -> list[str]:
        twin = self.twin(name)
        if twin is not None:
            return [twin.name]
        return [part.name for part in self._parts.get(name, ()) if part.division == "side"]


def _unique(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _listed(names: Sequence[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)


def _serialized(code: Code | None) -> str:
    return "^^" if code is None else str(code)


@lru_cache(maxsize=1)
def _packaged() -> Vocabulary:
    return Vocabulary.of(read_structure_file(resource_path("structures.json")))
