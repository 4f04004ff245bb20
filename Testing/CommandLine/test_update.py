"""`cfsegmenter update`: a new version from annotated cases, stopped and resumed, and what it says of bad input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from CFSegmenterLib.store import ModelStore
from Testing.CommandLine.conftest import table_of
from Testing.Library.conftest import UPDATE_SETTINGS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path):
    path = tmp_path / "short.json"
    path.write_text(json.dumps({**UPDATE_SETTINGS, "iterations": 3}))
    return path


@pytest.fixture
def update(cfsegmenter, a_model_folder, a_new_source, settings, tmp_path):
    def run(*arguments):
        return cfsegmenter(
            "update", "--model", a_model_folder, "--cases", a_new_source, "--settings", settings,
            "--out", tmp_path / "store", "--device", "cpu", *arguments,
        )  # fmt: skip

    return run


def test_cases_become_a_version_that_waits_and_a_table_of_what_changed(update, a_new_source, tmp_path):
    result = update("--unlabelled", a_new_source, "--status", tmp_path / "state.json")
    assert result.exit_code == 0, result.output
    store = ModelStore.open(tmp_path / "store")
    assert [version.status for version in store.versions] == ["accepted", "proposed"]
    (row,) = table_of(result.stdout)
    assert row["structure"] == "gallbladder" and row["kind"] == "new" and row["Dice before"] == ""
    assert "cfsegmenter models accept" in result.stderr
    said = json.loads((tmp_path / "state.json").read_text())
    assert said["state"] == "done" and said["version"] == "2"
    assert store.version("2").report()["cases"]["unlabelled"] == 3
    recorded = store.version("2").manifest.training["command"]
    assert recorded == "cfsegmenter update --cases gallbladders --settings short.json"


def test_without_a_model_the_active_version_of_the_store_is_taught(
    update, cfsegmenter, a_new_source, settings, tmp_path
):
    update()
    ModelStore.open(tmp_path / "store").accept("2", confirmed=True)
    again = cfsegmenter(
        "update", "--cases", a_new_source, "--settings", settings, "--out", tmp_path / "store", "--device", "cpu"
    )
    assert again.exit_code == 0, again.output
    assert ModelStore.open(tmp_path / "store").version("3").manifest.parent == "2"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--budget", "soonish"), "soonish"),
        (("--budget", "1 hour", "--iterations", "3"), "give one of them"),
        (("--unlabelled", "nowhere"), "nowhere"),
    ],
)
def test_bad_input_gets_one_sentence_and_leaves_nothing(arguments, sentence, update, tmp_path):
    result = update(*arguments, "--status", tmp_path / "state.json")
    assert result.exit_code == 2
    assert sentence in result.stderr and result.stderr.count("\n") == 1
    if (tmp_path / "store").exists():
        assert [version.name for version in ModelStore.open(tmp_path / "store").versions] == ["1"]


def a_process(model, cases, settings, out: Path, *arguments, launcher=("-m", "CFSegmenterLib"), stdin=None):
    return subprocess.Popen(
        [
            sys.executable,
            *launcher,
            "update",
            "--model",
            str(model),
            "--cases",
            str(cases),
            "--settings",
            str(settings),
            "--out",
            str(out),
            "--device",
            "cpu",
            *map(str, arguments),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_an_attended_update_stops_after_a_checkpoint_when_nobody_attends_any_more(
    a_model_folder, a_new_source, settings, tmp_path
):
    state = tmp_path / "state.json"
    child = a_process(
        a_model_folder, a_new_source, settings, tmp_path / "store", "--iterations", 100_000, "--attended",
        "--name", "mine", "--status", state, stdin=subprocess.PIPE,
    )  # fmt: skip
    while not (state.exists() and json.loads(state.read_text())["phase"] == "training"):
        assert child.poll() is None, child.stderr.read()
    child.stdin.close()
    assert child.wait(60) == 130
    child.stdout.close()
    child.stderr.close()
    said = json.loads(state.read_text())
    assert said["state"] == "stopped" and "goes on from there" in said["message"]
    assert list((tmp_path / "store" / "updates" / "mine").glob("checkpoint*"))


@pytest.mark.slow
def test_two_processes_under_torchrun_make_the_version_that_one_makes(update, a_model_folder, a_new_source, tmp_path):
    settings = tmp_path / "short.json"
    settings.write_text(json.dumps({**UPDATE_SETTINGS, "iterations": 2, "patches_per_step": 2}))
    assert update().exit_code == 0
    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", "CFSegmenterLib")
    child = a_process(a_model_folder, a_new_source, settings, tmp_path / "two", launcher=launcher)
    _, errors = child.communicate(timeout=300)
    assert child.returncode == 0, errors
    one, two = (ModelStore.open(tmp_path / name).version("2") for name in ("store", "two"))
    assert two.manifest.training["processes"] == 2 and one.manifest.training["processes"] == 1
    assert [each.name for each in ModelStore.open(tmp_path / "two").versions] == ["1", "2"]
    ours, theirs, before = (
        load_file(each.folder / "weights.safetensors")
        for each in (one, two, ModelStore.open(tmp_path / "store").version("1"))
    )
    moved = max(np.abs(ours[name] - before[name]).max() for name in ours if name != "prototypes")
    apart = np.concatenate([np.abs(ours[name] - theirs[name]).ravel() for name in ours]).astype(np.float64)
    assert moved > 0
    # Adam's first steps are signs of gradients, which are chance where a gradient is nearly 0.
    assert np.mean(apart > 0.1 * moved) < 0.05
