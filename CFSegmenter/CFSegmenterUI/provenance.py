"""Provenance: what made a segment or a map, so that a scene says it years later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

PREFIX = "CFSegmenter."
"""Begins the names of all that this module writes on segments (tags) and nodes (attributes)."""

MODEL, VERSION, DATE = PREFIX + "Model", PREFIX + "Version", PREFIX + "Date"


@dataclass(frozen=True)
class Provenance:
    """What made a result: a model's name and version, and an ISO date."""

    model: str
    version: str
    date: str


def writeOn(node: Any, made: Provenance) -> None:
    """Note on a node what made its content."""
    node.SetAttribute(MODEL, made.model)
    node.SetAttribute(VERSION, made.version)
    node.SetAttribute(DATE, made.date)


def readFrom(node: Any) -> Provenance:
    """What made a node's content; empty texts where that is not known."""
    return Provenance(*(node.GetAttribute(name) or "" for name in (MODEL, VERSION, DATE)))
