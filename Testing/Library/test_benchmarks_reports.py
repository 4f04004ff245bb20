"""The accuracy reports: made of result files alone, first of all in sentences, and plain about what is missing."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from Testing.Benchmarks.accuracy.cells import HEAD_COST, TWINS, Cell, all_cells
from Testing.Benchmarks.accuracy.memory import Remembering
from Testing.Benchmarks.accuracy.methods import INCREMENTAL, RIVALS
from Testing.Benchmarks.accuracy.report import write_reports
from Testing.Benchmarks.accuracy.results import keep, path_of
from Testing.Benchmarks.accuracy.statistics import Spread, by_case, compared
from Testing.Benchmarks.accuracy.words import hours, step_cost, uneven, where

OLD, NEW = ("anterior hippocampus", "msd_hippocampus"), ("posterior hippocampus", "msd_hippocampus")
STEPS = [{"name": "old", "tasks": [OLD]}, {"name": "new", "tasks": [NEW]}]
CASES = 12

SETTINGS = {
    "backbone": {"name": "unet", "features": 32, "options": {"channels": [16, 32]}},
    "patches_per_step": 2,
}


def a_row(task: tuple[str, str], dice, cases=None) -> dict:
    dice = [dice] * CASES if isinstance(dice, float) else list(dice)
    structure, source = task
    return {"structure": structure, "source": source, "modality": "mr-t1",
            "case": list(cases or range(len(dice))), "dice": dice}  # fmt: skip


def a_stage(*rows: dict, **said) -> dict:
    return {
        "iterations": 400,
        "seconds": 90.0,
        "cpu_seconds_per_iteration": 0.5,
        "parameters": 1000,
        "prototypes": 1 + len(rows),
        "settings": SETTINGS,
        "scores": list(rows),
        **said,
    }


def a_result(cell: Cell, *stages: dict, steps=STEPS) -> dict:
    def mean(stage, step):
        rows = {(r["structure"], r["source"]): r["dice"] for r in stage["scores"]}
        found = [rows.get(tuple(task)) for task in step["tasks"]]
        return None if None in found else float(np.mean(found))

    return {
        "scenario": cell.scenario,
        "method": cell.method,
        "seed": cell.seed,
        "steps": steps,
        "stages": list(stages),
        "dice": [[mean(stage, step) for step in steps] for stage in stages],
    }


def taught(method: str, kept: float, new: float, seed: int = 0, cost: float = 0.5) -> tuple[Cell, dict]:
    """An incremental result in which the old structure had 0.85 when learned."""
    cell = Cell("class-hippocampus", method, seed)
    last = a_stage(a_row(OLD, kept), a_row(NEW, new), cpu_seconds_per_iteration=cost)
    stages = [last] if method == "joint" else [a_stage(a_row(OLD, 0.85)), last]
    return cell, a_result(cell, *stages)


def at_once(method: str, dice, seed: int = 0, scenario: str = "hippocampus-half") -> tuple[Cell, dict]:
    cell = Cell(scenario, method, seed)
    both = a_stage(a_row(OLD, dice), a_row(NEW, dice))
    return cell, a_result(cell, both, steps=[{"name": "both", "tasks": [OLD, NEW]}])


class Reports:
    """Both reports, as they are after some cells have been run."""

    def __init__(self, folder: Path, *results: tuple[Cell, dict]):
        for cell, said in results:
            keep(folder / "json", "small", cell, said)
        paths = folder / "results" / "INCREMENTAL.md", folder / "RESULTS.md"
        paths[0].parent.mkdir(parents=True, exist_ok=True)
        write_reports(folder / "json", "small", *paths)
        self.incremental, self.rivals = (path.read_text(encoding="utf-8") for path in paths)
        self.folder = folder


def row_of(text: str, first: str, columns: str) -> dict[str, str]:
    """The cells of a table's row, by column; the table is the first one after its header `columns`."""
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith(f"| {columns}"))
    header = [cell.strip() for cell in lines[start].strip("|").split("|")]
    row = next(line for line in lines[start:] if line.startswith(f"| {first} |"))
    return dict(zip(header, (cell.strip() for cell in row.strip("|").split("|")), strict=True))


