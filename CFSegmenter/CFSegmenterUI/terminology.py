"""The vocabulary's codes as Slicer's terminology, so that a segment says in code what it is."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import vtk

from CFSegmenterLib.structures import Code, Structure, Vocabulary

CONTEXT = "Segmentation category and type - CFSegmenter"
"""The terminology of the structures that none of Slicer's own lists."""

SCHEMA = "https://raw.githubusercontent.com/qiicr/dcmqi/master/doc/schemas/segment-context-schema.json#"


def entryOf(structure: Structure) -> str:
    """The terminology entry of a segment, serialized as Slicer does."""
    return structure.terminology_entry()


def registerContext(logic: Any, folder: str | Path) -> None:
    """Make our own terminology known to Slicer, once; without it a loaded scene's entries are not found anywhere.

    Args:
        logic: of the module Terminologies.
        folder: for the file that the logic reads; it may be deleted later.
    """
    if CONTEXT in _loadedContexts(logic):
        return
    path = Path(folder) / "CFSegmenter.term.json"
    path.write_text(json.dumps(contextDocument(Vocabulary.load())), encoding="utf-8")
    logic.LoadTerminologyFromFile(str(path))


def contextDocument(structures: Iterable[Structure]) -> dict[str, Any]:
    """The structures whose codes are in our own terminology, in the schema of segment context files."""
    categories: dict[str, dict] = {}
    for structure in structures:
        if structure.context != CONTEXT:
            continue
        category = categories.setdefault(
            structure.category.value, {**_coded(structure.category), "showAnatomy": False, "types": {}}
        )
        category["showAnatomy"] |= structure.anatomic_region is not None
        _addType(category["types"], structure)
    listed = [{**category, "Type": _listed(category.pop("types"))} for category in categories.values()]
    codes = {"Category": listed}
    return {"SegmentationCategoryTypeContextName": CONTEXT, "@schema": SCHEMA, "SegmentationCodes": codes}


def _addType(types: dict[str, dict], structure: Structure) -> None:
    """A type is listed once, with its sides and other modifiers below it."""
    code = structure.type
    color = {"recommendedDisplayRGBValue": list(structure.color)}
    entry = types.setdefault(code.value, {**_coded(code), **color, "modifiers": {}})
    if structure.modifier is None:
        entry.update(color)
    else:
        entry["modifiers"].setdefault(structure.modifier.value, {**_coded(structure.modifier), **color})


def _listed(types: dict[str, dict]) -> list[dict]:
    listed = []
    for entry in types.values():
        modifiers = list(entry.pop("modifiers").values())
        listed.append({**entry, "Modifier": modifiers} if modifiers else entry)
    return listed


def _coded(code: Code) -> dict[str, str]:
    return {"CodingSchemeDesignator": code.scheme, "CodeValue": code.value, "CodeMeaning": code.meaning}


def _loadedContexts(logic: Any) -> set[str]:
    names = vtk.vtkStringArray()
    logic.GetLoadedTerminologyNames(names)
    return {names.GetValue(i) for i in range(names.GetNumberOfValues())}
