"""Spelling: how names are compared, and how much one looks like another."""

from __future__ import annotations

import re
import unicodedata
from difflib import SequenceMatcher
from functools import lru_cache

LEFT, RIGHT = "left", "right"
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


def name_key(name: str) -> frozenset[str]:
    """Return the words by which names are compared; two spellings of one name have the same key."""
    return _key(name, split_glued=False)


def mirrored(key: frozenset[str]) -> frozenset[str]:
    """Return a name's key with left and right exchanged."""
    exchange = {LEFT: RIGHT, RIGHT: LEFT}
    return frozenset(exchange.get(word, word) for word in key)


def possible_keys(name: str) -> list[frozenset[str]]:
    """Return the keys a name may be meant by: as it stands, then with what is run together ("LKidney") split."""
    return [_key(name, split_glued=False), _key(name, split_glued=True)]


def likeness(wanted: frozenset[str], candidate: frozenset[str]) -> float:
    """Return 0 to 1; words that were asked for and are missing weigh more than words that are there unasked."""
    asked = sum(max(_ratio(word, other) for other in candidate) for word in wanted) / len(wanted)
    given = sum(max(_ratio(word, other) for other in wanted) for word in candidate) / len(candidate)
    return 0.7 * asked + 0.3 * given


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


@lru_cache(maxsize=65536)
def _ratio(first: str, second: str) -> float:
    if first.isdigit() or second.isdigit():
        return float(first == second)  # A rib's number is not a matter of likeness.
    return SequenceMatcher(None, first, second, autojunk=False).ratio()
