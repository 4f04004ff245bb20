"""Encode once, ask often: time and memory against MONAI's sliding window over logits, in one run.

    python -m Testing.Benchmarks.bench_encoding
    python -m Testing.Benchmarks.bench_encoding --device cuda

The peer is the same backbone with a 1x1x1 convolution to the classes, passed over the same volume by
`monai.inferers.sliding_window_inference` with the same windows, weights and precision. Each of the four configurations
(ours and the peer, 2 and 104 structures) runs in a process of its own, so that its peak memory is its own.
Weights are untrained: speed and memory do not depend on them. On a graphics card the peer is given four windows at
once, its time is the clock's, and its memory is the card's.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer

from CFSegmenterLib.intensity import CT_WINDOW
from CFSegmenterLib.model import Manifest, Model, build_network, save_model
from CFSegmenterLib.precision import autocast, choose_precision, keep_freed_memory, layout
from CFSegmenterLib.protocols import Protocol
from CFSegmenterLib.prototypes import PrototypeBank
from CFSegmenterLib.segmenter import Segmenter
from CFSegmenterLib.settings import BackboneSettings
from CFSegmenterLib.volume import Volume
from CFSegmenterLib.windows import OVERLAP, window_starts
from Testing.Benchmarks.measure import (
    RESULTS,
    Timing,
    clock,
    environment,
    in_subprocess,
    markdown_table,
    peak_memory,
    timed,
    write_json,
    write_table,
)

FEW, MANY = 2, 104
WANTED_SPEEDUP, WANTED_MEMORY = 50, 1.05
REPEATS = {"cpu": (1, 0), "cuda": (3, 1)}
"""Of encoding, and before them those that do not count: a card finds its fastest kernels in a first pass."""


@dataclass(frozen=True)
class Scene:
    """What is encoded, and with which network; the defaults are the shipped model's.

    Attributes:
        shape: of the volume, whose grid is the model's.
        patch: voxels of a window.
        features, filters, dimension: of the network.
        structures: K, without the background.
        threads: 0 leaves the choice to torch.
        device: "cpu" or "cuda".
    """

    shape: tuple[int, int, int] = (256, 256, 192)
    patch: tuple[int, int, int] = (64, 64, 64)
    features: int = 32
    filters: tuple[int, ...] = (32, 48, 96, 128, 160)
    dimension: int = 512
    structures: int = MANY
    threads: int = 0
    device: str = "cpu"

    @property
    def names(self) -> tuple[str, ...]:
        """Of the structures; none is part of another."""
        return tuple(f"structure {number}" for number in range(1, self.structures + 1))

    @property
    def windows(self) -> int:
        """How many windows lie over the volume."""
        return int(np.prod([len(window_starts(n, p, OVERLAP)) for n, p in zip(self.shape, self.patch, strict=True)]))

    def to_json(self) -> str:
        """For a process of its own."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, said: str) -> Scene:
        """The inverse of `to_json`."""
        return cls(**{key: tuple(v) if isinstance(v, list) else v for key, v in json.loads(said).items()})


def a_volume(scene: Scene) -> Volume:
    """Noise in Hounsfield units at 1 mm."""
    voxels = np.random.default_rng(0).integers(-200, 400, scene.shape, dtype=np.int16)
    return Volume.checked(voxels, np.eye(4), "ct")


def a_model(scene: Scene) -> Model:
    """A model with fresh weights."""
    torch.manual_seed(0)
    bank = PrototypeBank.start(scene.dimension)
    for name in scene.names:
        bank = bank.append(name)
    protocol = Protocol(
        name="bench",
        modality="ct",
        spacing=(1, 1, 1),
        patch=scene.patch,
        intensity=CT_WINDOW,
        typical_spacing=(1, 1, 1),
        typical_extent=scene.shape,
    )
    manifest = Manifest(
        name="bench",
        version="1",
        created="-",
        licence="none",
        prototypes=tuple(bank.to_dict()["entries"]),
        prototype_seed=bank.seed,
        backbone=BackboneSettings(features=scene.features, options={"filters": list(scene.filters)}),
        dimension=scene.dimension,
        temperature=0.1,
        protocols=(protocol,),
    )
    network = build_network(manifest)
    network.aim_at(torch.from_numpy(bank.as_float32()))
    return Model(network.eval(), bank, manifest)


