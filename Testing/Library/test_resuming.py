"""Resuming a training: it goes on exactly where it was, or says why it does not."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from CFSegmenterLib.checkpoint import read_record
from CFSegmenterLib.errors import Cancelled, UserError
from CFSegmenterLib.model import read_manifest
from CFSegmenterLib.resuming import CHECKPOINT
from Testing.Library.short_training import (
    ITERATIONS,
    SETTINGS,
    a_trainer,
    assert_same_training,
    losses,
    run_program,
    stop_after,
    table,
)


def test_a_training_that_was_killed_goes_on_exactly_where_it_was(balls, whole_training, tmp_path):
    # The program kills itself when step 4 has been logged; the last checkpoint is then of step 3.
    killed = run_program("kill", balls, tmp_path / "run")
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert read_record(tmp_path / "run" / CHECKPOINT)["step"] == 3
    assert [row["step"] for row in table(tmp_path / "run/log.csv")] == ["1", "2", "3", "4"]

    steps = []
    trainer = a_trainer(balls, tmp_path / "run")
    assert trainer.step == 3
    trainer.train(lambda done, total, message: steps.append((done, message.split()[0])) or True)
    assert [done for done, doing in steps if doing == "loss"] == [4, 5, 6]
    assert_same_training(tmp_path / "run", whole_training)


def test_a_training_that_was_cancelled_goes_on_exactly_where_it_was(balls, whole_training, tmp_path):
    for step in (1, 4):
        with pytest.raises(Cancelled):
            a_trainer(balls, tmp_path / "run").train(stop_after(step))
        record = read_record(tmp_path / "run" / CHECKPOINT)
        assert record["step"] == step
        assert read_manifest(tmp_path / "run/last").training["iterations_done"] == step
    assert a_trainer(balls, tmp_path / "run").best == record["best"] > 0  # of step 2; that of step 4 is still owed
    a_trainer(balls, tmp_path / "run").train()
    assert_same_training(tmp_path / "run", whole_training)


def test_a_training_that_is_done_does_nothing_more(balls, whole_training):
    before = (whole_training / CHECKPOINT).read_bytes(), losses(whole_training)
    steps = []
    manifest = a_trainer(balls, whole_training).train(lambda *step: steps.append(step) or True)
    assert steps == []
    assert manifest.training["iterations_done"] == ITERATIONS
    assert ((whole_training / CHECKPOINT).read_bytes(), losses(whole_training)) == before


@pytest.fixture(scope="module")
def interrupted(balls, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("interrupted") / "run"
    with pytest.raises(Cancelled):
        a_trainer(balls, folder).train(stop_after(1))
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
def test_a_training_is_not_resumed_with_other_settings(balls, interrupted, changes):
    with pytest.raises(UserError, match="holds a training with other settings, sources or structures"):
        a_trainer(balls, interrupted, **changes)


@pytest.mark.parametrize(
    "change", ["a case less", "another case", "another annotation", "another structure", "another name"]
)
def test_a_training_is_not_resumed_with_other_sources(balls, interrupted, tmp_path, change):
    said = json.loads(balls.read_text())
    if change == "a case less":
        said["training"] = said["training"][:2]
    elif change == "another case":
        said["training"][0], said["validation"][0] = said["validation"][0], said["training"][0]
    elif change == "another annotation":
        said["training"][0]["annotated"] = ["liver"]
    elif change == "another structure":
        said["labels"]["2"] = "pancreas"
    else:
        said["name"] = "others"
    for split in ("training", "validation"):
        for entry in said[split]:
            entry.update({kind: str(balls.parent / entry[kind]) for kind in ("image", "label")})
    other = tmp_path / "dataset.json"
    other.write_text(json.dumps(said))
    sources = {said["name"]: SETTINGS["sources"]["organs"]}
    with pytest.raises(UserError, match="holds a training with other settings, sources or structures"):
        a_trainer(other, interrupted, sources=sources)


def test_a_training_is_not_resumed_with_other_prototypes(balls, interrupted):
    with pytest.raises(UserError, match="holds a training with other"):
        a_trainer(balls, interrupted, embeddings={"liver": (np.arange(1.0, 17.0), "a text")})


def test_a_training_is_resumed_where_its_cases_were_moved_to(balls, interrupted, tmp_path):
    shutil.copytree(balls.parent, tmp_path / "moved" / balls.parent.name)
    assert a_trainer(tmp_path / "moved" / balls.parent.name / balls.name, interrupted).step == 1


def test_what_does_not_change_the_result_may_change_when_resuming(balls, interrupted):
    trainer = a_trainer(balls, interrupted, validate_every=5, validation_cases=0, checkpoint_minutes=9)
    assert trainer.step == 1


def test_a_first_training_is_resumed_whatever_is_said_of_updates(balls, interrupted):
    assert a_trainer(balls, interrupted, distillation={"answers": 3.0}, aim=False).step == 1


def test_a_damaged_checkpoint_is_refused(balls, interrupted, tmp_path):
    (tmp_path / "run").mkdir()
    whole = (interrupted / CHECKPOINT).read_bytes()
    for content in (b"", b"no checkpoint", whole[: len(whole) // 2]):
        (tmp_path / "run" / CHECKPOINT).write_bytes(content)
        with pytest.raises(UserError, match=r"cannot be read .*; start the training in a new folder"):
            a_trainer(balls, tmp_path / "run")


def test_a_folder_with_a_model_but_no_checkpoint_is_left_alone(balls, tmp_path):
    trainer = a_trainer(balls, tmp_path / "run", iterations=1)
    trainer.train()
    weights = (tmp_path / "run" / "last" / "weights.safetensors").read_bytes()
    (tmp_path / "run" / "checkpoint.safetensors").unlink()  # to save room
    with pytest.raises(UserError, match="holds a model already"):
        a_trainer(balls, tmp_path / "run", iterations=2)
    assert (tmp_path / "run" / "last" / "weights.safetensors").read_bytes() == weights
