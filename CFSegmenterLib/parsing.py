"""What a file says that does not fit its model, in words."""

from __future__ import annotations

from pydantic import ValidationError


def first_complaint(error: ValidationError) -> str:
    """The first thing that does not fit, and where, as words within a sentence: "at 'labels.liver': ..."."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]) or "the top"
    if first["type"] == "extra_forbidden":
        return f"at '{where}': there is nothing of that name"
    return f"at '{where}': {first['msg']}"