def measure_ours(scene: Scene) -> dict[str, Any]:
    """Encode once and ask; times in seconds, memory in bytes."""
    with tempfile.TemporaryDirectory() as folder:
        save_model(a_model(scene), Path(folder) / "model", "")
        segmenter = Segmenter.load(Path(folder) / "model", device=scene.device)
    volume = a_volume(scene)
    kept = {}

    def encode() -> None:
        kept["encoding"] = segmenter.encode(volume)

    loaded = peak_memory(scene.device)
    times = {"encode": timed(encode, *REPEATS[scene.device])}
    encoding, (first, *_, last) = kept["encoding"], scene.names
    center = np.array(scene.shape) / 2
    after_encode = peak_memory(scene.device)
    times["map"] = timed(lambda: encoding.similarity(last), 5)
    times["first decision"] = timed(lambda: encoding.segment([first]), 1)
    times["mask"] = timed(lambda: encoding.segment([last]).mask(last), 5)
    one_map_one_mask = peak_memory(scene.device)
    times["all masks"] = timed(encoding.segment, 3)
    times["probe"] = timed(lambda: [encoding.probe(center) for _ in range(100)], 5)
    times["probe"] = Timing(times["probe"].wall / 100, times["probe"].cpu / 100)
    return {
        "times": times,
        "memory": {
            "loaded": loaded,
            "encode": after_encode,
            "encode, map and mask": one_map_one_mask,
            "all": peak_memory(scene.device),
        },
        "precision": segmenter.precision,
        "windows": scene.windows,
        "environment": environment(scene.device),
    }


def measure_peer(scene: Scene) -> dict[str, Any]:
    """The same with a softmax head: logits of all classes for the whole volume, then the arg max."""
    from monai.inferers import sliding_window_inference

    keep_freed_memory()
    device = torch.device(scene.device)
    precision = choose_precision(device)
    network = SoftmaxNetwork(a_model(scene), scene.structures).eval().to(device, memory_format=layout(device))
    volume = a_volume(scene)
    image = torch.from_numpy(CT_WINDOW.apply(volume.array))[None, None]
    at_once = 4 if scene.device == "cuda" else 1
    kept = {}

    def encode() -> None:
        with torch.inference_mode(), autocast(device, precision):
            kept["logits"] = sliding_window_inference(
                image.to(device), scene.patch, at_once, network, overlap=OVERLAP, mode="gaussian", sigma_scale=0.125
            )

    def decide() -> None:
        kept["labels"] = kept["logits"].argmax(dim=1).cpu()

    loaded = peak_memory(scene.device)
    times = {"encode": timed(encode, *REPEATS[scene.device]), "first decision": timed(decide, 1)}
    return {"times": times, "memory": {"loaded": loaded, "all": peak_memory(scene.device)}, "precision": precision}


