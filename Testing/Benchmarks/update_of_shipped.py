"""What does the shipped model lose when it is taught something new? Teach it organs in CT, and ask for the old ones.

    python -m Testing.Benchmarks.update_of_shipped --data DATA --out runs/update-of-shipped

It is taught three structures on five abdominal CT scans, with the update's default settings but for the number of
steps: once with nothing else, and once beside unlabelled images of what it knew, two of each source. Some validation
cases of every source are scored before and after, on the structures that each annotates.

An update that was stopped goes on where it was; a finished one is not repeated.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from CFSegmenterLib.cases import CaseList
from CFSegmenterLib.catalogue import find_model
from CFSegmenterLib.evaluation import evaluate_cases, summarize
from CFSegmenterLib.model import Model, load_model
from CFSegmenterLib.progress import Progress, silent
from CFSegmenterLib.segmenter import Segmenter
from CFSegmenterLib.settings import UpdateSettings
from CFSegmenterLib.training import Trainer
from CFSegmenterLib.update_planning import plan_update
from Testing.Benchmarks.accuracy.sources import read_source, restricted, without_annotation
from Testing.Benchmarks.measure import RESULTS, environment, markdown_table, write_json, write_table

MODEL = "general"
NEW_SOURCE, NEW = "btcv_ct", ("stomach", "aorta", "gallbladder")
TAUGHT_ON = 5
"""Training cases of the new source."""
SCORED = {
    "msd_hippocampus": 5,
    "oasis_brain_t1": 2,
    "chaos_mr_t2": 2,
    "acdc_cine_mr": 3,
    "openkbp_hn_ct": 3,
    NEW_SOURCE: 3,
}
"""Validation cases of each source that are asked."""
REMINDERS = 2
"""Unlabelled training images of each old source."""
VARIANTS = {"as shipped": None, "updated": False, "updated beside unlabelled old images": True}
"""Name -> whether it is reminded; None is not updated at all."""


def few(cases: CaseList, split: str, most: int) -> CaseList:
    """The first cases of one split."""
    return replace(cases, cases=cases.of(split)[:most])


def run_variant(
    name: str, model: Model, data: Path, settings: UpdateSettings, folder: Path, progress: Progress = silent
) -> dict[str, Any]:
    """Update and score one variant, or read what it gave before.

    Raises:
        UserError: `folder` holds an update with other settings.
    """
    result = folder / "result.json"
    said: dict[str, Any] = {"variant": name, "asked": settings.model_dump(mode="json")}
    if result.exists():
        before = json.loads(result.read_text(encoding="utf-8"))
        if before.get("asked") == said["asked"]:
            return before
    if VARIANTS[name] is not None:
        taught = restricted(few(read_source(data, NEW_SOURCE), "training", TAUGHT_ON), NEW)
        old = [few(read_source(data, source), "training", REMINDERS) for source in SCORED if source != NEW_SOURCE]
        reminders = without_annotation(old) if VARIANTS[name] else ()
        plan = plan_update(model, [taught], settings, unannotated=reminders, progress=progress)
        trainer = Trainer(plan, folder, progress=progress)
        trainer.train(progress)
        model = trainer.model()
        said |= {"minutes": round(trainer.seconds / 60, 1), "settings": plan.settings.model_dump(mode="json")}
    said |= {"scores": scores(model, data), "environment": environment()}
    folder.mkdir(parents=True, exist_ok=True)
    write_json(result, said)
    return said


def scores(model: Model, data: Path) -> dict[str, float | None]:
    """Mean Dice over the structures of each old source, and of each new structure; None where it is not known."""
    segmenter, found = Segmenter(model), {}
    for source, count in SCORED.items():
        cases = few(read_source(data, source), "validation", count)
        if source == NEW_SOURCE:
            rows = summarize(evaluate_cases(segmenter, restricted(cases, NEW).cases, distances=False))["structures"]
            dice = {row["structure"]: row["dice"] for row in rows}
            found |= {name: dice.get(name) for name in NEW}
        else:
            summary = summarize(evaluate_cases(segmenter, cases.cases, distances=False))
            found[source] = summary["sources"][source]["dice"]
    return found


def table(results: Sequence[Mapping[str, Any]]) -> str:
    """Markdown: a row a source or new structure, a column a variant."""
    rows = []
    for name in results[0]["scores"]:
        values = [each["scores"][name] for each in results]
        count = SCORED.get(name, SCORED[NEW_SOURCE])
        rows.append([name, str(count), *("" if value is None else f"{value:.3f}" for value in values)])
    rows.append(["minutes", "", *(f"{each['minutes']:g}" if "minutes" in each else "" for each in results)])
    return markdown_table(["Dice", "cases", *(each["variant"] for each in results)], rows)


def report(folder: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Write update_of_shipped.json and the table with what matters most of the settings."""
    write_json(folder / "update_of_shipped.json", list(results))
    used = results[-1]["settings"]
    said = (
        f"{', '.join(NEW)} taught on {TAUGHT_ON} scans of {NEW_SOURCE}: {used['iterations']} steps of "
        f"{used['patches_per_step']} patches, learning rate {used['learning_rate']:.2g}; {REMINDERS} unlabelled images "
        "of each old source, where there are any."
    )
    write_table(folder / "update_of_shipped.md", f"{table(results)}\n\n{said}", results[-1]["environment"])


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds a folder a source.")],
    out: Annotated[Path, typer.Option(help="Where updates and their results go.")] = Path("runs/update-of-shipped"),
    iterations: int = 100,
    threads: int = 1,
    results: Annotated[Path, typer.Option(help="Folder for the table and what it was made of.")] = RESULTS,
) -> None:
    """Update the shipped model with and without reminders, score it, and write the table."""
    torch.set_num_threads(threads)
    model = load_model(find_model(MODEL))
    settings = UpdateSettings(budget_seconds=None, iterations=iterations)
    measured = []
    for number, name in enumerate(VARIANTS):
        typer.echo(name)
        measured.append(run_variant(name, model, data, settings, out / str(number), _say))
    report(results, measured)
    typer.echo(table(measured))


def _say(done: int, total: int, message: str) -> bool:
    if done % 10 == 0:
        typer.echo(f"  {done} of {total}: {message}")
    return True


if __name__ == "__main__":
    typer.run(main)
