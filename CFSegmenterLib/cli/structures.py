"""`cfsegmenter structures`: the names that may be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError
from . import options
from .console import Cell, print_table

if TYPE_CHECKING:
    from ..structures import Structure, Vocabulary


def structures(
    query: Annotated[str | None, typer.Argument(metavar="[QUERY]", help="A name, or words of it.")] = None,
    model: options.Model = None,
    region: Annotated[str | None, typer.Option("--region", "-r", help="Only structures of this region.")] = None,
) -> None:
    """Search the vocabulary, or with --model what a model can be asked for."""
    vocabulary, names = _asked_of(model)
    regions = dict.fromkeys(each.region for each in vocabulary if each.region)
    if region is not None and region not in regions:
        raise UserError(f"There is no region '{region}'; the regions are {', '.join(regions)}.")
    if query is not None:
        names = _matching(query, names, vocabulary)
    known = [(name, vocabulary.get(name)) for name in names]
    if region is not None:
        known = [(name, found) for name, found in known if found is not None and found.region == region]
    if not known:
        where = f" in the region '{region}'" if region else ""
        asked = f" called '{query}'" if query is not None else ""
        raise UserError(f"There is no structure{asked}{where}{f' in the model {model}' if model else ''}.")
    print_table(("structure", "region", "part of", "code", "color"), [_row(*each) for each in known])


def _asked_of(model: str | None) -> tuple[Vocabulary, list[str]]:
    """The vocabulary, with a model's own structures where one is given, and the names that may be asked for."""
    from ..structures import Vocabulary

    vocabulary = Vocabulary.load()
    if model is None:
        return vocabulary, list(vocabulary.names())

    from ..catalogue import find_model
    from ..model import read_manifest
    from ..repertoire import Repertoire

    manifest = read_manifest(find_model(model))
    grown = vocabulary.knowing(manifest.own_structures)
    return grown, list(Repertoire(manifest.structures, grown).structures)


def _matching(query: str, names: list[str], vocabulary: Vocabulary) -> list[str]:
    """The names that mean the query, or that hold all of its words, in a name or a synonym.

    Raises:
        UserError: there is none; the sentence offers the nearest.
    """
    from ..spelling import name_key

    wanted, exact = name_key(query), vocabulary.get(query)
    found = [name for name in names if exact is not None and name == exact.name]
    for name in names:
        known = vocabulary.get(name)
        spellings = (name, *(known.synonyms if known else ()))
        if name not in found and wanted and any(wanted <= name_key(spelling) for spelling in spellings):
            found.append(name)
    if not found:
        near = [name for name in vocabulary.nearest(query, 5) if name in names]
        hint = f"; did you mean {' or '.join(near)}?" if near else "; try one word of it."
        raise UserError(f"There is no structure called '{query}'{hint}")
    return found


def _row(name: str, found: Structure | None) -> list[Cell]:
    if found is None:
        return [name, None, None, None, None]
    codes = [code for code in (found.type, found.modifier) if code is not None]
    said = " + ".join(f"{code.scheme} {code.value} {code.meaning}" for code in codes)
    return [name, found.region or None, found.part_of, said or None, found.color]
