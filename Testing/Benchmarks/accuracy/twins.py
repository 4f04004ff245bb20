"""Twins: what left and right kidney look like to raw and to orthogonalised CLIP prototypes, on drawn abdomens.

Real scans are not to be shown, so this one cell is trained on abdomens that the project draws, and its picture shows
one that no training saw.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from CFSegmenterLib.abdomen import draw_abdomen
from CFSegmenterLib.phantom_source import write_phantom_source
from CFSegmenterLib.planning import plan_training
from CFSegmenterLib.segmenter import Segmenter
from CFSegmenterLib.volume import Volume

from .bench import Bench
from .methods import ALL
from .plots import maps
from .scenarios import Scenario, Step
from .scoring import mean_dice, score
from .sources import read_source
from .trainer import ComparedTrainer

SOURCE = "phantom_abdomen"
METHODS = ("raw-0.1", "raw-0.01", "text", "ours")
TWINS = ("right kidney", "left kidney")
TRAINING, VALIDATION, UNSEEN = 8, 2, 500


def run_twins(bench: Bench, picture: Path) -> dict[str, Any]:
    """Train each kind of prototype on the same drawn abdomens, and draw the similarity maps of the two kidneys.

    Returns:
        Of each method its Dice, and the mean similarity of a kidney's voxels with its own prototype and its twin's.

    Raises:
        Cancelled: as the bench's progress asked; the same call goes on from there.
    """
    data = bench.out / "drawn"
    if not (data / SOURCE / "dataset.json").exists():
        write_phantom_source(data / SOURCE, TRAINING, VALIDATION, seed=0)
    scenario = Scenario("twins", (Step("drawn abdomen", (read_source(data, SOURCE),)),))
    phantom = draw_abdomen(UNSEEN)
    volume = Volume.checked(phantom.image, phantom.affine, "mr-t2")
    masks = {name: phantom.labels == value for value, name in phantom.names.items() if name in TWINS}
    rows, found = {}, {}
    for name in METHODS:
        model = _trained(bench, scenario, name).model()
        encoding = Segmenter(model).encode(volume, progress=bench.progress)
        own = {twin: encoding.similarity(twin) for twin in TWINS}
        rows[name] = {
            "dice": mean_dice(score(model, bench.size.asked(scenario), bench.progress), scenario.steps[0].tasks),
            "own": round(float(np.mean([own[twin][masks[twin]].mean() for twin in TWINS])), 3),
            "twin": round(float(np.mean([own[t][masks[o]].mean() for t, o in (TWINS, TWINS[::-1])])), 3),
        }
        found[ALL[name].title if name != "ours" else "random code"] = own
    height = int(np.argmax(np.minimum(*(mask.sum(axis=(0, 1)) for mask in masks.values()))))
    maps(
        picture,
        phantom.image[:, :, height].T,
        {twin: masks[twin][:, :, height].T for twin in TWINS},
        {title: {twin: own[twin][:, :, height].T for twin in TWINS} for title, own in found.items()},
        "drawn abdomen",
    )
    return {"format": 1, "scenario": "twins", "method": "all", "seed": 0, "size": bench.size.name, "rows": rows}


def _trained(bench: Bench, scenario: Scenario, name: str) -> ComparedTrainer:
    method = ALL[name]
    settings = bench.size.training(scenario.name, scenario.lists, 0)
    plan = method.plan(plan_training(scenario.lists, method.settings(settings), name="benchmark"), bench.texts)
    folder = bench.out / bench.size.name / "twins" / name
    trainer = ComparedTrainer(plan, folder, method, bench.texts, bench.out / "cache", bench.progress)
    trainer.train(bench.progress)
    return trainer
