"""`cfsegmenter models versions|accept|reject|rollback|compare`: decisions about the versions in a store."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from .console import Cell, print_table, say

if TYPE_CHECKING:
    from ..stored_version import StoredVersion

Store = Annotated[Path, typer.Argument(metavar="STORE", help="The folder of a store.")]
Version = Annotated[str, typer.Argument(metavar="VERSION", help="As `models versions` shows it.")]


def versions(store: Store) -> None:
    """List the versions in a store: what was decided about each, and which one is used."""
    from ..store import ModelStore

    _print(ModelStore.open(store).versions)


def accept(
    store: Store,
    version: Version,
    confirmed: Annotated[
        bool, typer.Option("--confirmed", help="Accept it even if structures that it knew before have got worse.")
    ] = False,
) -> None:
    """Make a version the one that is used."""
    from ..acceptance import NeedsConfirmation
    from ..store import ModelStore

    opened = ModelStore.open(store)
    try:
        accepted = opened.accept(version, confirmed=confirmed)
    except NeedsConfirmation as error:
        if not _on_a_terminal():
            raise UserError(
                f"{error.reason} Read the report, then add --confirmed to accept it all the same."
            ) from error
        if not typer.confirm(f"{error.reason} Accept version {version} all the same?", err=True):
            raise UserError(f"Version {version} was not accepted; version {opened.active.name} is used on.") from error
        accepted = opened.accept(version, confirmed=True)
    _print([accepted])


def reject(store: Store, version: Version) -> None:
    """Decide against a version; it stays in the store."""
    from ..store import ModelStore

    _print([ModelStore.open(store).reject(version)])


def rollback(store: Store) -> None:
    """Return to the version that was used before; nothing is lost."""
    from ..store import ModelStore

    _print([ModelStore.open(store).rollback()])


def compare(
    store: Store,
    first: Annotated[str, typer.Argument(metavar="VERSION", help="A version.")],
    second: Annotated[str, typer.Argument(metavar="VERSION", help="Another one.")],
) -> None:
    """Show two versions side by side: what each knows, and how good each is."""
    from ..store import ModelStore

    found = ModelStore.open(store).compare(first, second)
    print_table(
        ("structure", "source", "modality", f"Dice {first}", f"Dice {second}", "change (points)",
         f"distance {first} (mm)", f"distance {second} (mm)"),
        [_compared(row) for row in found["scores"]],
    )  # fmt: skip
    for name, other in (("a", "b"), ("b", "a")):
        only = found["structures"][f"only_{name}"]
        if only:
            say(f"Only version {found[name]} knows {', '.join(only)}, and version {found[other]} does not.")
    if not found["scores"]:
        say("Of neither version a score is known.", "yellow")
    elif not found["same_cases"]:
        say("The scores of the two were measured at different times, perhaps on different cases.", "yellow")
    if found["lineage"] is None:
        say("Neither version was made from the other.")


def _compared(row: dict[str, Any]) -> list[Cell]:
    a, b = row["dice_a"], row["dice_b"]
    change = None if a is None or b is None else f"{100 * (b - a):+.1f}"
    return [row["structure"], row["source"], row["modality"], a, b, change, row["distance_a"], row["distance_b"]]


def _print(found: Sequence[StoredVersion]) -> None:
    columns = ("version", "status", "used", "made from", "created", "structures", "added", "report")
    print_table(columns, [_row(each) for each in found])


def _row(version: StoredVersion) -> list[Cell]:
    decided: list[Cell] = [version.name, version.status, "yes" if version.active else None]
    try:
        manifest = version.manifest
    except UserError as error:  # one damaged version must not hide the others
        say(str(error), "yellow")
        return [*decided, None, None, None, None, None]
    added = ", ".join(str(name) for name in manifest.update.get("added") or ())
    page = str(version.page) if version.has_report else None
    return [*decided, manifest.parent, manifest.created, len(manifest.structures), added or None, page]


def _on_a_terminal() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin.isatty() and sys.stderr.isatty()
