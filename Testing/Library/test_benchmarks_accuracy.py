"""The driver of the accuracy tables, on phantoms: cells end to end, stopped and resumed, and cut as they say."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock

from CFSegmenterLib.checkpoint import read_record
from CFSegmenterLib.errors import Cancelled
from CFSegmenterLib.model import load_model
from CFSegmenterLib.planning import plan_training
from CFSegmenterLib.settings import SourceSettings
from CFSegmenterLib.structures import Vocabulary
from Testing.Benchmarks.accuracy import driver, twins
from Testing.Benchmarks.accuracy.bench import Bench
from Testing.Benchmarks.accuracy.cells import HEAD_COST, SEEDS, TWINS, Cell, all_cells
from Testing.Benchmarks.accuracy.head_cost import HEADS, measure
from Testing.Benchmarks.accuracy.methods import ALL, INCREMENTAL, RIVALS
from Testing.Benchmarks.accuracy.methods.ablations import OtherWidth
from Testing.Benchmarks.accuracy.results import path_of
from Testing.Benchmarks.accuracy.scenarios import AT_ONCE, class_hippocampus, hippocampus_half
from Testing.Benchmarks.accuracy.scenarios import INCREMENTAL as TAUGHT
from Testing.Benchmarks.accuracy.scoring import score
from Testing.Benchmarks.accuracy.sizes import SIZES, some_of
from Testing.Benchmarks.accuracy.sources import merged, read_source, restricted, split_subjects, without_annotation
from Testing.Benchmarks.accuracy.texts import STRUCTURES, text_embeddings
from Testing.Benchmarks.accuracy.trainer import ComparedTrainer

from .accuracy_phantoms import HIPPOCAMPUS, a_data_folder, a_tiny_size

OLD, NEW = "anterior hippocampus", "posterior hippocampus"


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return a_data_folder(tmp_path_factory.mktemp("data"))


def run(data: Path, folder: Path, *cells: Cell, size=None, ends: float | None = None) -> list[dict]:
    size = size or a_tiny_size()
    paths = driver.run_cells(cells, size, data, folder / "out", folder / "results", ends)
    return [json.loads(path.read_text()) for path in paths]


def test_an_incremental_cell_runs_from_scans_to_a_dice_matrix(data, tmp_path):
    (said,) = run(data, tmp_path, Cell("class-hippocampus", "ours-unlabelled", 0))
    assert [step["tasks"] for step in said["steps"]] == [[[OLD, "msd_hippocampus"]], [[NEW, "msd_hippocampus"]]]
    assert np.shape(said["dice"]) == (2, 2)
    assert said["dice"][0][1] is None  # what was not taught yet has no Dice
    first, update = said["stages"]
    assert first["structures"] == [OLD] and update["structures"] == [OLD, NEW]
    assert (first["iterations"], update["iterations"]) == (6, 6)
    assert (first["unlabelled"], update["unlabelled"]) == (0, 3)
    assert first["parameters"] == update["parameters"] > 1000
    assert update["cpu_seconds_per_iteration"] > 0
    assert {row["structure"]: len(row["dice"]) for row in update["scores"]} == {OLD: 2, NEW: 2}
    assert said["environment"]["commit"]
    assert update["settings"]["loss"] == a_tiny_size().updating("class-hippocampus", (), 0).loss.model_dump()


def test_a_kind_of_scan_that_was_not_taught_yet_has_no_score_and_cases_keep_their_numbers(data, tmp_path):
    run(data, tmp_path, Cell("class-hippocampus", "naive", 0))
    model = load_model(next((tmp_path / "out").rglob("first-0/last")))
    known = read_source(data, "msd_hippocampus").of("validation")
    other = [replace(case, modality="ct", source="other") for case in known]
    rows = score(model, [*other[:1], *known])
    assert {row["source"] for row in rows} == {"msd_hippocampus"}
    assert all(row["case"] == list(range(1, 1 + len(known))) for row in rows)


def test_results_name_no_case(data, tmp_path):
    run(data, tmp_path, Cell("class-hippocampus", "naive", 0))
    text = next((tmp_path / "results").rglob("*.json")).read_text()
    assert "small_" not in text and ".nii" not in text and str(tmp_path) not in text


def test_all_methods_of_a_scenario_share_the_first_training_and_part_afterwards(data, tmp_path):
    ours, naive = run(data, tmp_path, *(Cell("class-hippocampus", m, 0) for m in ("ours", "naive")))
    assert ours["stages"][0] == naive["stages"][0]
    assert ours["stages"][1]["scores"] != naive["stages"][1]["scores"]


def test_joint_training_is_as_long_as_all_steps_and_sees_the_same_annotations(data, tmp_path):
    (said,) = run(data, tmp_path, Cell("class-hippocampus", "joint", 0))
    (stage,) = said["stages"]
    assert stage["iterations"] == 12
    assert stage["cases"] == {"msd_hippocampus": 6}
    assert None not in said["dice"][0]


@pytest.mark.parametrize("method", [*(name for name in RIVALS if name != "ours"), "no-background", "raw-0.01"])
def test_every_kind_of_network_is_trained_and_scored_the_same_way(method, data, tmp_path):
    (said,) = run(data, tmp_path, Cell("hippocampus-half", method, 0), size=a_tiny_size(2))
    (stage,) = said["stages"]
    assert {row["structure"] for row in stage["scores"]} == set(HIPPOCAMPUS.values())
    assert ("geometry" in stage) == (method not in RIVALS)


def test_a_rival_is_trained_in_low_precision_too(data, tmp_path):
    """As on a graphics card, where Fabric looks into all that the network is called with."""
    lists, method = hippocampus_half(data, 0).lists, ALL["softmax"]
    settings = a_tiny_size(1).training("hippocampus-half", lists, 0).model_copy(update={"precision": "bf16-mixed"})
    plan = method.plan(plan_training(lists, method.settings(settings), name="low"), {})
    trainer = ComparedTrainer(plan, tmp_path / "training", method, {}, tmp_path / "cache")
    trainer.train()
    assert trainer.precision == "bf16-mixed" and trainer.step == 1


def test_a_cell_with_a_result_is_not_run_again(data, tmp_path):
    cell = Cell("hippocampus-half", "ours", 0)
    run(data, tmp_path, cell, size=a_tiny_size(2))
    path = path_of(tmp_path / "results", "tiny", cell)
    before = path.stat().st_mtime_ns
    assert run(data, tmp_path, cell, size=a_tiny_size(2)) == []
    assert path.stat().st_mtime_ns == before


def test_the_working_folder_of_a_finished_cell_is_cleared_away(data, tmp_path):
    cell = Cell("class-hippocampus", "mib", 0)
    run(data, tmp_path, cell, size=a_tiny_size(2))
    kept = {path.name for path in (tmp_path / "out" / "tiny" / "class-hippocampus").iterdir()}
    assert kept == {"first-0"}


def test_a_cell_whose_time_is_over_goes_on_where_it_was(data, tmp_path):
    """It is stopped in the middle of its second stage and comes to the same end as one that was not."""
    cell = Cell("class-hippocampus", "ours", 0)
    (whole,) = run(data, tmp_path / "whole", cell)
    scenario = class_hippocampus(data, 0)
    steps = []

    def stop(done, total, message):
        steps.append(message)
        return sum("loss" in text for text in steps) < 9  # 6 steps of the first training, 3 of the update

    bench = Bench(a_tiny_size(), tmp_path / "out", {}, stop)
    with pytest.raises(Cancelled):
        bench.run(cell, scenario)
    assert (tmp_path / "out/tiny/class-hippocampus/ours-0/step1/checkpoint.safetensors").exists()
    assert not (tmp_path / "out/tiny/class-hippocampus/ours-0/step1/stage.json").exists()
    (said,) = run(data, tmp_path, cell)
    assert said["dice"] == whole["dice"]
    assert said["stages"][1]["iterations"] == 6


def test_no_cell_is_begun_when_the_time_is_over(data, tmp_path):
    with pytest.raises(Cancelled):
        run(data, tmp_path, Cell("hippocampus-half", "ours", 0), ends=time.monotonic() - 1)
    assert not list((tmp_path / "results").rglob("*.json"))


ITERATIONS = 60

KILLED = f"""
import sys
from pathlib import Path
from Testing.Benchmarks.accuracy.cells import Cell
from Testing.Benchmarks.accuracy.driver import run_cells
from Testing.Library.accuracy_phantoms import a_tiny_size
data, folder = map(Path, sys.argv[1:])
size = a_tiny_size({ITERATIONS}, checkpoint_minutes=0)
run_cells([Cell("hippocampus-half", "ours", 0)], size, data, folder / "out", folder / "results")
"""


def test_a_killed_cell_is_no_result_and_goes_on_from_its_checkpoint(data, tmp_path, monkeypatch):
    root = Path(driver.__file__).parents[3]
    command = [sys.executable, "-c", KILLED, str(data), str(tmp_path)]
    process = subprocess.Popen(command, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "1"})
    checkpoint = tmp_path / "out/tiny/hippocampus-half/ours-0/checkpoint.safetensors"
    until = time.monotonic() + 300
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "results").rglob("*.json"))
    done = read_record(checkpoint)["step"]
    assert 1 <= done < ITERATIONS
    steps = []
    take_step = ComparedTrainer.take_step
    monkeypatch.setattr(ComparedTrainer, "take_step", lambda self, p: (steps.append(1), take_step(self, p))[1])
    (said,) = run(data, tmp_path, Cell("hippocampus-half", "ours", 0), size=a_tiny_size(ITERATIONS))
    assert len(steps) == ITERATIONS - done
    assert said["stages"][0]["iterations"] == ITERATIONS


def test_a_cell_that_was_begun_with_other_settings_is_begun_again(data, tmp_path):
    cell = Cell("hippocampus-half", "ours", 0)
    scenario = hippocampus_half(data, 0)
    with pytest.raises(Cancelled):
        Bench(a_tiny_size(), tmp_path / "out", {}, lambda done, total, text: "loss" not in text).run(cell, scenario)
    assert (tmp_path / "out/tiny/hippocampus-half/ours-0/checkpoint.safetensors").exists()
    (said,) = run(data, tmp_path, cell, size=a_tiny_size(4))
    assert said["stages"][0]["iterations"] == 4


def test_two_processes_do_not_work_on_one_cell(data, tmp_path, monkeypatch):
    cells = [Cell("hippocampus-half", "ours", seed) for seed in (0, 1)]
    folder = tmp_path / "out/tiny/locks"
    folder.mkdir(parents=True)
    other = FileLock(folder / "hippocampus-half-ours-0.lock")
    other.acquire()
    asked = []

    def let_go(seconds):
        asked.append(seconds)
        other.release()

    monkeypatch.setattr(driver.time, "sleep", let_go)
    said = run(data, tmp_path, *cells, size=a_tiny_size(2))
    assert [result["seed"] for result in said] == [1, 0]
    assert asked == [driver.PATIENCE]


def test_the_subjects_of_two_steps_are_disjoint_and_drawn_by_the_seed(data):
    one, again, other = (class_hippocampus(data, seed) for seed in (0, 0, 1))
    subjects = [{case.subject for case in step.lists[0].of("training")} for step in one.steps]
    assert subjects[0].isdisjoint(subjects[1])
    assert [len(each) for each in subjects] == [3, 3]
    assert one == again and one != other
    for step, name in zip(one.steps, (OLD, NEW), strict=True):
        assert all(case.annotated == (name,) for case in step.lists[0].cases)
        assert len(step.lists[0].of("validation")) == 2


def test_half_annotated_cases_show_one_part_each_and_are_asked_for_both(data):
    (cases,) = hippocampus_half(data, 0).lists
    training = [case.annotated for case in cases.of("training")]
    assert all(len(each) == 1 for each in training)
    assert {len(case.annotated) for case in cases.of("validation")} == {len(HIPPOCAMPUS)}


def test_what_steps_annotate_in_one_image_is_merged(data):
    source = read_source(data, "msd_hippocampus")
    (together,) = merged([restricted(source, [OLD]), restricted(source, [NEW])])
    assert together.structures == (OLD, NEW)
    assert len(together.cases) == len(source.cases)
    assert all(case.annotated == (OLD, NEW) for case in together.cases)


def test_old_images_come_back_without_a_label(data):
    source = read_source(data, "msd_hippocampus")
    images = without_annotation([restricted(source, [OLD]), restricted(source, [NEW])])
    assert {case.image for case in images} == {case.image for case in source.of("training")}
    assert all(case.labels is None and case.annotated == () for case in images)


def test_a_case_that_annotates_nothing_of_a_step_is_left_out(data):
    source = read_source(data, "msd_hippocampus")
    only_old = restricted(source, [OLD])
    assert restricted(only_old, [NEW]).cases == ()


def test_a_few_validation_cases_show_what_only_a_few_annotate(data):
    cases = read_source(data, "msd_hippocampus").of("training")
    rare = [replace(case, annotated=(OLD, NEW) if number == 5 else (OLD,)) for number, case in enumerate(cases)]
    assert some_of(rare, 3) == [rare[0], rare[1], rare[5]]
    assert some_of(rare, None) == some_of(rare, 6) == rare


def test_subjects_are_shared_out_evenly(data):
    groups = split_subjects(read_source(data, "msd_hippocampus"), 0, 4)
    assert sorted(map(len, groups)) == [1, 1, 2, 2]


def test_a_method_differs_from_ours_in_what_it_is_called_for_alone(data, tmp_path):
    """The same patches, network, optimizer and rate; a rival has its own head on the same backbone."""
    lists = hippocampus_half(data, 0).lists
    plan = plan_training(lists, a_tiny_size(2).training("hippocampus-half", lists, 0))
    trainers = {
        name: ComparedTrainer(plan, tmp_path / name, ALL[name], {}, tmp_path / "cache")
        for name in ("ours", "softmax", "dodnet")
    }
    patches = [trainer.patches[3] for trainer in trainers.values()]
    for patch in patches[1:]:
        assert torch.equal(patch.image, patches[0].image) and torch.equal(patch.labels, patches[0].labels)
    backbones = [trainer.state.network.backbone.state_dict() for trainer in trainers.values()]
    for backbone in backbones[1:]:
        assert all(torch.equal(tensor, backbones[0][name]) for name, tensor in backbone.items())
    assert len({str(trainer.state.optimizer.defaults) for trainer in trainers.values()}) == 1


def test_a_wider_feature_changes_nothing_else():
    settings = SIZES["small"].training("hippocampus-half", (), 0)
    changed = OtherWidth(64).settings(settings)
    assert changed.backbone.features == 64
    assert changed.model_copy(update={"backbone": settings.backbone}) == settings


def test_every_cell_has_a_scenario_a_method_and_a_size():
    cells = all_cells()
    assert len(cells) == len(set(cells)) == len({cell.key for cell in cells})
    for cell in cells:
        if cell.scenario in (HEAD_COST, TWINS):
            continue
        assert cell.method in ALL
        for size in SIZES.values():
            assert size.first[cell.scenario] > 0
            if cell.scenario in TAUGHT:
                assert size.update[cell.scenario] > 0
    for scenario in TAUGHT:
        assert {(c.method, c.seed) for c in cells if c.scenario == scenario} == {
            (method, seed) for method in INCREMENTAL for seed in SEEDS
        }
    for scenario in AT_ONCE:
        assert {(c.method, c.seed) for c in cells if c.scenario == scenario} >= {
            (method, seed) for method in RIVALS for seed in SEEDS
        }


def test_what_a_reader_waits_for_first_is_run_first():
    assert [str(cell) for cell in all_cells()[: len(INCREMENTAL)]] == [
        f"class-hippocampus, {method}, seed 0" for method in INCREMENTAL
    ]


def test_texts_are_read_by_our_names_where_they_are_at_hand(tmp_path):
    assert text_embeddings(tmp_path) == {}
    (tmp_path / "text_embeddings").mkdir()
    rows = np.arange(32 * 4, dtype=np.float32).reshape(32, 4)
    np.save(tmp_path / "text_embeddings" / "clip_vitb32_universal32.npy", rows)
    found = text_embeddings(tmp_path)
    assert list(found) == list(STRUCTURES)
    np.testing.assert_array_equal(found["liver"], rows[5])


def test_texts_are_listed_under_names_that_the_sources_have():
    vocabulary = Vocabulary.load()
    assert all(vocabulary.get(name).name == name for name in STRUCTURES)


def test_twins_are_compared_on_drawn_abdomens_and_drawn(tmp_path, monkeypatch):
    for name, value in (("METHODS", ("raw-0.1",)), ("TRAINING", 1), ("VALIDATION", 1)):
        monkeypatch.setattr(twins, name, value)
    own = SourceSettings(spacing=(8, 8, 8), patch=(16, 16, 16))
    size = a_tiny_size(sources={"phantom_abdomen": own}, first={"twins": 2})
    (said,) = run(tmp_path, tmp_path, Cell(TWINS, "all", 0), size=size)
    assert -1 <= said["rows"]["raw-0.1"]["twin"] <= 1
    picture = path_of(tmp_path / "results", "tiny", Cell(TWINS, "all", 0)).with_suffix(".png")
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("head", HEADS)
def test_the_cost_of_every_head_is_measured(head):
    few, many = (measure(head, count, (16, 16, 16)) for count in (2, 20))
    assert few["cpu_seconds"] >= 0 and many["bytes"] >= 0
    grows = head in ("softmax", "dodnet")
    assert (many["parameters"] > few["parameters"]) == grows
