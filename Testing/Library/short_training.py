"""A training of a few steps: what the tests of trainings share. Run as a program, it trains; see its end."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import torch
from safetensors.torch import load_file

import CFSegmenterLib
from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.model import read_manifest
from CFSegmenterLib.planning import plan_training
from CFSegmenterLib.resuming import CHECKPOINT
from CFSegmenterLib.settings import TrainingSettings
from CFSegmenterLib.training import Trainer

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


def run_program(*arguments: str | Path, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess:
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(CFSegmenterLib.__file__).parents[1]),
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }
    command = [sys.executable, *launcher, __file__, *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)


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
