"""Fixtures of every library test: drawn volumes, a drawn source, and a tiny model that was really trained on it.

Nothing here is changed by a test: who wants to write into a model folder or a source copies it first. Each process of
a test run trains its own model, which takes seconds.
"""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from CFSegmenterLib.phantom import NAMES, Phantom, draw_small

TINY_SETTINGS = {
    "backbone": {"name": "unet", "features": 16, "options": {"channels": [16, 32, 64], "residual_units": 0}},
    "iterations": 200,
    "patches_per_step": 1,
    "learning_rate": 0.01,
    "warmup": 5,
    "average": 0.95,
    "dimension": 32,
    "loss": {"entropy": 0.1},
    "augmentation": {"spatial": 0.0, "noise": 0.0, "blur": 0.0, "low_resolution": 0.0, "gamma": 0.0, "centered": 1.0},
    "validation_cases": 0,
    "precision": "32-true",
    "sources": {"phantom_small": {"protocol": "small phantom", "spacing": [4.0, 4.0, 4.0], "patch": [24, 24, 16]}},
}
"""Settings of a training that takes seconds and is good enough to find the organs of a small phantom."""

UNSEEN_SEED = 900
"""Of the small phantom that `a_small_volume` holds; no training or validation case has it."""


def write_small_source(folder: Path, training: int = 6, validation: int = 2, seed: int = 0, **said) -> Path:
    """Write small phantoms as NIfTI files with a case list; returns the path of its `dataset.json`.

    Args:
        said: replaces or adds entries of the case list.
    """
    (folder / "images").mkdir(parents=True)
    (folder / "labels").mkdir()
    cases = []
    for number in range(training + validation):
        phantom = draw_small(seed + number)
        case = {kind: f"{kind}s/small_{seed + number}.nii.gz" for kind in ("image", "label")}
        for kind, array in (("image", phantom.image), ("label", phantom.labels)):
            save_nifti(folder / case[kind], array, phantom.affine)
        cases.append({**case, "subject": f"small_{seed + number}"})
    said = {
        "name": "phantom_small",
        "modality": "mr-t2",
        "licence": "CC0 (drawn by this project)",
        "labels": {str(value): name for value, name in NAMES.items()},
        "training": cases[:training],
        "validation": cases[training:],
        **said,
    }
    path = folder / "dataset.json"
    path.write_text(json.dumps(said), encoding="utf-8")
    return path


NEW_STRUCTURE = "gallbladder"

UPDATE_SETTINGS = {
    "budget_seconds": None,
    "iterations": 60,
    "patches_per_step": 1,
    "learning_rate": 0.003,
    "warmup": 5,
    "average": 0.9,
    "augmentation": TINY_SETTINGS["augmentation"],
    "precision": "32-true",
}
"""Settings of an update of the tiny model that takes seconds."""


def write_new_source(folder: Path, training: int = 3, validation: int = 1, seed: int = 500) -> Path:
    """Write small phantoms of other subjects with a gallbladder, the only structure that is annotated in them."""
    path = write_small_source(folder, training, validation, seed)
    said = json.loads(path.read_text(encoding="utf-8"))
    for case in (*said["training"], *said["validation"]):
        image = nibabel.load(folder / case["image"])
        voxels = np.asarray(image.dataobj).copy()
        ball = np.linalg.norm(np.indices(voxels.shape).T - (14, 24, 9), axis=-1).T < 3.5
        # Checkered, between the others' brightness: a very bright ball would move the normalization of all the rest.
        voxels[ball] = np.where(np.indices(voxels.shape).sum(axis=0) % 2, 20, 420)[ball]
        save_nifti(folder / case["image"], voxels, image.affine)
        save_nifti(folder / case["label"], ball.astype(np.uint8), image.affine)
    said |= {"name": "gallbladders", "labels": {"1": NEW_STRUCTURE}}
    path.write_text(json.dumps(said), encoding="utf-8")
    return path


