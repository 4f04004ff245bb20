"""Which structure a segment is meant to be: by our own tag, by its terminology, by its name; and what one says of it
that no vocabulary knows.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any

import slicer
import vtk

from CFSegmenterLib.structure_file import CODES
from CFSegmenterLib.structures import Structure, Vocabulary

from . import labelmaps
from .segmentations import STRUCTURE_TAG

NUMBERED = re.compile(r"segment[ _-]?\d*", re.IGNORECASE)
"""What Slicer calls a segment by itself; it says nothing of what was painted."""

TISSUE = "85756007"
"""The code of category and type that Slicer gives a new segment by itself; it says nothing either."""

Concept = tuple[tuple[str, str], ...]
"""(scheme, value) of type, modifier, region and modifier of the region; two empty texts for what is not said."""


def meaningOf(segment: Any, vocabulary: Vocabulary) -> str:
    """A name for what the segment shows, by the vocabulary's preferred name where it has one; "" where nobody said."""
    tagged = vtk.reference("")
    if segment.GetTag(STRUCTURE_TAG, tagged) and str(tagged):
        return str(tagged)
    name = segment.GetName() or ""
    coded, named = structureOfTerm(termOf(segment), vocabulary), vocabulary.get(name)
    if coded is not None and named is not None:
        # A name may say more than a code: which side it is, or which end of it.
        isFiner = vocabulary.contains(coded.name, named.name)
        return named.name if isFiner else coded.name
    known = coded or named
    if known is not None:
        return known.name
    return "" if NUMBERED.fullmatch(name.strip()) else " ".join(name.lower().split())


def termOf(segment: Any) -> str:
    """The serialized terminology entry of a segment, "" where it has none."""
    entry = vtk.reference("")
    return str(entry) if segment.GetTag(segment.GetTerminologyEntryTagName(), entry) else ""


def isEmpty(segment: Any) -> bool:
    """Whether nothing was painted; one that consists of a surface is taken for painted."""
    image = segment.GetRepresentation(labelmaps.representationName())
    if image is None:
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        return segment.GetRepresentation(surface) is None
    if image.GetPointData().GetScalars() is None:
        return True
    return not (labelmaps.arrayOf(image) == segment.GetLabelValue()).any()


def structureOfTerm(entry: str, vocabulary: Vocabulary) -> Structure | None:
    """The structure whose codes a serialized terminology entry has, in whatever terminology it was found."""
    concept = _conceptOf(entry)
    if not any(value for _scheme, value in concept):
        return None
    return _structuresByConcept(vocabulary).get(concept)


def ownEntryOf(name: str, color: Sequence[float], term: str, vocabulary: Vocabulary) -> dict[str, Any]:
    """The entry (see `own_structures`) of a structure that the vocabulary does not know.

    A code that the vocabulary has for a structure of its own stays that structure's: the name was changed since.

    Args:
        color: of its segment, red, green and blue, 0 to 1.
        term: the serialized terminology entry that was chosen for it, "" for none.
    """
    entry: dict[str, Any] = {"name": name, "color": [round(255 * part) for part in color]}
    fields = _fieldsOf(term)
    category, kind = fields[0][0], fields[1][0]
    if not (category and kind) or kind == TISSUE or structureOfTerm(term, vocabulary) is not None:
        return entry
    for code, number in zip(CODES, (0, 1, 2, 4, 5)):
        value, scheme, meaning = fields[number]
        if value and scheme:
            entry[code] = [value, scheme, meaning or value]
    context = term.split("~")[0].strip()
    return {**entry, "context": context} if context else entry


def nameOfTerm(entry: str, vocabulary: Vocabulary) -> str:
    """A structure's name for a terminology entry: the vocabulary's, or made of the entry's own words."""
    known = structureOfTerm(entry, vocabulary)
    if known is not None:
        return known.name
    fields = _fieldsOf(entry)
    side = [fields[number][2] for number in (2, 5) if fields[number][2]]
    return " ".join(" ".join([*side, fields[1][2]]).lower().split())


@functools.lru_cache(maxsize=8)
def _structuresByConcept(vocabulary: Vocabulary) -> dict[Concept, Structure]:
    """Of several structures with the same codes the first one, which is the whole of the others."""
    found: dict[Concept, Structure] = {}
    for structure in (each for each in vocabulary if each.type is not None):
        found.setdefault(_conceptOf(structure.terminology_entry()), structure)
    return found


def _conceptOf(entry: str) -> Concept:
    fields = _fieldsOf(entry)
    return tuple((fields[number][1], fields[number][0]) if fields[number][0] else ("", "") for number in (1, 2, 4, 5))


def _fieldsOf(entry: str) -> list[tuple[str, str, str]]:
    """(value, scheme, meaning) of category, type, modifier, -, region and modifier of the region."""
    fields = []
    for text in (entry.split("~")[1:] + [""] * 6)[:6]:
        scheme, value, meaning = (text.split("^") + [""] * 3)[:3]
        fields.append((value, scheme, meaning))
    return fields
