"""The benchmarks themselves, at toy size: that they measure what they say. No time is ever asserted here."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.settings import TrainingSettings
from Testing.Benchmarks import bench_encoding, bench_training_step, incomplete_annotation
from Testing.Benchmarks.measure import (
    Timing,
    alternated,
    environment,
    in_subprocess,
    markdown_table,
    peak_memory,
    timed,
    write_json,
)

TOY = bench_encoding.Scene(
    shape=(24, 20, 16), patch=(16, 16, 16), features=16, filters=(16, 16, 32), dimension=32, structures=3, threads=1
)

TOY_TRAINING = {
    "backbone": {"name": "dynunet", "features": 16, "options": {"filters": [16, 16, 32]}},
    "iterations": 2,
    "patches_per_step": 1,
    "dimension": 32,
    "validation_cases": 0,
    "precision": "32-true",
    "sources": {"phantom_small": {"spacing": [4.0, 4.0, 4.0], "patch": [16, 16, 16]}},
}


def test_cpu_time_counts_work_but_not_waiting():
    import time

    waited = timed(lambda: time.sleep(0.2), repeats=1)
    assert waited.wall >= 0.2
    assert waited.cpu < 0.1


def test_calls_are_timed_in_turn():
    order = []
    alternated({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=2, warmup=0)
    assert order[-4:] == ["a", "b", "a", "b"]


def test_peak_memory_is_of_this_process_and_stays():
    before = peak_memory()
    filled = np.ones((before + (100 << 20)) // 8)
    grown = peak_memory()
    assert grown >= filled.nbytes
    del filled
    # The kernel counts in batches of pages, a thread each.
    assert peak_memory() >= 0.95 * grown


def test_a_subprocess_does_not_inherit_its_parents_peak():
    filled = np.ones(1 << 27)
    command = "from Testing.Benchmarks.measure import peak_memory; print(peak_memory())"
    done = subprocess.run([sys.executable, "-c", command], capture_output=True, encoding="utf-8", check=True)
    if sys.platform == "linux":
        assert int(done.stdout) < filled.nbytes


def test_a_failing_subprocess_is_reported_with_what_it_said():
    with pytest.raises(RuntimeError, match="No such option"):
        in_subprocess("bench_encoding", "--no-such-option")


def test_the_environment_names_neither_machine_nor_user():
    import getpass
    import platform

    said = environment()
    assert {"commit", "cpu", "cores", "threads", "torch", "monai"} <= said.keys()
    text = json.dumps({**said, "commit": ""})
    assert platform.node() not in text or len(platform.node()) < 4
    assert f"/{getpass.getuser()}" not in text


def test_results_are_written_whole_with_timings_in_them(tmp_path):
    write_json(tmp_path / "deep" / "result.json", {"encode": Timing(2.0, 1.0)})
    assert json.loads((tmp_path / "deep" / "result.json").read_text()) == {"encode": {"wall": 2.0, "cpu": 1.0}}
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["result.json"]


def test_a_markdown_table_has_a_line_a_row():
    lines = markdown_table(["", "few"], [["time", "1.0"], ["memory", "2.0"]]).splitlines()
    assert lines == ["|  | few |", "| --- | ---: |", "| time | 1.0 |", "| memory | 2.0 |"]


def test_a_scene_survives_the_way_to_its_own_process():
    assert bench_encoding.Scene.from_json(TOY.to_json()) == TOY


def test_encoding_is_measured_end_to_end():
    few, many = (bench_encoding.measure_ours(replace(TOY, structures=k)) for k in (2, 20))
    peers = [bench_encoding.measure_peer(replace(TOY, structures=k)) for k in (2, 20)]
    for said in (few, many, *peers):
        said["times"] = {name: vars(time) for name, time in said["times"].items()}
    assert all(time["cpu"] > 0 for time in many["times"].values())
    sizes = [many["memory"][each] for each in ("loaded", "encode", "encode, map and mask", "all")]
    assert sizes == sorted(sizes)
    table = bench_encoding.compare(few, many, *peers)
    assert all(line.count("|") == 4 for line in table.splitlines())
    assert set(bench_encoding.verdicts(few, many).values()) <= {True, False}


def test_the_peer_passes_over_the_same_windows():
    from monai.inferers import sliding_window_inference

    seen = []

    def count(window: torch.Tensor) -> torch.Tensor:
        seen.append(window.shape)
        return window

    sliding_window_inference(torch.zeros(1, 1, *TOY.shape), TOY.patch, 1, count, overlap=bench_encoding.OVERLAP)
    assert len(seen) == TOY.windows == 2 * 2 * 1
    full = bench_encoding.Scene()
    seen.clear()
    sliding_window_inference(torch.zeros(1, 1, *full.shape), full.patch, 1, count, overlap=bench_encoding.OVERLAP)
    assert len(seen) == full.windows


def test_the_peer_has_the_same_backbone():
    model = bench_encoding.a_model(TOY)
    peer = bench_encoding.SoftmaxNetwork(model, TOY.structures)
    assert peer.backbone is model.network.backbone
    assert peer(torch.zeros(1, 1, *TOY.patch)).shape == (1, TOY.structures + 1, *TOY.patch)


@pytest.mark.parametrize(
    ("asked", "grown", "met"),
    [(0.019, 1.04, [True, True]), (0.021, 1.04, [False, True]), (0.019, 1.06, [True, False])],
)
def test_promises_are_judged_by_the_slower_answer_and_the_larger_memory(asked, grown, met):
    def said(memory, mask):
        times = {"encode": {"cpu": 1.0}, "map": {"cpu": 0.001}, "mask": {"cpu": mask}}
        return {"times": times, "memory": {"encode, map and mask": memory}}

    assert list(bench_encoding.verdicts(said(1.0, 0.001), said(grown, asked)).values()) == met


@pytest.mark.parametrize("kind", bench_training_step.STEPS)
def test_a_step_of_each_kind_is_measured(kind):
    said = bench_training_step.measure(kind, TOY, repeats=1, warmup=0)
    assert said["step"].cpu > 0
    assert said["memory"]["all"] >= said["memory"]["loaded"]


def test_steps_compared_are_steps_that_change_the_weights(tmp_path):
    trainer = bench_training_step.a_trainer(tmp_path, TOY)
    patch = trainer.patches[0]
    before = trainer.state.network.projection.detach().clone()
    bench_training_step.our_step(trainer, patch)()
    assert not torch.equal(before, trainer.state.network.projection)


def test_steps_are_compared_on_patches_that_show_as_many_structures(tmp_path):
    scene = replace(TOY, structures=20, patch=(32, 16, 16))
    trainer = bench_training_step.a_trainer(tmp_path, scene)
    peers = bench_training_step.a_patch(scene).labels.unique()
    assert len(trainer.patches.prepared[0].rows) == len(peers) - 1 == 10
    annotation = next(iter(trainer.lesson.said.values()))
    assert int(annotation.annotated.sum()) == 10
    assert int(annotation.ambiguous.sum()) == 11


def test_the_table_of_steps_holds_ratios_to_ours():
    def said(seconds, size):
        return {"step": {"cpu": seconds}, "memory": {"all": size}}

    measured = {"ours": {2: said(1.0, 10)}, "softmax": {2: said(1.5, 20)}, "float32": {2: said(4.0, 30)}}
    table = bench_training_step.compare(measured)
    assert [line.split(" | ")[-1].strip(" |") for line in table.splitlines()[2:]] == [
        "1.50",
        "4.00",
        "2.00",
        "3.00",
        "1.00",
    ]


@pytest.fixture(scope="module")
def a_case_list(a_small_source):
    (cases,) = read_case_lists([a_small_source])
    return cases


def test_incomplete_annotation_leaves_each_subject_one_structure(a_case_list):
    used = incomplete_annotation.halved(a_case_list)
    training = used.of("training")
    assert [c.image for c in training] == [c.image for c in a_case_list.of("training")]
    assert all(len(case.annotated) == 1 for case in training)
    counts = [sum(name in case.annotated for case in training) for name in a_case_list.structures]
    assert max(counts) - min(counts) <= 1
    assert used.structures == a_case_list.structures


def test_cases_of_a_subject_are_annotated_alike(a_case_list):
    twice = tuple(replace(case, image=case.image.with_name(f"again_{case.image.name}")) for case in a_case_list.cases)
    training = incomplete_annotation.halved(replace(a_case_list, cases=(*a_case_list.cases, *twice))).of("training")
    by_subject = {case.subject: set() for case in training}
    for case in training:
        by_subject[case.subject].add(case.annotated)
    assert all(len(kinds) == 1 for kinds in by_subject.values())


def test_incomplete_annotation_is_scored_on_complete_labels(a_case_list):
    used = incomplete_annotation.halved(a_case_list)
    assert used.of("validation") == a_case_list.of("validation")


def test_who_annotates_what_is_the_same_every_time(a_case_list):
    assert incomplete_annotation.halved(a_case_list) == incomplete_annotation.halved(a_case_list)


@pytest.fixture(scope="module")
def a_folder_of_cells(tmp_path_factory):
    """Not to be changed; copy it first."""
    return tmp_path_factory.mktemp("cells")


@pytest.fixture(scope="module")
def two_cells(a_case_list, a_folder_of_cells):
    settings = TrainingSettings.model_validate(TOY_TRAINING)
    return {
        cell: incomplete_annotation.run_cell(cell, a_case_list, settings, a_folder_of_cells / cell)
        for cell in incomplete_annotation.CELLS
    }


def test_both_cells_differ_in_annotation_only(two_cells, a_case_list):
    complete, incomplete = two_cells.values()
    assert complete["settings"] == incomplete["settings"]
    assert complete["annotations"]["cases"] == incomplete["annotations"]["cases"] == 6
    assert set(complete["annotations"]["cases_with"].values()) == {6}
    assert sum(incomplete["annotations"]["cases_with"].values()) == 6
    for said in two_cells.values():
        assert said["scores"]["cases"] == 2
        assert list(said["scores"]["dice"]) == list(a_case_list.structures)
        assert said["scores"]["mean"] == pytest.approx(np.mean(list(said["scores"]["dice"].values())))


def test_results_hold_no_file_name(two_cells, a_case_list):
    text = json.dumps(two_cells)
    assert not any(case.image.name in text or case.subject in text for case in a_case_list.cases)


def test_the_report_says_with_what_settings_the_cells_were_trained(two_cells, tmp_path):
    incomplete_annotation.report(tmp_path, list(two_cells.values()))
    text = (tmp_path / "incomplete_annotation.md").read_text()
    assert "2 steps of 1 patches" in text
    assert "Standard error of the mean difference" in text
    assert "entropy 0.1" in text
    assert json.loads((tmp_path / "incomplete_annotation.json").read_text())[1]["cell"] == "incomplete"


def test_a_finished_cell_is_not_trained_again(two_cells, a_case_list, a_folder_of_cells, tmp_path):
    shutil.copytree(a_folder_of_cells, tmp_path, dirs_exist_ok=True)
    checkpoint = tmp_path / "complete" / "checkpoint.safetensors"
    checkpoint.unlink()
    settings = TrainingSettings.model_validate(TOY_TRAINING)
    again = incomplete_annotation.run_cell("complete", a_case_list, settings, tmp_path / "complete")
    assert again == json.loads((tmp_path / "complete" / "result.json").read_text())
    assert again["scores"] == two_cells["complete"]["scores"]
    assert not checkpoint.exists()


def test_a_cell_is_not_mixed_with_one_of_other_settings(two_cells, a_case_list, a_folder_of_cells, tmp_path):
    shutil.copytree(a_folder_of_cells, tmp_path, dirs_exist_ok=True)
    longer = TrainingSettings.model_validate({**TOY_TRAINING, "iterations": 3})
    with pytest.raises(UserError, match="other settings"):
        incomplete_annotation.run_cell("complete", a_case_list, longer, tmp_path / "complete")


def test_the_table_of_annotation_says_the_difference_in_points():
    def said(cell, *dice, seed=1):
        return {
            "cell": cell,
            "seed": seed,
            "annotations": {"cases": 4, "cases_with": {"a": 4, "b": 4}},
            "scores": {"dice": dict(zip("ab", dice, strict=True)), "mean": float(np.mean(dice))},
        }

    one = [said("complete", 0.8, 0.9), said("incomplete", 0.79, 0.92)]
    lines = incomplete_annotation.table(one).splitlines()
    assert lines[-1].split(" | ")[-3:] == ["-1.00", "+2.00", "+0.50 |"]
    assert "0.850" in lines[2]
    other = [said("complete", 0.8, 0.9, seed=2), said("incomplete", 0.8, 0.9, seed=2)]
    lines = incomplete_annotation.table([*one, *other, said("complete", 0.1, 0.1, seed=3)]).splitlines()
    assert [line.split(" | ")[-3:] for line in lines if "mean of 2 seeds" in line] == [["-0.50", "+1.00", "+0.25 |"]]


def test_the_standard_error_of_the_difference_is_over_cases():
    def said(cell, *dice):
        return {"cell": cell, "scores": {"by_case": {"a": dice, "b": dice}}}

    alike = [said("complete", 0.8, 0.6), said("incomplete", 0.7, 0.5)]
    assert incomplete_annotation.standard_error(alike) == pytest.approx(0)
    apart = [said("complete", 0.8, 0.6), said("incomplete", 0.8, 0.5)]
    assert incomplete_annotation.standard_error(apart) == pytest.approx(5)
    assert incomplete_annotation.standard_error([*apart, *alike]) == pytest.approx(2.5)
