"""`cfsegmenter cases`: annotated images kept in a folder to learn from."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from ..errors import UserError
from . import options
from .console import Cell, print_table, say

app = typer.Typer(help="Keep annotated images in a case folder, to update a model with.", rich_markup_mode="rich")

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The case folder.")]


class SplitName(StrEnum):
    """A split of a case folder, as an option."""

    training = "training"
    validation = "validation"


@app.callback(invoke_without_command=True)
def _cases(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("add")
def add(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The case folder; made where it does not exist.")],
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A NIfTI, NRRD or MetaImage file, or a DICOM folder.")],
    labels: Annotated[Path, typer.Argument(metavar="LABELS", help="A label map on the image's grid.")],
    structures: Annotated[
        str, typer.Option("--structures", "-s", help='What the label values stand for, as "1=liver, 2=spleen".')
    ],
    complete: Annotated[
        str,
        typer.Option(
            "--complete",
            "-c",
            help='The structures that are drawn completely, or "all". Of the others, what is drawn counts.',
        ),
    ],
    modality: options.Modality = None,
    split: Annotated[
        SplitName | None, typer.Option("--split", help="Else every fourth case of a source is for validation.")
    ] = None,
    subject: Annotated[
        str | None, typer.Option("--subject", help="Who it is, to keep a subject in one split; only a hash is kept.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--source", help='Of cases that belong together; else "ct cases" after the modality.')
    ] = None,
) -> None:
    """Copy an annotated image into a case folder, under a number."""
    options.existing([image], "image")
    options.existing([labels], "label map")
    values = label_values(structures)
    names = [name.strip() for name in complete.split(",") if name.strip()]
    if [name.lower() for name in names] == ["all"]:
        names = list(values.values())

    from ..case_folder import CaseFolder
    from ..files.reading import read_labels, read_volume

    cases = CaseFolder.open(folder)
    _warn_of_strangers(list(values.values()))
    volume, drawn = read_volume(image, modality=modality), read_labels(labels)
    if not volume.on_same_grid_as(drawn):
        raise UserError(f"The label map {labels} does not lie on the grid of {image}; resample it first.")
    added = cases.add(
        volume,
        drawn.array,
        values,
        names,
        source=source,
        split=None if split is None else split.value,
        subject=subject,
    )
    _print([case for case in cases.cases if case.number == added.number])


@app.command("list")
def list_cases(folder: Folder) -> None:
    """List the cases of a folder."""
    options.existing([folder], "folder")

    from ..case_folder import CaseFolder

    cases = CaseFolder.open(folder).cases
    if not cases:
        raise UserError(f"The folder {folder} holds no case yet; add one with `cfsegmenter cases add`.")
    _print(cases)


@app.command("withdraw")
def withdraw(
    folder: Folder,
    numbers: Annotated[list[int], typer.Argument(metavar="NUMBER...", help="The cases, as `cases list` shows them.")],
) -> None:
    """Take cases back; their files are moved aside and not deleted."""
    options.existing([folder], "folder")

    from ..case_folder import WITHDRAWN, CaseFolder

    cases = CaseFolder.open(folder)
    for number in dict.fromkeys(numbers):
        cases.withdraw(number)
        say(f"Case {number} is withdrawn; its files are in {folder / WITHDRAWN}.")


def label_values(said: str) -> dict[int, str]:
    """Label value -> structure, from "1=liver, 2=spleen".

    Raises:
        UserError: it is something else.
    """
    values: dict[int, str] = {}
    for part in (each.strip() for each in said.split(",") if each.strip()):
        value, equals, name = (word.strip() for word in part.partition("="))
        if not equals or not value.isdecimal() or not name:
            raise UserError(f"'{part}' is not a value and its structure; say --structures \"1=liver, 2=spleen\".")
        if int(value) in values:
            raise UserError(f"The label value {value} stands for two structures in --structures; leave one out.")
        values[int(value)] = name
    if not values:
        raise UserError('Nothing stands in --structures; say it as "1=liver, 2=spleen".')
    return values


def _warn_of_strangers(names: list[str]) -> None:
    """Tell of names that the vocabulary does not know: they may be new, or misspelled."""
    from ..structures import Vocabulary

    vocabulary = Vocabulary.load()
    for name in names:
        if name not in vocabulary:
            near = vocabulary.nearest(name, 2)
            hint = f" (or did you mean {' or '.join(near)}?)" if near else ""
            say(f"'{name}' is not in the vocabulary and becomes a structure of its own{hint}.", "yellow")


def _print(cases) -> None:
    columns = ("case", "split", "source", "modality", "subject", "structures", "complete")
    rows: list[list[Cell]] = [
        [
            case.number,
            case.split,
            case.source,
            case.modality,
            case.subject,
            ", ".join(case.structures),
            ", ".join(case.annotated),
        ]
        for case in cases
    ]
    print_table(columns, rows)
