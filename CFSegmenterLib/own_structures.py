"""Structures of somebody's own: what cases and models say of names that the vocabulary does not know.

    {"name": "adrenal cyst", "category": ["49755003", "SCT", "Morphologically Altered Structure"],
     "type": ["367643001", "SCT", "Cyst"], "color": [214, 120, 60], "region": "abdomen"}

An entry has the fields that a structures file has for one that stands for itself: codes, color, region and `context`,
the terminology that lists the codes. Only the name must be there.
"""

from __future__ import annotations

import colorsys
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from .errors import UserError
from .structure_file import CODES, complaint_about_own
from .structures import Code, Structure

DEFAULT_CONTEXT = "Segmentation category and type - DICOM master list"
"""The terminology of codes of which nobody says where they are listed: 3D Slicer's largest."""


def own_structure(entry: Any) -> Structure:
    """The structure that an entry describes; its name is in lower case, as case lists have it.

    Raises:
        UserError: the entry is not valid.
    """
    wrong = complaint_about_own(entry)
    if wrong:
        name = entry.get("name") if isinstance(entry, Mapping) else None
        called = f'"{name}"' if isinstance(name, str) else "a structure of your own"
        raise UserError(f"What is said of {called} is not valid: {wrong}.")
    name = " ".join(entry["name"].lower().split())
    return Structure(
        name=name,
        synonyms=(),
        color=tuple(entry.get("color") or color_of_name(name)),
        region=entry.get("region") or "",
        part_of=None,
        division=None,
        symmetric=False,
        context=entry.get("context") or DEFAULT_CONTEXT,
        **{code: Code(*entry[code]) if entry.get(code) is not None else None for code in CODES},
    )


def entry_of(structure: Structure) -> dict[str, Any]:
    """The entry that describes a structure of somebody's own."""
    codes = {name: getattr(structure, name) for name in CODES}
    entry = {
        "name": structure.name,
        **{name: [code.value, code.scheme, code.meaning] for name, code in codes.items() if code is not None},
        "color": list(structure.color),
    }
    if structure.region:
        entry["region"] = structure.region
    if structure.type is not None and structure.context != DEFAULT_CONTEXT:
        entry["context"] = structure.context
    return entry


def agreed(said: Iterable[Structure]) -> tuple[tuple[Structure, ...], tuple[str, ...]]:
    """What holds where several speak of one name: what was said first, and for what that leaves open the next word.

    Returns:
        One structure a name, and a sentence, without its full stop, for each code that contradicts and is passed over.
    """
    found: dict[str, Structure] = {}
    passed_over: dict[str, None] = {}
    for structure in said:
        first = found.setdefault(structure.name, structure)
        if first.type is None and structure.type is not None:
            first = replace(structure, color=first.color, region=first.region)
        elif structure.type is not None and not _same_code(first, structure):
            passed_over[
                f"{first.name} keeps the code that it was given first, {code_text(first)}, and {code_text(structure)} "
                "is passed over; what is something else needs another name"
            ] = None
            continue
        found[structure.name] = replace(first, region=first.region or structure.region)
    return tuple(found.values()), tuple(passed_over)


def color_of_name(name: str) -> tuple[int, int, int]:
    """A color for a structure of which nobody says one; always the same for the same name."""
    return tuple(round(255 * part) for part in colorsys.hsv_to_rgb(zlib.crc32(name.encode()) / 2**32, 0.6, 0.9))


def code_text(structure: Structure) -> str:
    """The codes of a structure as people read them, without their category; "" where it has none."""
    codes = [getattr(structure, name) for name in CODES[1:]]
    return " + ".join(f"{code.scheme} {code.value} {code.meaning}" for code in codes if code is not None)


def _same_code(first: Structure, second: Structure) -> bool:
    pairs = ((getattr(first, name), getattr(second, name)) for name in CODES)
    return all(a is b if a is None else a.same_as(b) for a, b in pairs)