def test_without_a_result_both_reports_say_that_everything_is_missing(tmp_path):
    said = Reports(tmp_path)
    taught_cells = [c for c in all_cells() if c.method in INCREMENTAL and c.scenario.startswith(("class", "domain"))]
    assert f"{len(taught_cells)} of {len(taught_cells)} cells have not been run yet" in said.incremental
    assert "class-hippocampus: naive (seed 0, 1, 2)" in said.incremental
    assert "not known yet: ours forgets at most 1.5 points" in said.incremental
    assert "hippocampus-half: not run yet." in "\n".join(said.rivals.splitlines()[:10])
    assert "The cost of a class has not been measured yet." in said.rivals


def test_a_cell_that_was_run_is_missing_no_more(tmp_path):
    said = Reports(tmp_path, taught("naive", 0.1, 0.8))
    missing = said.incremental.partition("## What is missing")[2]
    (line,) = [line for line in missing.splitlines() if line.startswith("- class-hippocampus:")]
    assert "naive (seed 1, 2)" in line


def test_forgetting_and_what_is_new_are_in_the_table(tmp_path):
    said = Reports(
        tmp_path,
        taught("naive", 0.25, 0.81),
        taught("ours", 0.84, 0.80, cost=0.75),
        taught("ours", 0.82, 0.78, seed=1),
        taught("joint", 0.86, 0.83),
    )
    naive, ours, joint = (
        row_of(said.incremental, title, "method") for title in ("naive fine-tuning", "ours", "joint training (ceiling)")
    )
    assert naive["forgetting"] == "+60.0"
    assert ours["forgetting"] == "+2.0 ± 1.4"
    assert ours["seeds"] == "2"
    assert ours["new"] == "0.790 ± 0.014"
    assert ours["step"] == "1.25"
    assert ours["growth"] == "0, 1 prototype"
    assert (joint["forgetting"], joint["new"]) == ("", "0.830")


def test_promises_are_judged_as_the_numbers_are(tmp_path):
    kept = {"ours": 0.84, "lwf": 0.83, "mib": 0.845}
    results = [taught(name, dice, 0.8) for name, dice in kept.items()]
    said = Reports(tmp_path, *results, taught("joint", 0.9, 0.85)).incremental
    assert "- yes: ours forgets at most 1.5 points on class-hippocampus (1.0 points; 1 seed)" in said
    assert "- **no**: class-hippocampus: ours forgets less than LwF and MiB" in said
    assert "- **no**: class-hippocampus: what is new comes within 2 points of joint training" in said


@pytest.mark.parametrize("mib, is_tie", [(0.80, False), (0.835, True)])
def test_what_is_less_than_the_seeds_differ_is_called_so(tmp_path, mib, is_tie):
    kept = [("ours", 0.85, 0.83), ("lwf", 0.70, 0.68), ("mib", mib + 0.01, mib - 0.01)]
    results = [taught(name, dice, 0.8, seed=seed) for name, *both in kept for seed, dice in enumerate(both)]
    said = Reports(tmp_path, *results).incremental
    (line,) = [line for line in said.splitlines() if "less than LwF and MiB" in line]
    assert line.startswith("- yes")
    assert ("differ more among themselves than the methods" in line) == is_tie


def test_the_dice_matrix_has_a_row_a_step_and_a_column_a_step(tmp_path):
    said = Reports(tmp_path, taught("ours", 0.84, 0.80)).incremental
    rows = [line for line in said.splitlines() if line.startswith("| ours | ") and re.search(r"\| (old|new) \|", line)]
    assert rows == ["| ours | old | 0.850 |  |", "| ours | new | 0.840 | 0.800 |"]


