"""Training, resuming and sharing the work among processes. Run as a program, this file trains; see its end."""

from __future__ import annotations

import csv
import gc
import json
import math
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import CFSegmenterLib
from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.checkpoint import TrainingState, load_checkpoint, read_record, save_checkpoint
from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.model import load_model, read_manifest
from CFSegmenterLib.network import PrototypeNetwork, weights_of
from CFSegmenterLib.patches import Patch
from CFSegmenterLib.planning import plan_training
from CFSegmenterLib.precision import choose_precision
from CFSegmenterLib.settings import TrainingSettings
from CFSegmenterLib.training import CHECKPOINT, GRADIENT_LIMIT, SKIPS_ALLOWED, Trainer
from CFSegmenterLib.training_log import TrainingLog

PATIENT = "Jane_Doe"
ITERATIONS = 6
SETTINGS = {
    "sources": {"organs": {"spacing": [2, 2, 2], "patch": [8, 8, 8]}},
    "backbone": {"name": "dynunet", "features": 16, "options": {"filters": [16, 16, 16]}},
    "iterations": ITERATIONS,
    "patches_per_step": 2,
    "learning_rate": 0.003,
    "warmup": 2,
    "dimension": 16,
    "validate_every": 2,
    "validation_cases": 1,
    "checkpoint_minutes": 0,
    "precision": "32-true",
}


def write_source(folder: Path, labels=("liver", "spleen"), name: str = "organs", **said) -> Path:
    """Three training and one validation image of 12 x 12 x 12 voxels, with a ball for each structure."""
    folder.mkdir(parents=True)
    entries = []
    for number in range(4):
        random = np.random.default_rng(number)
        image, drawn = random.normal(0, 30, (12, 12, 12)), np.zeros((12, 12, 12), dtype=np.uint8)
        for value in range(1, len(labels) + 1):
            ball = np.linalg.norm(np.indices(drawn.shape).T - random.uniform(3, 8, 3), axis=-1).T < 3
            drawn[ball], image[ball] = value, 150 * value
        entry = {"subject": f"{PATIENT}_{number}"}
        for kind, array in (("image", image.astype(np.int16)), ("label", drawn)):
            entry[kind] = f"{PATIENT}_{number}_{kind}.nii.gz"
            picture = nibabel.Nifti1Image(array, np.diag([2.0, 2.0, 2.0, 1.0]))
            picture.header.set_xyzt_units("mm")
            nibabel.save(picture, folder / entry[kind])
        entries.append(entry)
    values = {str(value): structure for value, structure in enumerate(labels, start=1)}
    lists = {"name": name, "modality": "ct", "labels": values, "training": entries[:3], "validation": entries[3:]}
    path = folder / "dataset.json"
    path.write_text(json.dumps({**lists, **said}), encoding="utf-8")
    return path


def a_trainer(case_list: Path, folder: Path, embeddings=None, command: str = "", **changes) -> Trainer:
    settings = TrainingSettings.model_validate({**SETTINGS, **changes})
    plan = plan_training(read_case_lists([case_list]), settings, name="test", licence="CC0", embeddings=embeddings)
    return Trainer(plan, folder, device="cpu", command=command)


def stop_after(step: int):
    return lambda done, total, message: done < step


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def losses(folder: Path) -> list[tuple[str, ...]]:
    """What the log says of each step, but the time it took."""
    return [tuple(v for key, v in row.items() if key != "seconds") for row in table(folder / "log.csv")]


def assert_same_training(folder: Path, other: Path) -> None:
    """That two trainings ended with the same weights, averages and moments bit for bit, and the same logs."""
    one, two = load_file(folder / CHECKPOINT), load_file(other / CHECKPOINT)
    assert one.keys() == two.keys()
    assert {key.partition(".")[0] for key in one} == {"network", "averaged", "optimizer"}
    for name, tensor in one.items():
        assert torch.equal(tensor, two[name]), name
    assert losses(folder) == losses(other)
    assert table(folder / "validation.csv") == table(other / "validation.csv")
    for kind in ("best", "last"):
        assert read_manifest(folder / kind).weights_sha256 == read_manifest(other / kind).weights_sha256


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return write_source(tmp_path_factory.mktemp("cases") / "organs")


@pytest.fixture(scope="module")
def uninterrupted(source, tmp_path_factory) -> Path:
    """The folder of a training that went through."""
    folder = tmp_path_factory.mktemp("training") / "run"
    a_trainer(source, folder, command="cfsegmenter train --cases organs.json").train()
    return folder