class SoftmaxNetwork(torch.nn.Module):
    """The usual way: the backbone of a model, and a 1x1x1 convolution to K + 1 classes."""

    def __init__(self, model: Model, structures: int):
        super().__init__()
        self.backbone = model.network.backbone
        self.head = torch.nn.Conv3d(model.network.features, structures + 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """(B, 1, X, Y, Z) -> (B, K + 1, X, Y, Z) logits."""
        return self.head(self.backbone(image.contiguous(memory_format=layout(image.device))))


def compare(
    few: dict[str, Any],
    many: dict[str, Any],
    peer_few: dict[str, Any],
    peer_many: dict[str, Any],
    device: str = "cpu",
) -> str:
    """Markdown, in ratios: each cell's two numbers come from one run on one machine."""
    pairs = [(few, peer_few), (many, peer_many)]
    timing = "time" if device == "cuda" else "CPU time"

    def spent(said: dict[str, Any], *what: str) -> float:
        return sum(said["times"][each][clock(device)] for each in what)

    def faster(what: str) -> list[str]:
        return [f"{spent(ours, 'encode') / max(1e-9, spent(ours, what)):,.0f}" for ours, _ in pairs]

    def memory(said: dict[str, Any], what: str) -> float:
        return said["memory"][what]

    encodes = [f"{spent(peer, 'encode') / spent(ours, 'encode'):.2f}" for ours, peer in pairs]
    decided = ("encode", "first decision")
    labels = [f"{spent(peer, *decided) / spent(ours, *decided):.2f}" for ours, peer in pairs]
    shares = [f"{memory(peer, 'all') / memory(ours, 'all'):.2f}" for ours, peer in pairs]
    megabytes = [f"{memory(ours, 'all') / 2**20:,.0f} / {memory(peer, 'all') / 2**20:,.0f}" for ours, peer in pairs]
    growth = memory(many, "encode, map and mask") / memory(few, "encode, map and mask")
    rows = [
        [f"encoding, the peer's {timing} / ours", *encodes],
        [f"all structures decided, the peer's {timing} / ours", *labels],
        ["similarity map of a further structure, times faster than encoding", *faster("map")],
        ["mask of a further structure, times faster than encoding", *faster("mask")],
        ["first decision (of all structures at once), times faster than encoding", *faster("first decision")],
        ["probe of a point, times faster than encoding", *faster("probe")],
        ["peak memory, the peer's / ours", *shares],
        ["peak memory, ours / the peer's, MB", *megabytes],
        ["peak memory of encoding, a map and a mask, of that for 2 structures", "1.000", f"{growth:.3f}"],
        [
            "peak memory of the peer, of that for 2 structures",
            "1.00",
            f"{memory(peer_many, 'all') / memory(peer_few, 'all'):.2f}",
        ],
    ]
    return markdown_table(["", f"{FEW} structures", f"{MANY} structures"], rows)


def verdicts(few: dict[str, Any], many: dict[str, Any]) -> dict[str, bool]:
    """Whether what was promised was met in this run."""
    encode = many["times"]["encode"]["cpu"]
    asked = max(many["times"]["map"]["cpu"], many["times"]["mask"]["cpu"])
    growth = many["memory"]["encode, map and mask"] / few["memory"]["encode, map and mask"]
    return {
        f"a further structure is at least {WANTED_SPEEDUP} times faster than encoding": encode / asked
        >= WANTED_SPEEDUP,
        f"peak memory for {MANY} structures is within 5 % of that for {FEW}": growth <= WANTED_MEMORY,
    }


MEASURES = {"ours": measure_ours, "peer": measure_peer}


def main(
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = RESULTS,
    threads: Annotated[int, typer.Option(help="0 leaves it to torch.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    only: Annotated[str, typer.Option(hidden=True)] = "",
    scene: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Measure all four configurations and write encoding.json and encoding.md, of a card encoding-cuda."""
    if only:
        said = Scene.from_json(scene)
        if said.threads:
            torch.set_num_threads(said.threads)
        typer.echo(json.dumps(MEASURES[only](said), default=asdict))
        return
    whole = Scene(threads=threads, device=device)
    measured = {
        f"{kind}, {count} structures": in_subprocess(
            "bench_encoding", "--only", kind, "--scene", replace(whole, structures=count).to_json()
        )
        for count in (FEW, MANY)
        for kind in MEASURES
    }
    few, peer_few, many, peer_many = measured.values()
    met = verdicts(few, many)
    where = many["environment"]
    name = "encoding" if device == "cpu" else f"encoding-{device}"
    write_json(out / f"{name}.json", {"scene": asdict(whole), "environment": where, "met": met, "measured": measured})
    table = compare(few, many, peer_few, peer_many, device)
    write_table(out / f"{name}.md", table, where)
    typer.echo(table)
    if device != "cpu":  # what is asked of an encoding is answered by the processor
        return
    for promise, kept in met.items():
        typer.echo(f"{'met' if kept else 'NOT MET'}: {promise}")
    raise typer.Exit(0 if all(met.values()) else 1)


if __name__ == "__main__":
    typer.run(main)