def test_what_was_known_before_it_was_taught_is_forward_transfer():
    again = ("anterior hippocampus", "oasis_brain_t1")
    steps = [{"name": "one", "tasks": [OLD]}, {"name": "two", "tasks": [again, NEW]}]
    first = a_stage(a_row(OLD, 0.8), a_row(again, 0.3))
    last = a_stage(a_row(OLD, 0.7), a_row(again, 0.6), a_row(NEW, 0.4))
    said = Remembering.of({"steps": steps, "stages": [first, last]})
    assert said.forward == pytest.approx(0.3)
    assert said.forgetting == pytest.approx(0.1)
    assert said.new == pytest.approx(0.5)


def test_the_first_lines_say_who_is_better_where_and_by_how_much(tmp_path):
    good, bad = np.linspace(0.80, 0.90, CASES), np.linspace(0.78, 0.87, CASES)
    dice = {"ours": good, "softmax": bad, "dodnet": good + 0.01, "versatile": good}
    results = [at_once(name, each) for name, each in dice.items()]
    first = "\n".join(Reports(tmp_path, *results).rivals.splitlines()[:10])
    assert "hippocampus-half: ours 0.850." in first
    assert re.search(r"plain softmax classifier better \(\+2\.5 points, p = 0\.0\d+, 12 cases, 1 seed\)", first)
    assert re.search(r"DoDNet \*\*worse\*\* \(-1\.0 points", first)
    assert "Versatile undecided (+0.0 points, too few cases to test" in first


def test_the_first_lines_say_whether_clip_is_worth_it(tmp_path):
    dice = np.linspace(0.5, 0.6, CASES)
    scenario = "abdomen-complete"
    results = [at_once(name, dice + more, scenario=scenario) for name, more in
               (("ours", 0.0), ("text", 0.03), ("raw-0.1", -0.2), ("raw-0.01", 0.01))]  # fmt: skip
    first = "\n".join(Reports(tmp_path, *results).rivals.splitlines()[:10])
    assert "best temperature (CLIP raw, tau = 0.01) 0.560: better (+2.0 points" in first
    assert "against it: better (+3.0 points" in first


@pytest.mark.parametrize(("share", "said"), [(0.01, "within the targets"), (0.5, "**above** the targets")])
def test_the_cost_of_a_class_is_judged_at_the_most_structures(share, said, tmp_path):
    rows = [
        {"head": head, "structures": count, "parameters": 10, "cpu_seconds": cost * count, "bytes": cost * count * 1e6}
        for head, cost in (("ours", share), ("clip-driven", 1.0))
        for count in (2, 104)
    ]
    costs = {"rows": rows, "shape": [8, 8, 8]}
    report = Reports(tmp_path, (Cell(HEAD_COST, "all", 0), costs)).rivals
    (line,) = [line for line in report.splitlines()[:10] if line.startswith("- Head at 104")]
    assert said in line and f"1/{1 / share:.0f} of the time" in line
    assert row_of(report, "CLIP-Driven Universal Model", "head")["time / ours"] == f"{1 / share:.2f}"


def test_twins_are_shown_with_their_numbers(tmp_path):
    raw, code = {"own": 0.9, "twin": 0.85, "dice": 0.7}, {"own": 0.8, "twin": 0.1, "dice": None}
    twins = {"rows": {"raw-0.1": raw, "ours": code}}
    assert "similarity maps of twins have not been drawn" in Reports(tmp_path / "before").rivals
    report = Reports(tmp_path / "after", (Cell(TWINS, "all", 0), twins)).rivals
    assert row_of(report, "CLIP raw, tau = 0.1", "prototypes")["twin's"] == "0.850"
    assert row_of(report, "random code", "prototypes")["Dice"] == ""
    assert "](json/small/twins/all-0.png)" in report
    assert "not been drawn" not in report


def test_small_structures_are_in_the_table_but_not_in_the_mean(tmp_path):
    cell = Cell("all-sources", "ours", 0)
    tasks = (("left amygdala", "oasis_brain_t1"), ("left putamen", "oasis_brain_t1"))
    said = a_result(cell, a_stage(a_row(tasks[0], 0.1), a_row(tasks[1], 0.9)), steps=[{"name": "all", "tasks": tasks}])
    report = Reports(tmp_path, (cell, said)).rivals
    assert "all-sources: ours 0.900." in report
    assert row_of(report, "left amygdala in oasis_brain_t1", "structure")["ours"] == "0.100"


