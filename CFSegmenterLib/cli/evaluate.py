"""`cfsegmenter evaluate`: a model's answers beside the truth."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..errors import UserError
from . import options
from .console import print_table, say, shown
from .train import case_lists

if TYPE_CHECKING:
    from ..cases import Case, CaseList


class SplitName(StrEnum):
    """A split of a case list, as an option."""

    validation = "validation"
    test = "test"
    training = "training"


def evaluate(
    cases: Annotated[list[Path], typer.Option("--cases", "-c", help="A case list, or a folder with its dataset.json.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The report, a JSON file.")],
    model: options.Model = None,
    split: Annotated[
        SplitName | None, typer.Option("--split", help="Which cases; else validation, or test where there is none.")
    ] = None,
    impossible: Annotated[
        bool, typer.Option("--impossible", help="Also ask for structures that the images cannot contain.")
    ] = False,
    distances: Annotated[bool, typer.Option("--distances/--no-distances", help="Measure surface distances.")] = True,
    record: Annotated[
        bool, typer.Option("--record", help="Write the scores into the model's manifest and card.")
    ] = False,
    device: options.Device = "auto",
    overwrite: options.Overwrite = False,
) -> None:
    """Score a model per structure, source and modality: Dice, average surface distance, number of cases."""
    if out.is_dir():
        raise UserError(f"{out} is a folder; name the JSON file to write, as {out / 'report.json'}.")
    options.free_to_write([out], overwrite)

    from ..cases import read_case_lists

    chosen, splits = _chosen(read_case_lists(case_lists(cases)), split)

    from ..catalogue import find_model
    from ..evaluation import evaluate_fully, summarize, summarize_impossible
    from ..files.writing import write_json
    from ..model import record_scores
    from ..segmenter import Segmenter
    from ..store_index import refuse_version

    folder = find_model(model)
    if record:
        refuse_version(folder)
    segmenter = Segmenter.load(folder, device)
    options.made_folder(out.parent)
    with shown("evaluation") as progress:
        scores, denied = evaluate_fully(
            segmenter, chosen, distances=distances, impossible=impossible, progress=progress
        )
    if not scores:
        raise UserError(
            "The model knows none of the structures that these cases annotate, so there is nothing to score."
        )
    summary = {"split": splits, **summarize(scores)}
    if impossible:
        summary["impossible"] = summarize_impossible(denied)
    manifest = segmenter.model.manifest
    about = {"name": manifest.name, "version": manifest.version, "weights_sha256": manifest.weights_sha256}
    write_json(out, {"model": about, **summary})
    if record:
        record_scores(folder, summary)
    _print(summary)
    say(f"The report is {out}" + (f"; the scores stand in the model {folder}." if record else "."))


def _chosen(lists: Sequence[CaseList], split: SplitName | None) -> tuple[list[Case], dict[str, str]]:
    """The cases to score, and source -> split.

    Raises:
        UserError: there is none.
    """
    chosen: list[Case] = []
    splits: dict[str, str] = {}
    for each in lists:
        wanted = (split.value,) if split else ("validation", "test")
        found = next((s for s in wanted if each.of(s)), None)
        if found is None:
            say(f"The source '{each.source}' has no {' or '.join(wanted)} case and is left out.", "yellow")
            continue
        if found != wanted[0]:
            say(f"The source '{each.source}' has no validation case; its test cases are scored instead.", "yellow")
        chosen += each.of(found)
        splits[each.source] = found
    if not chosen:
        raise UserError("There is no case to score; choose another --split, or name another case list.")
    return chosen, splits


def _print(summary: dict[str, Any]) -> None:
    columns = ("structure", "source", "modality", "Dice", "distance (mm)", "cases", "false positives")
    keys = ("structure", "source", "modality", "dice", "distance_mm", "cases", "false_positives")
    rows = [[row[key] for key in keys] for row in summary["structures"]]
    for source, row in summary["sources"].items():
        rows.append(["(mean)", source, row["modality"], row["dice"], row["distance_mm"], row["cases"], None])
    print_table(columns, rows)
    for row in summary.get("impossible", []):
        say(
            f"{row['source']}: {row['structures']} structures that its images cannot contain were asked for; on "
            f"average {row['ml_per_case']:.2f} ml a case were taken for one of them, most for '{row['worst']}'."
            if row["ml_per_case"]
            else f"{row['source']}: none of {row['structures']} structures that its images cannot contain was found."
        )
