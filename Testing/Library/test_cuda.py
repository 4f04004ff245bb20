"""What a graphics card does: the same as the processor, and more at once. They run by `python -m pytest -m cuda`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from CFSegmenterLib import windows
from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.checkpoint import read_record
from CFSegmenterLib.errors import Cancelled
from CFSegmenterLib.evaluation import dice
from CFSegmenterLib.model import Model, load_model
from CFSegmenterLib.planning import plan_training
from CFSegmenterLib.resuming import CHECKPOINT
from CFSegmenterLib.segmenter import Segmenter
from CFSegmenterLib.settings import TrainingSettings, UpdateSettings
from CFSegmenterLib.training import Trainer
from CFSegmenterLib.update_planning import plan_update
from CFSegmenterLib.worker.client import COMMAND, WorkerClient
from Testing.Library.conftest import NEW_STRUCTURE, TINY_SETTINGS, UPDATE_SETTINGS

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]

NAMES = ("liver", "right kidney", "left kidney", "spleen")


def a_trainer(case_list: Path, folder: Path, **changes) -> Trainer:
    settings = TrainingSettings.model_validate({**TINY_SETTINGS, **changes})
    return Trainer(plan_training(read_case_lists([case_list]), settings, name="tiny"), folder, device="cuda")


def masks_of(model: Model, volume, precision: str | None = None) -> dict[str, np.ndarray]:
    segmentation = Segmenter(model, "cuda", precision).encode(volume).segment(NAMES)
    return {name: segmentation.mask(name) for name in NAMES}


@pytest.mark.parametrize(("precision", "tolerance", "alike"), [("32-true", 0.01, 0.995), ("bf16-mixed", 0.1, 0.95)])
def test_a_card_answers_what_the_processor_answers(
    a_model_folder, a_segmenter, a_small_volume, precision, tolerance, alike
):
    here = a_segmenter.encode(a_small_volume)
    there = Segmenter(load_model(a_model_folder), "cuda", precision).encode(a_small_volume)
    difference = np.abs(here.features.astype(np.float32) - there.features.astype(np.float32))
    assert np.quantile(difference, 0.99) < tolerance
    for name in NAMES:
        assert dice(here.segment().mask(name), there.segment().mask(name)) > alike, name


@pytest.mark.parametrize("at_once", [1, 3, 100])
def test_how_many_windows_are_passed_at_once_makes_no_difference(a_model, a_small_volume, monkeypatch, at_once):
    segmenter = Segmenter(a_model, "cuda", "32-true")
    patch = segmenter.model.manifest.protocols[0].patch
    wanted = segmenter.encode(a_small_volume).features.astype(np.float32)
    monkeypatch.setattr(windows, "VOXELS_AT_ONCE", at_once * int(np.prod(patch)))
    np.testing.assert_allclose(segmenter.encode(a_small_volume).features.astype(np.float32), wanted, atol=0.01)


def test_a_card_that_is_full_leaves_the_scan_to_the_processor(a_model, a_segmenter, a_small_volume):
    segmenter = Segmenter(a_model, "auto")
    torch.cuda.empty_cache()
    try:
        torch.cuda.set_per_process_memory_fraction(1e-6)
        found = segmenter.encode(a_small_volume).segment()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    wanted = a_segmenter.encode(a_small_volume).segment()
    assert dice(found.mask("liver"), wanted.mask("liver")) > 0.95
    assert dice(segmenter.encode(a_small_volume).segment().mask("liver"), wanted.mask("liver")) > 0.95


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_what_is_trained_on_a_card_is_found(a_small_source, a_small_volume, a_small_phantom, tmp_path, precision):
    trainer = a_trainer(a_small_source, tmp_path, precision=precision, validation_cases=1, validate_every=100)
    assert trainer.fabric.device.type == "cuda"
    trainer.train()
    labels = {name: a_small_phantom.labels == label for label, name in a_small_phantom.names.items()}
    for model in (trainer.model(), load_model(tmp_path / "best")):
        found = masks_of(model, a_small_volume)
        for name in ("liver", "spleen"):
            assert dice(found[name], labels[name]) > 0.4, name


def test_a_training_that_was_stopped_goes_on_from_its_checkpoint(a_small_source, tmp_path):
    """A card adds in any order, so the two ends are near each other and not the same."""
    settings = {"iterations": 12, "warmup": 2, "average": 0.5}
    whole = a_trainer(a_small_source, tmp_path / "whole", **settings)
    whole.train()
    with pytest.raises(Cancelled):
        a_trainer(a_small_source, tmp_path / "parts", **settings).train(lambda done, *_: done < 6)
    assert read_record(tmp_path / "parts" / CHECKPOINT)["step"] == 6
    parts = a_trainer(a_small_source, tmp_path / "parts", **settings)
    assert parts.step == 6
    parts.train()
    for one, other in zip(whole.state.network.parameters(), parts.state.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0.1, atol=0.02)


def test_an_update_on_a_card_learns_and_leaves_its_teacher_as_it_was(a_model, a_new_source, tmp_path):
    before = {name: tensor.clone() for name, tensor in a_model.network.state_dict().items()}
    lists = read_case_lists([a_new_source])
    plan = plan_update(a_model, lists, UpdateSettings.model_validate(UPDATE_SETTINGS), version="2", parent="1")
    trainer = Trainer(plan, tmp_path, device="cuda")
    trainer.train()
    teacher = trainer.lesson.teacher
    assert next(teacher.parameters()).is_cuda
    for name, tensor in teacher.state_dict().items():
        torch.testing.assert_close(tensor.cpu(), before[name].cpu(), rtol=0, atol=0)
    assert NEW_STRUCTURE in trainer.model().manifest.structures


def test_a_worker_segments_on_a_card(a_model_folder, a_segmenter, a_small_volume):
    request = {
        "key": "a",
        "model": str(a_model_folder),
        "affine": a_small_volume.affine.tolist(),
        "modality": a_small_volume.modality,
    }
    with WorkerClient([*COMMAND, "--device", "cuda"]) as worker:
        worker.ask("encode", request, {"image": a_small_volume.array})
        found = worker.ask("similarity", {"key": "a", "structure": "liver"}).arrays["map"]
    wanted = a_segmenter.encode(a_small_volume).similarity("liver")
    assert np.abs(found.astype(np.float32) - wanted).mean() < 0.02
