"""Structures files, such as Resources/structures.json: read, and checked entry by entry."""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from .errors import UserError

CODES = ("category", "type", "modifier", "anatomic_region", "anatomic_region_modifier")
"""Fields of an entry that hold a code: value, coding scheme, meaning."""


def read_structure_file(path: Path) -> dict[str, Any]:
    """Read a structures file; its fields are explained in the comment of the packaged one.

    Returns:
        The content, checked: "structures", "contexts", and "filling" if it has one.

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
    for number, entry in enumerate(entries, start=1):
        complaint = _complaint(entry, contexts)
        if complaint:
            name = entry.get("name") if isinstance(entry, dict) else None
            called = f' ("{name}")' if isinstance(name, str) else ""
            raise UserError(f"Structure {number}{called} of {path.name} is not valid: {complaint}.")
    if not _is_filling(document.get("filling")):
        raise UserError(
            f'"filling" of the structures file {path.name} is not valid: it must have a list of divisions, '
            '"everywhere", and an object of such lists by the names of wholes, "within".'
        )
    return document


def complaint_about_own(entry: Any) -> str | None:
    """Return what is wrong with an entry for a structure that no vocabulary knows, or None.

    It has the fields of an entry for one that does not hang together with others, and needs its name only. `context`
    is the terminology itself: there is no file to name it in.
    """
    wrong = _wrong_fields(entry, _OWN_REQUIRED, _OWN_OPTIONAL)
    if wrong:
        return wrong
    if "~" in (entry.get("context") or ""):
        return 'context must be a text without "~"'
    coded = [name for name in CODES if entry.get(name) is not None]
    if coded and not {"category", "type"} <= set(coded):
        return "it must have category and type, or no code at all"
    return None


def _complaint(entry: Any, contexts: dict[str, str]) -> str | None:
    """Return what is wrong with an entry, or None."""
    wrong = _wrong_fields(entry, _REQUIRED, _OPTIONAL)
    if wrong:
        return wrong
    if (entry.get("part_of") is None) != (entry.get("division") is None):
        return "part_of and division must be given together"
    if entry.get("context", "own") not in contexts:
        return 'context must be one that the file names under "contexts"'
    return None


def _wrong_fields(entry: Any, required: Set[str], optional: Set[str]) -> str | None:
    if not isinstance(entry, Mapping):
        return "it must be an object with the fields of a structure"
    missing, unknown = sorted(required - entry.keys()), sorted(entry.keys() - required - optional)
    if missing:
        return f"it lacks {', '.join(missing)}"
    if unknown:
        return f"it has the unknown field {', '.join(unknown)}"
    for name in [name for name in _RULES if name in required or entry.get(name) is not None]:
        is_valid, rule = _RULES[name]
        if not is_valid(entry[name]):
            return f"{name} must be {rule}"
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


def _is_filling(value: Any) -> bool:
    if value is None:
        return True
    if not isinstance(value, dict) or value.keys() - {"everywhere", "within"}:
        return False
    everywhere, within = value.get("everywhere", []), value.get("within", {})
    return _is_texts(everywhere) and isinstance(within, dict) and all(_is_texts(named) for named in within.values())


_REQUIRED = {"name", "category", "type", "color", "region", "symmetric"}
_OPTIONAL = {"synonyms", "modifier", "part_of", "division", "context", *CODES[3:]}
_OWN_REQUIRED = {"name"}
_OWN_OPTIONAL = {"color", "region", "context", *CODES}
_RULES = {
    "name": (_is_text, "a text"),
    "synonyms": (_is_texts, "a list of texts"),
    "region": (_is_text, "a text"),
    "part_of": (_is_text, "a text or null"),
    "division": (_is_text, "a text or null"),
    "context": (_is_text, "a text"),
    "symmetric": (lambda value: isinstance(value, bool), "true or false"),
    "color": (_is_color, "three whole numbers from 0 to 255"),
    **{name: (_is_code, "a list of code value, coding scheme and code meaning, three texts") for name in CODES},
}
