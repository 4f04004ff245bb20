"""The vocabulary of anatomical structures: names, codes, colors, and how structures contain one another."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from typing import Any

from .errors import UserError
from .resources import resource_path

LEFT, RIGHT = "left", "right"
_REGION_CONTEXT = "Anatomic codes - DICOM master list"
_SIDE_CODES = {"7771000": LEFT, "24028007": RIGHT}
_SIDES = {"l": LEFT, "lt": LEFT, "lh": LEFT, "r": RIGHT, "rt": RIGHT, "rh": RIGHT}
_FILLERS = frozenset(("and", "both", "in", "of", "the"))
_ORDINALS = {
    word: str(number)
    for number, words in enumerate(
        (
            ("first", "1st"),
            ("second", "2nd"),
            ("third", "3rd"),
            ("fourth", "4th"),
            ("fifth", "5th"),
            ("sixth", "6th"),
            ("seventh", "7th"),
            ("eighth", "8th"),
            ("ninth", "9th"),
            ("tenth", "10th"),
            ("eleventh", "11th"),
            ("twelfth", "12th"),
        ),
        start=1,
    )
    for word in words
}
# Spellings that no rule for endings or British English reaches.
_IRREGULAR = {
    "atria": "atrium",
    "bronchi": "bronchus",
    "bronchia": "bronchus",
    "cochleae": "cochlea",
    "femora": "femur",
    "grey": "gray",
    "hippocampi": "hippocampus",
    "humeri": "humerus",
    "lenses": "lens",
    "nuclei": "nucleus",
    "ovaries": "ovary",
    "pelves": "pelvis",
    "phalanges": "phalanx",
    "septa": "septum",
    "teeth": "tooth",
    "testes": "testis",
    "thalami": "thalamus",
    "thrombi": "thrombus",
    "uteri": "uterus",
}
_BRITISH = (
    (re.compile(r"^oe(?=sophag|dema|strog)"), "e"),
    (re.compile(r"haem"), "hem"),
    (re.compile(r"^caec"), "cec"),
    (re.compile(r"^coeliac"), "celiac"),
    (re.compile(r"tumour"), "tumor"),
    (re.compile(r"fibre"), "fiber"),
    (re.compile(r"centre"), "center"),
)
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_GLUED_SIDE = re.compile(
    r"(?<![^\W_])(left|right)(?=[^\W\d_]{3})"  # "leftkidney"
    r"|(?<=[^\W\d_]{3})(?=(?:left|right)(?![^\W_]))"  # "kidneyleft"
)
_VERTEBRA = re.compile(r"(?<![^\W_])([clst])-(?=\d)")


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


@dataclass(frozen=True)
class Structure:
    """One anatomical structure (or a lesion in one).

    `color` is red, green, blue, each 0 to 255. `region` groups structures for display. `part_of` names the
    containing structure, and `division` says by what that one is divided there, such as "side" or "lobe".
    `symmetric` is true where a mirror image, with left and right names exchanged, still shows this structure as it
    may be. `context` names the terminology that lists the codes. `anatomic_region` and its modifier say where a
    lesion or a vessel is; other structures need none.
    """

    name: str
    synonyms: tuple[str, ...]
    category: Code
    type: Code
    modifier: Code | None
    color: tuple[int, int, int]
    region: str
    part_of: str | None
    division: str | None
    symmetric: bool
    context: str
    anatomic_region: Code | None = None
    anatomic_region_modifier: Code | None = None

    @property
    def side(self) -> str | None:
        """Return "left" or "right" where a modifier says so, else None (the heart's chambers have no modifier)."""
        for code in (self.modifier, self.anatomic_region_modifier):
            if code is not None and code.value in _SIDE_CODES:
                return _SIDE_CODES[code.value]
        return None

    def terminology_entry(self, context: str | None = None) -> str:
        """Return the terminology entry as 3D Slicer serializes it in a segment.

        `context` replaces the terminology that the structure's codes were taken from.
        """
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
        return _packaged() if path is None else cls(*_read(Path(path)))

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
        for key in _keys(name):
            if key in self._by_key:
                return self._by_key[key]
        return None

    def nearest(self, name: str, count: int = 3) -> list[str]:
        """Return up to `count` preferred names that look most like `name`, the best first.

        Sides that `name` leaves open are offered together: the nearest of "kidny" are the kidney and its two sides.
        Nothing is returned for a name that resembles none.
        """
        wanted = [key for key in _keys(name) if key]
        if not wanted or count < 1:
            return []
        scores: dict[str, float] = {}
        for key, structure in self._by_key.items():
            score = max(_likeness(candidate, key) for candidate in wanted)
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

    def _sides(self, name: str) -> list[str]:
        twin = self.twin(name)
        if twin is not None:
            return [twin.name]
        return [part.name for part in self._parts.get(name, ()) if part.division == "side"]


def name_key(name: str) -> frozenset[str]:
    """Return the words by which names are compared; two spellings of one name have the same key."""
    return _key(name, split_glued=False)


def mirrored(key: frozenset[str]) -> frozenset[str]:
    """Return a name's key with left and right exchanged."""
    exchange = {LEFT: RIGHT, RIGHT: LEFT}
    return frozenset(exchange.get(word, word) for word in key)


def _keys(name: str) -> list[frozenset[str]]:
    """Return the keys a name may be meant by: as it stands, then with what is run together ("LKidney") split."""
    return [_key(name, split_glued=False), _key(name, split_glued=True)]


@lru_cache(maxsize=8192)
def _key(name: str, split_glued: bool) -> frozenset[str]:
    text = unicodedata.normalize("NFKD", name)
    text = "".join(character for character in text if not unicodedata.combining(character))
    if split_glued:
        text = _GLUED_SIDE.sub(r"\1 ", _CAMEL.sub(" ", text).casefold())
    words = re.split(r"[\W_]+", _VERTEBRA.sub(r"\1", text.casefold()))
    return frozenset(_word(word) for word in words if word and word not in _FILLERS)


def _word(word: str) -> str:
    """Return the one form that stands for a word's spellings."""
    word = _SIDES.get(word, _ORDINALS.get(word, word))
    if word.isdigit():
        return word.lstrip("0") or "0"
    for pattern, replacement in _BRITISH:
        word = pattern.sub(replacement, word)
    return _singular(_IRREGULAR.get(word, word))


def _singular(word: str) -> str:
    # An ending is only ever removed, on both sides of a comparison, so a wrong stem is harmless as long as no
    # two structures come to share a key, which is checked when the vocabulary is made.
    if len(word) > 4 and word.endswith("ae"):
        return word[:-1]
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


def _likeness(wanted: frozenset[str], candidate: frozenset[str]) -> float:
    """Return 0 to 1; words that were asked for and are missing weigh more than words that are there unasked."""
    asked = sum(max(_ratio(word, other) for other in candidate) for word in wanted) / len(wanted)
    given = sum(max(_ratio(word, other) for other in wanted) for word in candidate) / len(candidate)
    return 0.7 * asked + 0.3 * given


@lru_cache(maxsize=65536)
def _ratio(first: str, second: str) -> float:
    if first.isdigit() or second.isdigit():
        return float(first == second)  # A rib's number is not a matter of likeness.
    return SequenceMatcher(None, first, second, autojunk=False).ratio()


def _unique(names: Sequence[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _listed(names: Sequence[str]) -> str:
    return " or ".join(f'"{name}"' for name in names)


def _serialized(code: Code | None) -> str:
    return "^^" if code is None else str(code)


@lru_cache(maxsize=1)
def _packaged() -> Vocabulary:
    return Vocabulary(*_read(resource_path("structures.json")))


def _read(path: Path) -> tuple[list[Structure], Filling]:
    """Read a structures file.

    Raises:
        UserError: it cannot be read, is not JSON, or an entry is not valid; the entry is named.
    """
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"The structures file {path.name} cannot be read ({error.strerror}): check that it is there."
        ) from error
    except ValueError as error:
        raise UserError(f"The structures file {path.name} is not valid JSON ({error}): correct it there.") from error
    entries = document.get("structures") if isinstance(document, dict) else None
    if not isinstance(entries, list) or not entries:
        raise UserError(f'The structures file {path.name} has no list of "structures": it must be an object with one.')
    contexts = document.get("contexts")
    if not isinstance(contexts, dict) or not all(_is_text(text) and "~" not in text for text in contexts.values()):
        raise UserError(
            f'The structures file {path.name} has no "contexts": it must name each terminology that it uses.'
        )
    structures = [_structure(entry, number, contexts, path.name) for number, entry in enumerate(entries, start=1)]
    return structures, _filling(document.get("filling"), path.name)


def _filling(said: Any, file_name: str) -> Filling:
    """Make what the file says of divisions that fill their whole; a file that says nothing knows of none.

    Raises:
        UserError: it is not valid.
    """
    said = {} if said is None else said
    parts = said if isinstance(said, dict) else {"": None}
    everywhere, within = parts.get("everywhere", []), parts.get("within", {})
    if (
        parts.keys() - {"everywhere", "within"}
        or not _is_texts(everywhere)
        or not isinstance(within, dict)
        or not all(_is_texts(divisions) for divisions in within.values())
    ):
        raise UserError(
            f'"filling" of the structures file {file_name} is not valid: it must have a list of divisions, '
            '"everywhere", and an object of such lists by the names of wholes, "within".'
        )
    return Filling(tuple(everywhere), {whole: tuple(divisions) for whole, divisions in within.items()})


def _structure(entry: Any, number: int, contexts: dict[str, str], file_name: str) -> Structure:
    """Make a structure of an entry of the file.

    Raises:
        UserError: the entry is not valid; it is named, with what is wrong.
    """
    complaint = _complaint(entry, contexts)
    if complaint:
        name = entry.get("name") if isinstance(entry, dict) else None
        called = f' ("{name}")' if isinstance(name, str) else ""
        raise UserError(f"Structure {number}{called} of {file_name} is not valid: {complaint}.")
    codes = {name: Code(*entry[name]) if entry.get(name) is not None else None for name in _CODES}
    return Structure(
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


def _complaint(entry: Any, contexts: dict[str, str]) -> str | None:
    """Return what is wrong with an entry, or None."""
    if not isinstance(entry, dict):
        return "it must be an object with the fields of a structure"
    missing, unknown = sorted(_REQUIRED - entry.keys()), sorted(entry.keys() - _REQUIRED - _OPTIONAL)
    if missing:
        return f"it lacks {', '.join(missing)}"
    if unknown:
        return f"it has the unknown field {', '.join(unknown)}"
    for name, (is_valid, rule) in _RULES.items():
        optional = name in _OPTIONAL and entry.get(name) is None
        if not optional and not is_valid(entry[name]):
            return f"{name} must be {rule}"
    if (entry.get("part_of") is None) != (entry.get("division") is None):
        return "part_of and division must be given together"
    if entry.get("context", "own") not in contexts:
        return 'context must be one that the file names under "contexts"'
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(_is_text(text) for text in value)


def _is_color(value: Any) -> bool:
    # `type` and not `isinstance`, because `true` is an int in Python and no color.
    return isinstance(value, list) and len(value) == 3 and all(type(c) is int and 0 <= c <= 255 for c in value)


def _is_code(value: Any) -> bool:
    # The two separators of a serialized terminology entry cannot stand inside a code.
    return _is_texts(value) and len(value) == 3 and not any(set("~^") & set(text) for text in value)


_CODES = ("category", "type", "modifier", "anatomic_region", "anatomic_region_modifier")
_REQUIRED = {"name", "category", "type", "color", "region", "symmetric"}
_OPTIONAL = {"synonyms", "modifier", "part_of", "division", "context", *_CODES[3:]}
_RULES = {
    "name": (_is_text, "a text"),
    "synonyms": (_is_texts, "a list of texts"),
    "region": (_is_text, "a text"),
    "part_of": (_is_text, "a text or null"),
    "division": (_is_text, "a text or null"),
    "context": (_is_text, "a text"),
    "symmetric": (lambda value: isinstance(value, bool), "true or false"),
    "color": (_is_color, "three whole numbers from 0 to 255"),
    **{name: (_is_code, "a list of code value, coding scheme and code meaning, three texts") for name in _CODES},
}
