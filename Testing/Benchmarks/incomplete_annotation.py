"""What does it cost to annotate only half? Train on the same scans, completely and incompletely annotated.

    python -m Testing.Benchmarks.incomplete_annotation --data DATA --out runs/incomplete

Both trainings see the same hippocampus scans with the same settings. In one every case has both parts drawn. In the
other half of the subjects have only the anterior part drawn and the other half only the posterior part, so that every
case says nothing about one of the two structures. Both models are scored on all validation cases.

A training that was stopped goes on where it was; a finished one is not repeated.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from CFSegmenterLib.cases import Case, CaseList, read_case_lists
from CFSegmenterLib.evaluation import evaluate_cases, summarize
from CFSegmenterLib.planning import plan_training
from CFSegmenterLib.progress import Progress, silent
from CFSegmenterLib.segmenter import Segmenter
from CFSegmenterLib.settings import OF_AN_UPDATE, BackboneSettings, LossSettings, SourceSettings, TrainingSettings
from CFSegmenterLib.training import Trainer
from Testing.Benchmarks.measure import RESULTS, environment, markdown_table, write_json, write_table

SOURCE = "msd_hippocampus"
CELLS = ("complete", "incomplete")
WITHOUT_MEANING = OF_AN_UPDATE | {"unannotated"}
"""Settings that change nothing here: no case is without any annotation."""


def halved(cases: CaseList, seed: int = 0) -> CaseList:
    """The same cases, where each training subject has only one structure annotated, as many subjects for each."""
    subjects = sorted({case.subject for case in cases.of("training")})
    drawn = np.random.default_rng(seed).permutation(len(subjects))
    only = {subjects[s]: cases.structures[rank % len(cases.structures)] for rank, s in enumerate(drawn)}
    return replace(
        cases,
        cases=tuple(
            replace(case, annotated=(only[case.subject],)) if case.split == "training" else case for case in cases.cases
        ),
    )


def settings_for(iterations: int, seed: int, compiled: bool, entropy: float = 0.1) -> TrainingSettings:
    """The settings of both trainings."""
    own = SourceSettings(protocol="hippocampus MR T1", spacing=(1, 1, 1), patch=(32, 48, 32), mirror=True)
    return TrainingSettings(
        sources={SOURCE: own},
        backbone=BackboneSettings(options={"filters": [16, 32, 64, 96]}),
        iterations=iterations,
        patches_per_step=2,
        learning_rate=2e-3,
        loss=LossSettings(entropy=entropy, balance=0.2, hidden=1.0),
        seed=seed,
        validation_cases=0,
        checkpoint_minutes=2,
        compile=compiled,
    )


def run_cell(
    cell: str, cases: CaseList, settings: TrainingSettings, folder: Path, progress: Progress = silent
) -> dict[str, Any]:
    """Train and score one cell, or read what it gave before.

    Raises:
        UserError: `folder` holds a training with other settings.
    """
    result = folder / "result.json"
    if result.exists():
        said = json.loads(result.read_text(encoding="utf-8"))
        trained_with = {name: value for name, value in said["settings"].items() if name not in WITHOUT_MEANING}
        if trained_with == settings.model_dump(mode="json", exclude=WITHOUT_MEANING):
            return said
    used = halved(cases) if cell == "incomplete" else cases
    trainer = Trainer(plan_training([used], settings, name=cell, licence=cases.licence), folder, progress=progress)
    started = time.process_time()
    trainer.train(progress)
    spent = time.process_time() - started
    said = {
        "cell": cell,
        "seed": settings.seed,
        "annotations": annotations(used.of("training")),
        "scores": scores(Segmenter.load(folder / "last"), cases.of("validation")),
        "training_hours": trainer.seconds / 3600,
        "cpu_seconds_since_last_start": spent,
        "settings": settings.model_dump(mode="json"),
        "environment": environment(),
    }
    write_json(result, said)
    return said


def annotations(cases: Sequence[Case]) -> dict[str, Any]:
    """How much was annotated, in numbers."""
    names = dict.fromkeys(name for case in cases for name in case.values.values())
    return {
        "subjects": len({case.subject for case in cases}),
        "cases": len(cases),
        "cases_with": {name: sum(name in case.annotated for case in cases) for name in names},
    }


def scores(segmenter: Segmenter, cases: Sequence[Case]) -> dict[str, Any]:
    """Mean Dice per structure and over structures, and the Dice of every case, which a paired comparison needs."""
    found = evaluate_cases(segmenter, cases, distances=False)
    rows = summarize(found)["structures"]
    return {
        "cases": len(cases),
        "dice": {row["structure"]: row["dice"] for row in rows},
        "mean": float(np.mean([row["dice"] for row in rows])),
        "by_case": {row["structure"]: [s.dice for s in found if s.structure == row["structure"]] for row in rows},
    }


def table(results: Sequence[dict[str, Any]]) -> str:
    """Markdown: a row a training, differences in Dice points for each seed that has both cells, and their mean."""
    names = list(results[0]["scores"]["dice"])
    rows, differences = [], []
    for seed in dict.fromkeys(r["seed"] for r in results):
        by_cell = {r["cell"]: r for r in results if r["seed"] == seed}
        for cell, r in by_cell.items():
            dice = [r["scores"]["dice"][name] for name in names] + [r["scores"]["mean"]]
            with_each = ", ".join(str(n) for n in r["annotations"]["cases_with"].values())
            said = f"{r['annotations']['cases']} ({with_each})"
            rows.append([f"{cell}, seed {seed}", said, *(f"{value:.3f}" for value in dice)])
        if by_cell.keys() >= set(CELLS):
            complete, incomplete = (by_cell[cell]["scores"] for cell in CELLS)
            gaps = [incomplete["dice"][name] - complete["dice"][name] for name in names]
            gaps.append(incomplete["mean"] - complete["mean"])
            differences.append(100 * np.array(gaps))
            rows.append(["incomplete - complete, points", "", *(f"{gap:+.2f}" for gap in differences[-1])])
    if len(differences) > 1:
        mean = np.mean(differences, axis=0)
        rows.append([f"mean of {len(differences)} seeds, points", "", *(f"{gap:+.2f}" for gap in mean)])
    return markdown_table(["annotation", f"training cases ({' / '.join(names)})", *names, "mean"], rows)


def standard_error(results: Sequence[dict[str, Any]]) -> float:
    """Of the mean difference in Dice points, over cases, each averaged over its structures and the seeds."""
    by_cell = {cell: [_by_case(r) for r in results if r["cell"] == cell] for cell in CELLS}
    complete, incomplete = (np.mean(by_cell[cell], axis=0) for cell in CELLS)
    return float(100 * np.std(incomplete - complete, ddof=1) / np.sqrt(len(complete)))


def _by_case(result: dict[str, Any]) -> np.ndarray:
    return np.mean(list(result["scores"]["by_case"].values()), axis=0)


def report(folder: Path, measured: Sequence[dict[str, Any]]) -> None:
    """Write incomplete_annotation.json, with all settings, and the table with those that matter most."""
    write_json(folder / "incomplete_annotation.json", measured)
    used = measured[-1]["settings"]
    loss = ", ".join(f"{name} {value:g}" for name, value in used["loss"].items())
    said = (
        f"{used['iterations']} steps of {used['patches_per_step']} patches; loss: {loss}. Standard error of the mean "
        f"difference, over cases: {standard_error(measured):.2f} points."
    )
    where = measured[-1]["environment"]
    write_table(folder / "incomplete_annotation.md", f"{table(measured)}\n\n{said}", where)


def main(
    data: Annotated[Path, typer.Option(help="Folder that holds msd_hippocampus/dataset.json.")],
    out: Annotated[Path, typer.Option(help="Where trainings and results go.")] = Path("runs/incomplete"),
    iterations: int = 1600,
    threads: int = 1,
    results: Annotated[Path, typer.Option(help="Folder for the table and what it was made of.")] = RESULTS,
    seed: Annotated[list[int], typer.Option(help="One pair of trainings for each.")] = [1, 2],  # noqa: B006 - typer reads it
    entropy: Annotated[float, typer.Option(help="Weight of the entropy in the loss of both trainings.")] = 0.1,
    compiled: Annotated[bool, typer.Option("--compile/--no-compile", help="Needs a C++ compiler; faster.")] = True,
) -> None:
    """Train each cell in turn, score it on all validation cases, and write the table."""
    torch.set_num_threads(threads)
    (cases,) = read_case_lists([data / SOURCE / "dataset.json"])
    measured = []
    for each in seed:
        for cell in CELLS:
            typer.echo(f"{cell}, seed {each}")
            settings = settings_for(iterations, each, compiled, entropy)
            measured.append(run_cell(cell, cases, settings, out / f"{cell}-seed{each}", _say))
    report(results, measured)
    typer.echo(table(measured))


def _say(done: int, total: int, message: str) -> bool:
    if done % 50 == 0:
        typer.echo(f"  {done} of {total}: {message}")
    return True


if __name__ == "__main__":
    typer.run(main)