def run_program(*arguments: str | Path, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(CFSegmenterLib.__file__).parents[1]),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    command = [sys.executable, *launcher, __file__, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


def test_a_training_that_was_killed_goes_on_exactly_where_it_was(source, uninterrupted, tmp_path):
    # The program kills itself when step 4 has been logged; the last checkpoint is then of step 3.
    killed = run_program("kill", source, tmp_path / "run")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert read_record(tmp_path / "run" / CHECKPOINT)["step"] == 3
    assert [row["step"] for row in table(tmp_path / "run/log.csv")] == ["1", "2", "3", "4"]

    steps = []
    trainer = a_trainer(source, tmp_path / "run")
    assert trainer.step == 3
    trainer.train(lambda done, total, message: steps.append((done, message.split()[0])) or True)
    assert [done for done, doing in steps if doing == "loss"] == [4, 5, 6]
    assert_same_training(tmp_path / "run", uninterrupted)


def test_a_training_that_was_cancelled_goes_on_exactly_where_it_was(source, uninterrupted, tmp_path):
    for step in (1, 4):
        with pytest.raises(Cancelled):
            a_trainer(source, tmp_path / "run").train(stop_after(step))
        record = read_record(tmp_path / "run" / CHECKPOINT)
        assert record["step"] == step
        assert read_manifest(tmp_path / "run/last").training["iterations_done"] == step
    assert a_trainer(source, tmp_path / "run").best == record["best"] > 0  # of step 2; that of step 4 is still owed
    a_trainer(source, tmp_path / "run").train()
    assert_same_training(tmp_path / "run", uninterrupted)


@pytest.mark.parametrize("asked", [False, True], ids=["by the system", "with the training"])
@pytest.mark.parametrize("moment", ["between steps", "in the middle of a step", "while a checkpoint is written"])
def test_what_was_learned_is_kept_when_the_process_that_makes_patches_is_killed(
    source, uninterrupted, tmp_path, monkeypatch, moment, asked
):
    trainer = a_trainer(source, tmp_path / "run")
    average, save, killed = trainer._average, trainer._checkpoint, []

    def kill() -> None:
        (maker,) = multiprocessing.active_children()
        os.kill(maker.pid, signal.SIGTERM)
        maker.join()
        killed.append(maker)

    def average_after_the_death() -> None:  # the weights have moved, their average and the count of steps have not
        if trainer.step == 1 and moment == "in the middle of a step":
            kill()
        average()

    def save_after_the_death() -> None:
        if trainer.step == 2 and moment == "while a checkpoint is written" and not killed:
            kill()
        save()

    def progress(done: int, total: int, message: str) -> bool:
        if done == 2 and moment == "between steps" and not killed:
            kill()
        return not (asked and killed)

    trainer._average, trainer._checkpoint = average_after_the_death, save_after_the_death
    with pytest.raises(Cancelled if asked else RuntimeError):
        trainer.train(progress)
    assert killed and read_record(tmp_path / "run" / CHECKPOINT)["step"] == 2
    a_trainer(source, tmp_path / "run").train()
    assert_same_training(tmp_path / "run", uninterrupted)


def test_a_step_that_broke_half_way_is_not_in_the_checkpoint(source, uninterrupted, tmp_path):
    trainer = a_trainer(source, tmp_path / "run")

    def breaks() -> None:
        raise RuntimeError("a defect")

    def break_at_step_2(done: int, total: int, message: str) -> bool:
        if done == 2:
            trainer._average = breaks
        return True

    with pytest.raises(RuntimeError, match="a defect"):
        trainer.train(break_at_step_2)
    a_trainer(source, tmp_path / "run").train()  # from the checkpoint of before, since each step had one
    assert_same_training(tmp_path / "run", uninterrupted)


def test_a_defect_before_anything_was_learned_leaves_no_checkpoint_in_the_way_of_other_settings(
    source, tmp_path, monkeypatch
):
    trainer = a_trainer(source, tmp_path / "run")
    monkeypatch.setattr(trainer, "loss", lambda patch: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.train()
    assert not (tmp_path / "run" / CHECKPOINT).exists()


def test_a_training_can_be_stopped_while_it_validates_and_owes_the_validation_then(source, uninterrupted, tmp_path):
    trainer, said = a_trainer(source, tmp_path / "run"), []

    def until_it_validates(done: int, total: int, message: str) -> bool:
        said.append((done, total, message))
        return not message.startswith("validating")

    with pytest.raises(Cancelled):
        trainer.train(until_it_validates)
    assert said[-1] == (2, 6, "validating, case 1 of 1")
    assert read_record(tmp_path / "run" / CHECKPOINT)["validated"] == 0
    a_trainer(source, tmp_path / "run").train()
    assert_same_training(tmp_path / "run", uninterrupted)


def test_a_log_that_finds_no_room_ends_the_training_with_a_sentence(source, tmp_path):
    trainer = a_trainer(source, tmp_path / "run")

    def fill_the_disk(done: int, total: int, message: str) -> bool:
        trainer._checkpoint = lambda: None
        resource.setrlimit(resource.RLIMIT_FSIZE, ((tmp_path / "run/log.csv").stat().st_size, hard))
        return True

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with pytest.raises(UserError, match=r"The log .*log.csv cannot be written .*: free some space"):
            trainer.train(fill_the_disk)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("moment", ["between steps", "in the middle of a step"])
def test_ctrl_c_leaves_a_checkpoint_of_a_whole_step(source, uninterrupted, tmp_path, moment):
    trainer = a_trainer(source, tmp_path / "run")

    def press(*_) -> bool:
        os.kill(os.getpid(), signal.SIGINT)
        return True

    def press_at_step_2(done: int, total: int, message: str) -> bool:
        return press() if done == 2 else True

    if moment == "between steps":
        with pytest.raises(KeyboardInterrupt):
            trainer.train(press_at_step_2)
    else:
        original = trainer._average

        def average_after_ctrl_c() -> None:  # the weights have moved, their average and the count of steps have not
            if trainer.step == 1:
                press()
            original()

        trainer._average = average_after_ctrl_c
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
    assert read_record(tmp_path / "run" / CHECKPOINT)["step"] == 2
    a_trainer(source, tmp_path / "run").train()
    assert_same_training(tmp_path / "run", uninterrupted)


def test_a_training_that_is_done_does_nothing_more(source, uninterrupted):
    before = (uninterrupted / CHECKPOINT).read_bytes(), losses(uninterrupted)
    steps = []
    manifest = a_trainer(source, uninterrupted).train(lambda *step: steps.append(step) or True)
    assert steps == []
    assert manifest.training["iterations_done"] == ITERATIONS
    assert ((uninterrupted / CHECKPOINT).read_bytes(), losses(uninterrupted)) == before


@pytest.fixture(scope="module")
def interrupted(source, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(Cancelled):
        a_trainer(source, folder).train(stop_after(1))
    return folder


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.002},
        {"iterations": 7},
        {"seed": 1},
        {"loss": {"gamma": 1}},
        {"augmentation": {"noise": 0.2}},
        {"sources": {"organs": {**SETTINGS["sources"]["organs"], "share": 2}}},
        {"backbone": {"features": 8, "options": {"filters": [16, 16, 16]}}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_training_is_not_resumed_with_other_settings(source, interrupted, changes):
    with pytest.raises(UserError, match="holds a training with other settings, sources or structures"):
        a_trainer(source, interrupted, **changes)


@pytest.mark.parametrize("change", ["a case less", "another structure", "another name"])
def test_a_training_is_not_resumed_with_other_sources(source, interrupted, tmp_path, change):
    said = json.loads(source.read_text())
    if change == "a case less":
        said["training"] = said["training"][:2]
    elif change == "another structure":
        said["labels"]["2"] = "pancreas"
    else:
        said["name"] = "others"
    for split in ("training", "validation"):
        for entry in said[split]:
            entry.update({kind: str(source.parent / entry[kind]) for kind in ("image", "label")})
    other = tmp_path / "dataset.json"
    other.write_text(json.dumps(said))
    sources = {said["name"]: SETTINGS["sources"]["organs"]}
    with pytest.raises(UserError, match="holds a training with other settings, sources or structures"):
        a_trainer(other, interrupted, sources=sources)


def test_a_training_is_not_resumed_with_other_prototypes(source, interrupted):
    with pytest.raises(UserError, match="holds a training with other"):
        a_trainer(source, interrupted, embeddings={"liver": (np.arange(1.0, 17.0), "a text")})


def test_what_does_not_change_the_result_may_change_when_resuming(source, interrupted):
    trainer = a_trainer(source, interrupted, validate_every=5, validation_cases=0, checkpoint_minutes=9)
    assert trainer.step == 1


def test_a_first_training_is_resumed_whatever_is_said_of_updates(source, interrupted):
    assert a_trainer(source, interrupted, distillation={"answers": 3.0}, aim=False).step == 1


def test_a_checkpoint_that_also_says_settings_of_updates_is_resumed(source, interrupted, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    state = a_trainer(source, interrupted).state
    record = read_record(interrupted / CHECKPOINT)
    record["settings"]["training"] |= {"distillation": {"answers": 5.0}, "aim": False}
    save_checkpoint(folder / CHECKPOINT, state, record)
    assert a_trainer(source, folder).step == 1


def test_a_damaged_checkpoint_is_refused(source, interrupted, tmp_path):
    (tmp_path / "run").mkdir()
    whole = (interrupted / CHECKPOINT).read_bytes()
    for content in (b"", b"no checkpoint", whole[: len(whole) // 2]):
        (tmp_path / "run" / CHECKPOINT).write_bytes(content)
        with pytest.raises(UserError, match=r"cannot be read .*; start the training in a new folder"):
            a_trainer(source, tmp_path / "run")


def a_state(features: int = 8) -> TrainingState:
    torch.manual_seed(0)
    networks = [PrototypeNetwork("unet", features, 16, channels=[8, 8], residual_units=0) for _ in range(2)]
    optimizer = torch.optim.AdamW(networks[0].parameters())
    networks[0](torch.randn(1, 1, 4, 4, 4)).sum().backward()
    optimizer.step()
    return TrainingState(*networks, optimizer)


def test_a_checkpoint_holds_network_average_and_moments(tmp_path):
    state, other = a_state(), a_state()
    with torch.no_grad():
        for parameter in other.network.parameters():
            parameter.zero_()
    save_checkpoint(tmp_path / "c", state, {"step": 3, "best": -math.inf})
    load_checkpoint(tmp_path / "c", other)
    assert read_record(tmp_path / "c") == {"step": 3, "best": -math.inf}
    for one, two in ((state.network, other.network), (state.averaged, other.averaged)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    one, two = (s.optimizer.state_dict()["state"] for s in (state, other))
    assert one.keys() == two.keys() and one
    for index, moments in one.items():
        assert all(torch.equal(value, two[index][name]) for name, value in moments.items())


def test_a_checkpoint_that_was_loaded_is_no_longer_open(tmp_path):
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux lists what a process has mapped")
    save_checkpoint(tmp_path / "checkpoint", a_state(), {})
    state = a_state()
    load_checkpoint(tmp_path / "checkpoint", state)
    gc.collect()
    assert str(tmp_path / "checkpoint") not in maps.read_text()


def test_a_checkpoint_is_on_the_disk_before_it_replaces_the_one_before(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("on disk"), fsync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replaced"), replace(*paths))[1])
    save_checkpoint(tmp_path / "c", a_state(), {})
    assert done[:2] == ["on disk", "replaced"]


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    save_checkpoint(tmp_path / "c", a_state(), {})
    with pytest.raises(UserError, match="does not fit this training"):
        load_checkpoint(tmp_path / "c", a_state(features=16))


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "run" / "c"
    save_checkpoint(path, a_state(), {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # like a full disk: what is written after that fails
    try:
        with pytest.raises(UserError, match=r"cannot be written: .*; free some space"):
            save_checkpoint(path, a_state(), {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_record(path) == {"step": 1}
    assert [p.name for p in path.parent.iterdir()] == ["c"]


def test_a_checkpoint_that_cannot_be_written_gets_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written: .* free some space"):
        save_checkpoint(tmp_path / "file" / "c", a_state(), {})


def test_the_folder_holds_what_it_should(uninterrupted):
    names = {path.name for path in uninterrupted.iterdir()}
    assert {CHECKPOINT, "log.csv", "validation.csv", "cache", "best", "last"} <= names
    assert not [name for name in names if "part" in name]


def test_the_model_says_where_it_comes_from(uninterrupted):
    manifest = load_model(uninterrupted / "last").manifest
    assert (manifest.name, manifest.licence) == ("test", "CC0")
    assert manifest.structures == ("liver", "spleen")
    (source,) = manifest.sources
    assert (source.name, source.modality, source.training_cases, source.validation_cases) == ("organs", "ct", 3, 1)
    assert [protocol.patch for protocol in manifest.protocols] == [(8, 8, 8)]
    assert manifest.temperature == 0.1
    assert manifest.training["iterations_done"] == ITERATIONS
    assert TrainingSettings.model_validate(manifest.training["settings"]) == TrainingSettings.model_validate(SETTINGS)
    assert manifest.training["precision"] == "32-true"


def test_no_file_name_or_subject_gets_into_model_checkpoint_or_log(uninterrupted):
    for path in uninterrupted.rglob("*"):
        assert PATIENT not in path.name
        assert path.is_dir() or PATIENT.encode() not in path.read_bytes(), path


def test_the_last_model_is_the_running_average_of_the_weights(uninterrupted):
    kept = load_file(uninterrupted / CHECKPOINT)
    for name, tensor in weights_of(load_model(uninterrupted / "last").network).items():
        stored = kept[f"averaged.{name}"]
        wanted = stored if name == "projection" else stored.half().float()
        assert torch.equal(tensor, wanted), name
        if name != "projection":
            assert not torch.equal(stored, kept[f"network.{name}"]) or stored.numel() < 64, name


def test_the_average_follows_at_first_and_forgets_slowly_later(source, tmp_path):
    trainer = a_trainer(source, tmp_path / "run", average=0.9)
    network, averaged = trainer.state.network.projection, trainer.state.averaged.projection
    for step, decay in ((0, 0.1), (1, 2 / 11), (1000, 0.9)):
        trainer.step = step
        with torch.no_grad():
            network.fill_(1.0)
            averaged.fill_(0.0)
        trainer._average()
        torch.testing.assert_close(averaged, torch.full_like(averaged, 1 - decay))


def test_the_learning_rate_falls_as_a_cosine(uninterrupted):
    logged = [float(row["learning_rate"]) for row in table(uninterrupted / "log.csv")]
    wanted = [0.003 * (0.01 + 0.99 * (1 + math.cos(math.pi * step / 6)) / 2) for step in range(6)]
    assert logged == pytest.approx(wanted, rel=1e-4)  # too short for a rise before


def test_every_step_is_taken_with_its_own_rate(source, tmp_path):
    trainer = a_trainer(source, tmp_path / "run", iterations=20)
    for step, rate in ((0, 0.0015), (1, 0.003), (2, 0.003), (20, 0.00003)):
        trainer.step = step
        trainer.take_step([trainer.patches[0]])
        assert trainer.state.optimizer.param_groups[0]["lr"] == pytest.approx(rate)


def test_only_a_better_model_replaces_the_best(source, tmp_path):
    trainer = a_trainer(source, tmp_path / "run")
    log = TrainingLog(tmp_path / "run", 0)
    trainer.best = 2.0
    trainer._validate(log)
    assert trainer.best == 2.0 and not (tmp_path / "run/best").exists()
    trainer.best = -1.0
    trainer._validate(log)
    assert 0 <= trainer.best <= 1 and (tmp_path / "run/best").exists()
    log.close()


def test_validations_stand_in_their_log_and_the_best_model_is_the_best(uninterrupted):
    rows = table(uninterrupted / "validation.csv")
    assert [int(row["step"]) for row in rows if row["structure"] == "mean"] == [2, 4, 6]
    assert {(row["source"], row["structure"]) for row in rows} == {
        ("organs", "liver"), ("organs", "spleen"), ("organs", "mean"),
    }  # fmt: skip
    scores = {int(row["step"]): float(row["dice"]) for row in rows if row["structure"] == "mean"}
    best = read_manifest(uninterrupted / "best").training["iterations_done"]
    assert scores[best] == max(scores.values())
    assert read_record(uninterrupted / CHECKPOINT)["best"] == pytest.approx(max(scores.values()), abs=1e-4)


def test_a_structure_that_no_validation_case_shows_does_not_end_the_training(source, tmp_path):
    said = json.loads(source.read_text())
    said["labels"]["9"] = "pancreas"  # annotated, and nowhere to be seen
    for split in ("training", "validation"):
        for entry in said[split]:
            entry.update({kind: str(source.parent / entry[kind]) for kind in ("image", "label")})
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps(said))
    trainer = a_trainer(path, tmp_path / "run")
    with torch.no_grad():  # without features all is background, and nothing is the pancreas
        for parameter in trainer.state.averaged.backbone.parameters():
            parameter.zero_()
    log = TrainingLog(tmp_path / "run", 0)
    trainer._validate(log)
    log.close()
    found = {row["structure"]: row["dice"] for row in table(tmp_path / "run/validation.csv")}
    assert found == {"liver": "0.0000", "spleen": "0.0000", "pancreas": "", "mean": "0.0000"}


def test_without_validation_cases_there_is_only_the_last_model(source, tmp_path):
    a_trainer(source, tmp_path / "run", iterations=1, validation_cases=0).train()
    assert (tmp_path / "run/last").is_dir() and not (tmp_path / "run/best").exists()


def test_progress_says_the_loss_and_the_time_left(source, tmp_path):
    said = []
    a_trainer(source, tmp_path / "run", iterations=2, validation_cases=0).train(lambda *step: said.append(step) or True)
    assert [(done, total) for done, total, _ in said] == [(1, 2), (2, 2)]
    assert all(message.startswith("loss ") and message.endswith(" left") for _, _, message in said)


def test_a_training_may_run_beside_the_main_thread(source, tmp_path):
    # Where no signal handler can be set.
    ended = []
    trainer = a_trainer(source, tmp_path / "run", iterations=1, validation_cases=0)
    thread = threading.Thread(target=lambda: ended.append(trainer.train()))
    thread.start()
    thread.join(timeout=120)
    assert ended and ended[0].training["iterations_done"] == 1


def test_ctrl_c_means_after_a_training_what_it_meant_before(source, tmp_path):
    before = signal.getsignal(signal.SIGINT)
    a_trainer(source, tmp_path / "run", iterations=1, validation_cases=0).train()
    assert signal.getsignal(signal.SIGINT) is before


def test_precision_is_what_the_hardware_is_fast_with_unless_said(source, tmp_path):
    trainer = a_trainer(source, tmp_path / "auto", precision="auto")
    assert trainer.precision == choose_precision(torch.device("cpu"))
    low = a_trainer(source, tmp_path / "low", precision="bf16-mixed", iterations=1, validation_cases=0)
    assert low.train().training["precision"] == "bf16-mixed"
    assert all(p.dtype == torch.float32 for p in low.state.network.parameters())
    (row,) = table(tmp_path / "low/log.csv")
    reference = a_trainer(source, tmp_path / "full", iterations=1, validation_cases=0)
    reference.train()
    assert float(row["loss"]) == pytest.approx(float(table(tmp_path / "full/log.csv")[0]["loss"]), rel=0.05)


def test_a_step_that_overflows_is_left_out_and_many_end_the_training(source, tmp_path):
    trainer = a_trainer(source, tmp_path / "run")
    good = trainer.patches[0]
    bad = Patch(torch.full_like(good.image, torch.inf), good.labels, good.case)

    def weights() -> list[torch.Tensor]:
        return [p.detach().clone() for p in trainer.state.network.parameters()]

    before = weights()
    trainer.take_step([bad])
    assert all(torch.equal(a, b) for a, b in zip(weights(), before, strict=True))
    trainer.take_step([good])
    assert not all(torch.equal(a, b) for a, b in zip(weights(), before, strict=True))
    assert all(torch.isfinite(w).all() for w in weights())
    for _ in range(SKIPS_ALLOWED):
        trainer.take_step([bad])
    with pytest.raises(UserError, match="not finite 11 times in a row"):
        trainer.take_step([bad])


def test_a_step_lowers_the_loss_of_its_patch(source, tmp_path):
    trainer = a_trainer(source, tmp_path / "run", warmup=0)
    patch = trainer.patches[0]
    before = trainer.loss(patch).total.item()
    for _ in range(12):
        trainer.take_step([patch])
    assert trainer.loss(patch).total.item() < 0.8 * before


def test_a_step_of_two_patches_follows_the_mean_of_their_gradients(source, tmp_path):
    trainer = a_trainer(source, tmp_path / "run")
    patches = [trainer.patches[n] for n in range(2)]
    projections, gradients, totals = [], [], []
    for patch in patches:
        trainer.state.network.zero_grad()
        total = trainer.loss(patch).total
        total.backward()
        totals.append(total.item())
        projections.append(trainer.state.network.projection.grad.clone())
        gradients.append([p.grad.clone() for p in trainer.state.network.parameters()])
    trainer.state.network.zero_grad()
    terms = trainer.take_step(patches)
    moment = trainer.state.optimizer.state_dict()["state"]
    names = [name for name, _ in trainer.state.network.named_parameters()]
    followed = moment[names.index("projection")]["exp_avg"] / 0.1
    length = math.sqrt(sum(float(((a + b) / 2).square().sum()) for a, b in zip(*gradients, strict=True)))
    mean = sum(projections) / 2 * min(1, GRADIENT_LIMIT / length)  # a long gradient is shortened
    torch.testing.assert_close(followed, mean, rtol=1e-4, atol=1e-5 * float(mean.abs().max()))
    assert terms.total.item() == pytest.approx(sum(totals) / 2, rel=1e-5)


def test_each_source_and_each_case_has_the_annotation_that_it_declares(tmp_path):
    organs = write_source(tmp_path / "organs")
    said = json.loads(organs.read_text())
    said["training"][0]["annotated"] = ["liver"]
    organs.write_text(json.dumps(said))
    brain = write_source(tmp_path / "brain", ("hippocampus", "liver tumor"), "brain")
    said = json.loads(brain.read_text())
    said["annotated"] = ["hippocampus"]
    brain.write_text(json.dumps(said))
    field = {**SETTINGS["sources"]["organs"], "field_of_view": ["brain"]}
    settings = TrainingSettings.model_validate({**SETTINGS, "sources": {**SETTINGS["sources"], "brain": field}})
    plan = plan_training(read_case_lists([organs, brain]), settings)
    trainer = Trainer(plan, tmp_path / "run", device="cpu")
    names = plan.bank.names
    assert names == ("background", "liver", "spleen", "hippocampus", "liver tumor")

    def denied(*key) -> set[str]:
        return {n for n, free in zip(names, trainer.lesson.said[key].ambiguous.tolist(), strict=True) if not free}

    assert set(trainer.lesson.said) == {
        ("organs", ("liver",)), ("organs", ("liver", "spleen")), ("brain", ("hippocampus",)),
    }  # fmt: skip
    # Within the liver lies its tumor; of the brain a source without a field of view knows nothing.
    assert denied("organs", ("liver", "spleen")) == {"liver", "liver tumor", "spleen"}
    assert denied("organs", ("liver",)) == {"liver", "liver tumor"}
    # Liver and spleen cannot be in the brain's field of view; what the source itself has labels for can.
    assert denied("brain", ("hippocampus",)) == {"hippocampus", "liver", "spleen"}

    # The same patch means something else in each of them.
    patch = trainer.patches[0]
    nothing, losses = torch.zeros_like(patch.labels), {}
    for number, case in enumerate(trainer.cases):
        with torch.no_grad():
            total = trainer.loss(Patch(patch.image, nothing, number)).total.item()
        losses.setdefault((case.source, case.annotated), set()).add(round(total, 5))
    assert len(losses) == 3 and all(len(values) == 1 for values in losses.values())
    assert len(set.union(*losses.values())) == 3


def test_a_field_of_view_that_does_not_exist_is_refused(source, tmp_path):
    with pytest.raises(UserError, match="names the region 'tummy', which the vocabulary does not have"):
        a_trainer(source, tmp_path, sources={"organs": {"field_of_view": ["abdomen", "tummy"]}})


def test_a_plan_gives_structures_prototypes_in_their_order_from_texts_where_there_are_any(source):
    text = np.random.default_rng(0).standard_normal(16)
    plan = plan_training(
        read_case_lists([source]), TrainingSettings.model_validate(SETTINGS), embeddings={"spleen": (text, "a spleen")}
    )
    assert plan.bank.names == ("background", "liver", "spleen")
    assert [(e.source, e.prompt) for e in plan.bank.entries] == [("code", None), ("code", None), ("text", "a spleen")]


def test_a_training_may_start_from_a_trained_model(source, uninterrupted, tmp_path):
    start = load_model(uninterrupted / "last")
    settings = TrainingSettings.model_validate({**SETTINGS, "seed": 5, "iterations": 1, "validation_cases": 0})
    plan = plan_training(read_case_lists([source]), settings, initial=start)
    assert plan.bank == start.bank  # weights mean nothing without the prototypes that they were trained towards
    trainer = Trainer(plan, tmp_path / "run", device="cpu")
    wanted = weights_of(start.network)
    for state in (trainer.state.network, trainer.state.averaged):
        assert all(torch.equal(tensor, wanted[name]) for name, tensor in weights_of(state).items())
    manifest = trainer.train()
    assert manifest.training["initial"]["iterations_done"] == ITERATIONS
    assert manifest.prototype_seed == start.bank.seed == 0
    assert load_model(tmp_path / "run/last").bank == start.bank
    assert all(torch.equal(tensor, wanted[name]) for name, tensor in weights_of(start.network).items())


def test_a_training_does_not_start_from_a_model_of_something_else(source, uninterrupted, tmp_path):
    start = load_model(uninterrupted / "last")
    settings = TrainingSettings.model_validate(SETTINGS)
    other = write_source(tmp_path / "other", ("liver", "pancreas"))
    with pytest.raises(UserError, match="a training can start from a model of the same structures only"):
        plan_training(read_case_lists([other]), settings, initial=start)
    wider = TrainingSettings.model_validate({**SETTINGS, "dimension": 24})
    with pytest.raises(UserError, match="has another network than the settings ask for"):
        plan_training(read_case_lists([source]), wider, initial=start)


def test_what_a_case_list_says_of_its_own_structures_stands_in_the_model(tmp_path):
    category = ["49755003", "SCT", "Morphologically Altered Structure"]
    own = {"name": "odd thing", "category": category, "type": ["367643001", "SCT", "Cyst"], "color": [1, 2, 3]}
    source = write_source(tmp_path / "cases", ("liver", "odd thing"), own_structures=[own])
    (kept,) = a_trainer(source, tmp_path / "run").model().manifest.own_structures
    assert (kept.name, kept.type.meaning, kept.color) == ("odd thing", "Cyst", (1, 2, 3))


def test_more_structures_than_dimensions_are_refused(source):
    settings = TrainingSettings.model_validate({**SETTINGS, "dimension": 2})
    with pytest.raises(UserError, match="no room for a prototype of 'spleen'"):
        plan_training(read_case_lists([source]), settings)


def test_a_backbone_that_cannot_be_built_is_refused_before_any_work(source):
    settings = TrainingSettings.model_validate({**SETTINGS, "backbone": {"options": {"filters": [16, 24, 32]}}})
    with pytest.raises(UserError, match="The backbone 'dynunet'"):
        plan_training(read_case_lists([source]), settings)


def test_two_processes_get_the_gradient_of_one_with_the_whole_batch(source, tmp_path):
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone")
    together = run_program("step", source, tmp_path / "two", launcher=launcher)
    assert together.returncode == 0, together.stderr
    a_trainer(source, tmp_path / "one", iterations=1, validation_cases=0).train()
    one, two = (load_file(tmp_path / folder / CHECKPOINT) for folder in ("one", "two"))
    assert one.keys() == two.keys()
    gradients = [key for key in one if key.endswith(".exp_avg")]
    assert len(gradients) > 10
    largest = max(one[key].abs().max() for key in gradients)
    assert largest > 0
    for key in gradients:  # after one step the first moment is a tenth of the gradient
        assert (one[key] - two[key]).abs().max() < 1e-5 * largest, key
    network = a_trainer(source, tmp_path / "another").state.network
    for index, (name, _) in enumerate(network.named_parameters()):
        key = f"network.{name}"
        # Adam's first step is the gradient's sign, which is chance where the gradient is nearly 0.
        sure = one[f"optimizer.{index}.exp_avg"].abs() > 1e-3 * largest
        assert not sure.any() or (one[key] - two[key])[sure].abs().max() < 1e-5, key
    ranks = [json.loads((tmp_path / f"two-{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0]["checksum"] == ranks[1]["checksum"]
    assert [rank["rank"] for rank in ranks] == [0, 1]
    assert "3 patches a step cannot be shared among 2 processes" in ranks[0]["refused"]
    assert [row["step"] for row in table(tmp_path / "two/log.csv")] == ["1"]


def test_a_folder_with_a_model_but_no_checkpoint_is_left_alone(source, tmp_path):
    trainer = a_trainer(source, tmp_path / "run", iterations=1)
    trainer.train()
    weights = (tmp_path / "run" / "last" / "weights.safetensors").read_bytes()
    (tmp_path / "run" / "checkpoint.safetensors").unlink()  # to save room
    with pytest.raises(UserError, match="holds a model already"):
        a_trainer(source, tmp_path / "run", iterations=2)
    assert (tmp_path / "run" / "last" / "weights.safetensors").read_bytes() == weights


def main(task: str, case_list: Path, folder: Path) -> None:
    """What a test has another process do."""
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if task == "kill":

        def until_killed(done: int, total: int, message: str) -> bool:
            if done == 4:
                os.kill(os.getpid(), signal.SIGKILL)
            return True

        a_trainer(case_list, folder).train(until_killed)
        return
    refused = ""
    trainer = a_trainer(case_list, folder, iterations=1, validation_cases=0)
    trainer.train()
    try:
        a_trainer(case_list, folder.with_name("refused"), patches_per_step=3)
    except UserError as error:
        refused = str(error)
    checksum = sum(float(p.detach().double().sum()) for p in trainer.state.network.parameters())
    rank = trainer.fabric.global_rank
    said = {"rank": rank, "checksum": checksum, "refused": refused}
    folder.with_name(f"{folder.name}-{rank}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
