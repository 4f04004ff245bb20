"""What does a training step cost? Ours against the usual heads and settings, in one run.

    python -m Testing.Benchmarks.bench_training_step
    python -m Testing.Benchmarks.bench_training_step --device cuda

`ours` is `Trainer.take_step` as it is used: backbone, folded cosine, focal, Dice and entropy for a source that
annotates half of the structures, clipping, optimizer, running average. `softmax` is the same backbone in the same
precision and memory layout with a 1x1x1 convolution to the classes and MONAI's DiceCELoss. `float32` is MONAI's DynUNet
as it comes, in float32 and with none of our settings. Each configuration runs in a process of its own.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import nn

from CFSegmenterLib.cases import read_case_lists
from CFSegmenterLib.patches import Patch
from CFSegmenterLib.planning import plan_training
from CFSegmenterLib.precision import autocast, choose_precision, keep_freed_memory, layout
from CFSegmenterLib.settings import BackboneSettings, SourceSettings, TrainingSettings
from CFSegmenterLib.training import Trainer
from Testing.Benchmarks.bench_encoding import FEW, MANY, Scene, SoftmaxNetwork, a_model
from Testing.Benchmarks.measure import (
    RESULTS,
    clock,
    environment,
    in_subprocess,
    markdown_table,
    peak_memory,
    timed,
    write_json,
    write_table,
)

PRESENT = 12
"""Structures that a patch shows at most: about what 64 voxels of 2 mm hold of a whole body's."""

REPEATS, WARMUP = 7, 2