def save_nifti(path: Path, array: np.ndarray, affine: np.ndarray) -> Path:
    """Write (I, J, K) voxels as a NIfTI file in millimeters; returns its path."""
    image = nibabel.Nifti1Image(array, affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)
    return path


def train_small(case_list: Path, folder: Path, **changes) -> Path:
    """Train a tiny model on a source of small phantoms; returns the model folder.

    Args:
        changes: settings other than those of `TINY_SETTINGS`.
    """
    from CFSegmenterLib.cases import read_case_lists
    from CFSegmenterLib.planning import plan_training
    from CFSegmenterLib.settings import TrainingSettings
    from CFSegmenterLib.training import Trainer

    settings = TrainingSettings.model_validate({**TINY_SETTINGS, **changes})
    plan = plan_training(read_case_lists([case_list]), settings, name="tiny", licence="CC0 (drawn by this project)")
    Trainer(plan, folder, device="cpu", command="cfsegmenter train ...").train()
    return folder / "last"


@pytest.fixture(scope="session")
def a_small_source(tmp_path_factory) -> Path:
    """The case list of a source of small phantoms: 6 training and 2 validation cases of all four structures."""
    folder = tmp_path_factory.getbasetemp() / "small_source"
    # Found there already where another folder of tests has these fixtures, too.
    return folder / "dataset.json" if folder.exists() else write_small_source(folder)


@pytest.fixture(scope="session")
def a_model_folder(a_small_source, tmp_path_factory) -> Path:
    """A model folder that knows liver, right kidney, left kidney and spleen of small phantoms. Copy before changing."""
    folder = tmp_path_factory.getbasetemp() / "small_training"
    return folder / "last" if folder.exists() else train_small(a_small_source, folder)


@pytest.fixture(scope="session")
def a_new_source(tmp_path_factory) -> Path:
    """The case list of a source that annotates a structure which the tiny model does not know: 3 and 1 cases."""
    folder = tmp_path_factory.getbasetemp() / "new_source"
    return folder / "dataset.json" if folder.exists() else write_new_source(folder)


@pytest.fixture(scope="session")
def balls(tmp_path_factory) -> Path:
    """The case list of the source of a training of a few steps; see `short_training`."""
    from Testing.Library.short_training import write_source

    return write_source(tmp_path_factory.mktemp("cases") / "organs")


@pytest.fixture(scope="session")
def whole_training(balls, tmp_path_factory) -> Path:
    """The folder of such a training that went through to its last step."""
    from Testing.Library.short_training import a_trainer

    folder = tmp_path_factory.mktemp("training") / "run"
    a_trainer(balls, folder, command="cfsegmenter train --cases organs.json").train()
    return folder


@pytest.fixture
def a_model(a_model_folder):
    """The same model in memory, fresh for every test."""
    from CFSegmenterLib.model import load_model

    return load_model(a_model_folder)


@pytest.fixture
def a_segmenter(a_model):
    """A Segmenter of that model on the CPU in full precision."""
    from CFSegmenterLib.segmenter import Segmenter

    return Segmenter(a_model, device="cpu", precision="32-true")


@pytest.fixture(scope="session")
def a_small_phantom() -> Phantom:
    """A small phantom, with its labels, that no training has seen."""
    return draw_small(UNSEEN_SEED)


@pytest.fixture
def a_small_volume(a_small_phantom):
    """The image of `a_small_phantom` as a Volume: 32 x 32 x 24 voxels of 4 mm, modality mr-t2."""
    from CFSegmenterLib.volume import Volume

    return Volume.checked(a_small_phantom.image.copy(), a_small_phantom.affine, "mr-t2")


@pytest.fixture
def a_small_file(a_small_phantom, tmp_path) -> Path:
    """The image of `a_small_phantom` as a NIfTI file."""
    return save_nifti(tmp_path / "small.nii.gz", a_small_phantom.image, a_small_phantom.affine)