def test_cases_are_paired_by_their_number_and_averaged_over_structures_and_seeds():
    one = a_stage(a_row(OLD, [0.5, 0.7], cases=[3, 4]), a_row(NEW, [0.9, None], cases=[4, 5]))
    assert by_case(one["scores"]) == pytest.approx({3: 0.5, 4: 0.8})
    other = a_stage(a_row(OLD, [0.4, 0.8], cases=[4, 3]))
    found = compared({0: {"stages": [one]}, 1: {"stages": [one]}}, {0: {"stages": [other]}})
    assert (found.cases, found.seeds) == (2, 1)
    assert found.points == pytest.approx(100 * ((0.5 - 0.8) + (0.8 - 0.4)) / 2)
    assert found.p is None and not found.is_significant


def test_results_that_were_made_with_other_settings_are_not_compared_silently():
    (_, one), (_, two), (_, joint) = taught("ours", 0.8, 0.8), taught("mib", 0.8, 0.8), taught("joint", 0.8, 0.8)
    assert uneven([one, two, joint]) == ""
    two["stages"][1]["settings"] = {**SETTINGS, "learning_rate": 3e-4}
    assert "class-hippocampus were made with different settings" in uneven([one, two, joint])


def test_what_ran_on_a_card_is_counted_by_itself():
    """Its share of a step is not CPU time, and its hours are others than a core's."""
    results = [taught("ours", 0.8, 0.8, seed, cost)[1] for seed, cost in ((0, 0.5), (1, 0.1))]
    for result in results:
        result["environment"] = {"cpu": "A processor", "threads": 1, "torch": "2", "monai": "1", "commit": "1234567"}
        for stage in result["stages"]:
            stage["seconds"] = 1800
    results[1]["environment"]["card"] = "A Card"
    assert step_cost(dict(enumerate(results))) == 0.5
    assert hours(results) == "Training took 1.0 hours of one core and 1.0 hours of one core beside one A Card."
    assert "A processor, 1 threads" in where(results) and "A Card, A processor" in where(results)


def test_a_spread_over_seeds_needs_two():
    assert Spread.of([0.5]).said() == "0.500"
    assert Spread.of([0.4, None, 0.6]).said() == "0.500 ± 0.141"
    assert Spread.of([None]) is None
    assert Spread.of([-0.0001]).said(100, 1, signed=True) == "+0.0"


def test_the_same_results_give_the_same_bytes(tmp_path):
    results = [taught("ours", 0.8, 0.8), taught("naive", 0.2, 0.8), at_once("ours", 0.8)]
    one, two = (Reports(tmp_path / name, *results) for name in ("one", "two"))
    assert one.incremental == two.incremental and one.rivals == two.rivals
    plots = [sorted((each.folder / "results" / "plots").iterdir()) for each in (one, two)]
    assert plots[0] and [p.read_bytes() for p in plots[0]] == [p.read_bytes() for p in plots[1]]


def test_every_plot_that_a_report_shows_is_there(tmp_path):
    said = Reports(tmp_path, *(taught(name, 0.8, 0.8) for name in INCREMENTAL), *(at_once(n, 0.8) for n in RIVALS))
    shown = re.findall(r"\]\((.+\.svg)\)", said.incremental)
    assert shown == ["plots/forgetting.svg"]
    assert all((tmp_path / "results" / name).exists() for name in shown)


def test_results_that_are_kept_can_be_read_again(tmp_path):
    cell, said = taught("ours", 0.8, 0.8)
    path = keep(tmp_path, "small", cell, said)
    assert path == path_of(tmp_path, "small", cell)
    again = json.loads(path.read_text())
    assert again.pop("environment")["cpu"]
    assert again == json.loads(json.dumps(said))
