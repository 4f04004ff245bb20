"""An update that is killed at any moment harms nothing and is gone on with. Run as a program, this file is killed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.checkpoint import read_record
from CFSegmenterLib.model import load_model
from CFSegmenterLib.resuming import CHECKPOINT
from CFSegmenterLib.settings import UpdateSettings
from CFSegmenterLib.store import ModelStore
from CFSegmenterLib.update import update

KILLS = 20
SETTINGS = {"iterations": 40, "checkpoint_minutes": 0}
"""A checkpoint after every step, so that many of the kills meet one being written."""


def run(store: Path, model: Path, cases: Path, settings: dict) -> str:
    """Update to the end; returns the checksum of the weights that came out."""
    said = UpdateSettings.model_validate(settings)
    version = update(model, read_case_lists([cases]), store=store, settings=said, device="cpu", name="killed")
    return version.manifest.weights_sha256


def killed(store: Path, model: Path, cases: Path, settings: dict, seconds: float) -> bool:
    """Update in a child that is killed after so many seconds, with all its children; whether it had ended before."""
    child = os.fork()
    if child == 0:
        os.setsid()
        run(store, model, cases, settings)
        os._exit(0)
    ended = time.monotonic() + seconds
    while time.monotonic() < ended:
        if os.waitpid(child, os.WNOHANG)[0]:
            return True
        time.sleep(0.005)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return False


def checksums(folder: Path) -> dict[str, str]:
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in found}


def main(folder: Path, model: Path, cases: Path, settings: dict) -> dict:
    """Kill updates at random moments, look at what is left each time, and let the last one end."""
    began = time.monotonic()
    wanted = run(folder / "undisturbed", model, cases, settings)
    whole = time.monotonic() - began
    store, chance = folder / "store", random.Random(20)
    ModelStore.create(store, model)
    before = checksums(cases.parent) | checksums(model) | checksums(store / "versions")
    steps, ends = [], 0
    for _ in range(KILLS):
        if killed(store, model, cases, settings, chance.uniform(0, whole)):
            ends += 1
            continue
        left = ModelStore.open(store)
        assert left.active.name == "1"
        for version in left.versions:
            load_model(version.folder)  # whole, down to the checksum
        now = checksums(cases.parent) | checksums(model) | checksums(store / "versions" / "1")
        assert now == {path: before[path] for path in now} and len(now) == len(before)
        checkpoint = left.update_folder("killed") / CHECKPOINT
        steps.append(read_record(checkpoint)["step"] if checkpoint.exists() else 0)
    found = run(store, model, cases, settings)
    made = [version.manifest.weights_sha256 for version in ModelStore.open(store).versions[1:]]
    return {"wanted": wanted, "found": found, "made": made, "steps": steps, "ends": ends, "seconds": whole}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="the many short lives need os.fork")
def test_an_update_killed_at_twenty_random_moments_harms_nothing_and_ends_as_if_undisturbed(
    a_model_folder, a_new_source, tmp_path
):
    from .conftest import UPDATE_SETTINGS

    said = json.dumps({**UPDATE_SETTINGS, **SETTINGS})
    done = subprocess.run(
        [sys.executable, __file__, str(tmp_path), str(a_model_folder), str(a_new_source), said],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert len(told["steps"]) + told["ends"] == KILLS
    assert max(told["steps"]) > 0, "no kill met an update that had trained"
    # Within one update, what was trained is never lost: steps only grow until it ends.
    assert told["found"] == told["wanted"]
    assert set(told["made"]) == {told["wanted"]}


if __name__ == "__main__":
    folder, model, cases = map(Path, sys.argv[1:4])
    sys.stdout.write(json.dumps(main(folder, model, cases, json.loads(sys.argv[4]))) + "\n")