def write_source(folder: Path, scene: Scene) -> Path:
    """Write a case of noise with a layer of voxels for each structure that is shown; returns the case list.

    The case annotates the first half of the structures. They lie in another one, too, which annotates the other half
    and is there only so that these are taught as well.
    """
    import nibabel

    folder.mkdir(parents=True, exist_ok=True)
    annotated = scene.names[: max(1, scene.structures // 2)]
    shown = min(PRESENT, len(annotated))
    image = np.random.default_rng(0).normal(100, 30, scene.patch).astype(np.float32)
    rows = np.arange(scene.patch[0]) * (shown + 1) // scene.patch[0]
    labels = np.broadcast_to(rows[:, None, None], scene.patch).astype(np.uint8)
    for name, array in (("image", image), ("label", labels)):
        nifti = nibabel.Nifti1Image(array, np.eye(4))
        nifti.header.set_xyzt_units("mm")
        nibabel.save(nifti, folder / f"{name}.nii.gz")
    files = {"image": "image.nii.gz", "label": "label.nii.gz"}
    halves = (annotated, scene.names[len(annotated) :])
    said = {
        "name": "bench",
        "modality": "mr",
        "labels": {str(value): name for value, name in enumerate(scene.names, start=1)},
        "training": [
            {**files, "subject": str(number), "annotated": list(half)} for number, half in enumerate(halves) if half
        ],
    }
    (folder / "dataset.json").write_text(json.dumps(said), encoding="utf-8")
    return folder / "dataset.json"


def a_trainer(folder: Path, scene: Scene) -> Trainer:
    """A trainer on that source, with the shipped model's network."""
    settings = TrainingSettings(
        sources={"bench": SourceSettings(spacing=(1, 1, 1), patch=scene.patch)},
        backbone=BackboneSettings(features=scene.features, options={"filters": list(scene.filters)}),
        dimension=scene.dimension,
        patches_per_step=1,
        validation_cases=0,
    )
    plan = plan_training(read_case_lists([write_source(folder / "source", scene)]), settings)
    return Trainer(plan, folder / "training", device=scene.device)


def our_step(trainer: Trainer, patch: Patch) -> Callable[[], Any]:
    """A step as the trainer takes it."""
    return lambda: trainer.take_step([patch])


def the_patch(trainer: Trainer) -> Patch:
    """One of the case whose structures are shown."""
    patches = (trainer.patches[number] for number in itertools.count())
    return next(patch for patch in patches if patch.case == 0)


def softmax_step(scene: Scene, patch: Patch) -> Callable[[], Any]:
    """The same backbone, precision and memory settings, with a softmax head."""
    keep_freed_memory()
    device = torch.device(scene.device)
    network = SoftmaxNetwork(a_model(scene), scene.structures).train().to(memory_format=layout(device))
    return _usual_step(network, patch, choose_precision(device), device)


def float32_step(scene: Scene, patch: Patch) -> Callable[[], Any]:
    """MONAI's DynUNet of the same widths, in float32, with its own normalization, and none of our settings."""
    from monai.networks.nets import DynUNet

    levels = len(scene.filters)
    network = DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=scene.structures + 1,
        kernel_size=[3] * levels,
        strides=[1] + [2] * (levels - 1),
        upsample_kernel_size=[2] * (levels - 1),
        filters=list(scene.filters),
    )
    return _usual_step(network, patch, "32-true", torch.device(scene.device))


def _usual_step(network: nn.Module, patch: Patch, precision: str, device: torch.device) -> Callable[[], Any]:
    from monai.losses import DiceCELoss

    network = network.to(device)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

    def step() -> None:
        image, labels = patch.image[None].to(device), patch.labels[None, None].to(device)
        with autocast(device, precision):
            logits = network(image)
        loss(logits.float(), labels).backward()
        nn.utils.clip_grad_norm_(network.parameters(), 12.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


STEPS = ("ours", "softmax", "float32")


def measure(kind: str, scene: Scene, repeats: int = REPEATS, warmup: int = WARMUP) -> dict[str, Any]:
    """Median time of a step of one kind, in seconds, and the process's peak memory, in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        if kind == "ours":
            trainer = a_trainer(Path(folder), scene)
            step = our_step(trainer, the_patch(trainer))
        else:
            step = {"softmax": softmax_step, "float32": float32_step}[kind](scene, a_patch(scene))
        loaded = peak_memory(scene.device)
        time = timed(step, repeats, warmup)
    memory = {"loaded": loaded, "all": peak_memory(scene.device)}
    return {"step": time, "memory": memory, "environment": environment(scene.device)}


def a_patch(scene: Scene) -> Patch:
    """Noise, with as many structures as the patches of the source show."""
    shown = min(PRESENT, max(1, scene.structures // 2))
    rows = torch.arange(scene.patch[0]) * (shown + 1) // scene.patch[0]
    return Patch(torch.randn(1, *scene.patch), rows[:, None, None].expand(scene.patch).contiguous(), 0)


def compare(measured: dict[str, dict[int, dict[str, Any]]], device: str = "cpu") -> str:
    """Markdown, in ratios; `measured` is by kind and number of structures."""
    counts = list(measured["ours"])
    timing = "time" if device == "cuda" else "CPU time"

    def ratios(kind: str, read: Callable[[dict[str, Any]], float]) -> list[str]:
        return [f"{read(measured[kind][count]) / read(measured['ours'][count]):.2f}" for count in counts]

    def spent(said: dict[str, Any]) -> float:
        return said["step"][clock(device)]

    def peak(said: dict[str, Any]) -> float:
        return said["memory"]["all"]

    first = measured["ours"][counts[0]]
    rows = [
        [f"{timing} of a step, softmax head / ours", *ratios("softmax", spent)],
        [f"{timing} of a step, MONAI DynUNet in float32 / ours", *ratios("float32", spent)],
        ["peak memory, softmax head / ours", *ratios("softmax", peak)],
        ["peak memory, MONAI DynUNet in float32 / ours", *ratios("float32", peak)],
        [
            f"{timing} of our step, of that for the fewest",
            *(f"{spent(measured['ours'][c]) / spent(first):.2f}" for c in counts),
        ],
    ]
    return markdown_table(["", *(f"{count} structures" for count in counts)], rows)


def main(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
    threads: Annotated[int, typer.Option(help="0 leaves it to torch.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    only: Annotated[str, typer.Option(hidden=True)] = "",
    scene: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure a step of each kind for few and many structures.

    Writes training_step.json and training_step.md, of a card training_step-cuda.json and .md.
    """
    if only:
        said = Scene.from_json(scene)
        if said.threads:
            torch.set_num_threads(said.threads)
        typer.echo(json.dumps(measure(only, said), default=asdict))
        return
    whole = Scene(threads=threads, device=device)
    measured = {
        kind: {
            count: in_subprocess(
                "bench_training_step", "--only", kind, "--scene", replace(whole, structures=count).to_json()
            )
            for count in (FEW, MANY)
        }
        for kind in STEPS
    }
    where = measured["ours"][MANY]["environment"]
    name = "training_step" if device == "cpu" else f"training_step-{device}"
    write_json(out / f"{name}.json", {"scene": asdict(whole), "environment": where, "measured": measured})
    table = compare(measured, device)
    write_table(out / f"{name}.md", table, where)
    typer.echo(table)


if __name__ == "__main__":
    typer.run(main)
