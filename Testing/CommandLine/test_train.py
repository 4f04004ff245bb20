"""`cfsegmenter train`: a model from a case list, stopped and resumed, with nothing of a patient's in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from CFSegmenterLib.checkpoint import read_record
from CFSegmenterLib.model import load_model, read_manifest
from Testing.CommandLine.conftest import hidden_files, table_of
from Testing.Library.conftest import TINY_SETTINGS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def settings(tmp_path):
    """A settings file of a training of a few steps, as exact as can be."""
    path = tmp_path / "short.json"
    path.write_text(json.dumps({**TINY_SETTINGS, "iterations": 12}))
    return path


@pytest.fixture
def train(cfsegmenter, a_small_source, settings, tmp_path):
    def run(*arguments, out=tmp_path / "run"):
        return cfsegmenter(
            "train", "--cases", a_small_source, "--settings", settings, "--out", out, "--device", "cpu", *arguments
        )

    return run


def weights_at(folder):
    return (folder / "weights.safetensors").read_bytes()


def test_a_case_list_becomes_a_model_with_its_card(train, tmp_path):
    result = train("--name", "mine", "--licence", "CC0", "--iterations", 2)
    assert result.exit_code == 0, result.output
    model = load_model(tmp_path / "run" / "last")
    assert model.manifest.name == "mine" and model.manifest.licence == "CC0"
    assert model.manifest.structures == ("liver", "right kidney", "left kidney", "spleen")
    assert model.manifest.training["iterations_done"] == 2
    assert {entry["source"] for entry in model.manifest.prototypes} == {"code"}
    (row,) = table_of(result.stdout)
    assert row["model"] == str(tmp_path / "run" / "last")
    assert "cfsegmenter train --cases phantom_small" in (tmp_path / "run" / "last" / "README.md").read_text()
    assert not hidden_files(tmp_path / "run")


def test_nothing_of_a_patient_is_in_the_model(train, a_small_source, tmp_path):
    train("--iterations", 1)
    cases = json.loads(a_small_source.read_text())
    entries = [*cases["training"], *cases["validation"]]
    secrets = {Path(entry[kind]).name.split(".")[0] for entry in entries for kind in ("image", "label")}
    secrets |= {entry["subject"] for entry in entries} | {str(a_small_source.parent), str(tmp_path)}
    for path in (tmp_path / "run" / "last").iterdir():
        content = path.read_bytes()
        assert not [secret for secret in secrets if secret.encode() in content], path.name


def test_the_recorded_command_names_sources_and_files_without_folders(train, settings, tmp_path):
    train("--iterations", 1, "--name", "two words")
    said = read_manifest(tmp_path / "run" / "last").training["command"]
    assert said == (
        "cfsegmenter train --cases phantom_small --settings short.json --name 'two words' --licence 'not stated' "
        "--iterations 1"
    )


@pytest.mark.slow
def test_ctrl_c_in_a_real_process_leaves_a_checkpoint_and_the_same_command_goes_on(
    train, a_small_source, settings, tmp_path
):
    said = json.loads(settings.read_text())
    settings.write_text(json.dumps({**said, "iterations": 120}))
    assert train(out=tmp_path / "whole").exit_code == 0
    arguments = ["--cases", a_small_source, "--settings", settings, "--out", tmp_path / "run", "--device", "cpu"]
    command = [sys.executable, "-m", "CFSegmenterLib", "train", *map(str, arguments)]
    process = subprocess.Popen(
        command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_for_steps(tmp_path / "run" / "log.csv", 3, process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the training and to the process that cuts patches
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130, err
    assert out == "" and "Stopped at step" in err and "goes on" in err and "Traceback" not in err
    assert (tmp_path / "run" / "checkpoint.safetensors").exists() and not hidden_files(tmp_path / "run")
    stopped_at = read_manifest(tmp_path / "run" / "last").training["iterations_done"]
    assert 3 <= stopped_at < 120
    result = train()
    assert result.exit_code == 0, result.output
    assert f"Resuming at step {stopped_at} of 120" in result.stderr
    assert weights_at(tmp_path / "run" / "last") == weights_at(tmp_path / "whole" / "last")
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 121


@pytest.mark.slow
@pytest.mark.parametrize(("processes", "number"), [(1, signal.SIGTERM), (2, signal.SIGTERM), (2, signal.SIGINT)])
def test_who_ends_all_processes_at_once_gets_a_checkpoint_and_a_sentence_of_each(
    a_small_source, settings, tmp_path, processes, number
):
    said = json.loads(settings.read_text())
    settings.write_text(json.dumps({**said, "iterations": 100_000, "patches_per_step": 2}))
    arguments = ["--cases", a_small_source, "--settings", settings, "--out", tmp_path / "run", "--device", "cpu"]
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone"] if processes == 2 else []
    process = subprocess.Popen(
        [sys.executable, *torchrun, "-m", "CFSegmenterLib", "train", *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, start_new_session=True,
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for_steps(tmp_path / "run" / "log.csv", 3, process)
    # To those that train and to those that cut patches; torchrun gives each that trains a group of its own.
    for each in [process.pid] if processes == 1 else [child.pid for child in psutil.Process(process.pid).children()]:
        os.killpg(each, number)
    _, err = process.communicate(timeout=300)
    assert err.count("Stopped at step") == processes and "DataLoader" not in err
    assert processes == 2 or (process.returncode == 130 and "Traceback" not in err)  # torchrun has one of its own
    assert read_record(tmp_path / "run" / "checkpoint.safetensors")["step"] >= 3
    assert not hidden_files(tmp_path / "run")


def test_a_training_stops_where_it_is_told_to_and_goes_on_as_if_it_had_not(train, settings, tmp_path):
    train("--iterations", 4, "--until", 2)
    assert len((tmp_path / "run" / "log.csv").read_text().splitlines()) == 3
    assert (tmp_path / "run" / "last" / "manifest.json").exists()
    assert "Resuming at step 2 of 4" in train("--iterations", 4).stderr
    train("--iterations", 4, out=tmp_path / "whole")
    assert weights_at(tmp_path / "run" / "last") == weights_at(tmp_path / "whole" / "last")


def test_a_scheduler_that_ends_it_gets_a_checkpoint_too(train, settings, tmp_path):
    said = json.loads(settings.read_text())
    settings.write_text(json.dumps({**said, "iterations": 100_000}))
    before = signal.getsignal(signal.SIGTERM)

    def end():
        wait_for_steps(tmp_path / "run" / "log.csv", 2)
        os.kill(os.getpid(), signal.SIGTERM)

    killer = threading.Thread(target=end, daemon=True)
    killer.start()
    result = train()
    killer.join()
    assert result.exit_code == 130 and "Stopped at step" in result.stderr
    assert (tmp_path / "run" / "checkpoint.safetensors").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def wait_for_steps(log, count, process=None):
    patience = time.monotonic() + 300
    while time.monotonic() < patience and (process is None or process.poll() is None):
        if log.exists() and len(log.read_text().splitlines()) > count:
            return
        time.sleep(0.02)
    raise AssertionError(f"no {count} steps in time: {process and process.communicate()}")


def test_a_finished_training_is_not_done_again_and_another_is_not_mixed_with_it(train, refused, settings, tmp_path):
    train("--iterations", 2)
    again = train("--iterations", 2)
    assert again.exit_code == 0 and "Resuming at step 2 of 2" in again.stderr
    other = train("--iterations", 3)
    assert other.exit_code == 2 and "other settings" in other.stderr


def test_a_model_without_text_weights_is_trained_all_the_same(train, tmp_path):
    result = train("--iterations", 1, "--text-weights", "laion2b_s34b_b79k")
    assert result.exit_code == 0, result.output
    assert "code directions" in result.stderr  # nobody allowed a download
    assert {entry["source"] for entry in read_manifest(tmp_path / "run" / "last").prototypes} == {"code"}


def test_a_training_can_start_from_a_model(train, refused, a_model_folder, a_small_source, settings, tmp_path):
    result = train("--iterations", 1, "--initial", a_model_folder)
    assert result.exit_code == 0, result.output
    manifest = read_manifest(tmp_path / "run" / "last")
    assert manifest.training["initial"]["iterations_done"] == TINY_SETTINGS["iterations"]
    assert manifest.training["command"].endswith("--iterations 1 --initial last")
    first = float((tmp_path / "run" / "log.csv").read_text().splitlines()[1].split(",")[1])
    train("--iterations", 1, out=tmp_path / "fresh")
    fresh = float((tmp_path / "fresh" / "log.csv").read_text().splitlines()[1].split(",")[1])
    assert first < fresh / 2  # it starts where the other one ended
    both = ["--initial", a_model_folder, "--text-weights", "laion2b_s34b_b79k"]
    assert "--initial" in refused("train", "--cases", a_small_source, "--out", tmp_path / "no", *both)


def test_wrong_inputs_are_explained_before_anything_is_written(refused, a_small_source, settings, tmp_path):
    def asked(*arguments, cases=a_small_source):
        sentence = refused("train", "--cases", cases, "--settings", settings, "--out", tmp_path / "run", *arguments)
        assert not (tmp_path / "run").exists()
        return sentence

    assert "cannot be read" in asked(cases=tmp_path / "gone.json")
    assert "--iterations" in asked("--iterations", 0)
    assert "--text-weights" in asked("--architecture", "ViT-B-32")
    assert "does not exist" in asked("--text-weights", tmp_path / "gone.safetensors")
    assert "{}" in asked("--prompt", "no place for a name")
    empty = tmp_path / "empty"
    empty.mkdir()
    assert "dataset.json" in asked(cases=empty)
    settings.write_text('{"iteratons": 3}')
    assert "iteratons" in asked()
    settings.write_text("{")
    assert "not valid JSON" in asked()


def test_a_device_that_is_none_is_refused(train):
    result = train("--device", "tpu")  # the last one given counts
    assert result.exit_code == 2 and "no device 'tpu'" in result.stderr


@pytest.mark.slow
def test_a_case_that_one_of_two_processes_cannot_read_ends_both(a_small_source, settings, tmp_path):
    source = shutil.copytree(a_small_source.parent, tmp_path / "source") / a_small_source.name
    spoilt = source.parent / json.loads(source.read_text())["training"][1]["label"]  # the second process's share
    spoilt.write_bytes(b"no image at all")
    settings.write_text(json.dumps({**json.loads(settings.read_text()), "patches_per_step": 2}))
    arguments = ["--cases", source, "--settings", settings, "--out", tmp_path / "run", "--device", "cpu"]
    ended = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--standalone", "-m", "CFSegmenterLib",
         "train", *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert ended.returncode != 0
    assert ended.stderr.count(spoilt.name) >= 1 and "Stopped while the cases were prepared" in ended.stderr
