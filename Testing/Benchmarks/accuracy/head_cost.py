"""What a class costs: parameters, time and peak memory of each method's head for 2 to 104 structures.

    python -m Testing.Benchmarks.accuracy.head_cost HEAD STRUCTURES

measures one head in a process of its own and prints JSON. The backbone's features are given; what is measured is the
way from them to a label for every voxel. Ratios count: all are measured in one run.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from CFSegmenterLib.network import FoldedCosine
from CFSegmenterLib.precision import keep_freed_memory
from Testing.Benchmarks.measure import in_subprocess, peak_memory, timed

from .methods import clip_driven, dodnet
from .methods.rival import dynamic_head, parameters_of

HEADS = ("ours", "softmax", "dodnet", "clip-driven")
STRUCTURES = (2, 16, 32, 104)
SHAPE = (64, 64, 64)
C, D, DEEPEST = 32, 512, 96
BLOCK = 1 << 13
"""Voxels that our head compares and decides at a time, as the library's does: maps of all classes never exist."""


def measure_heads(structures: tuple[int, ...] = STRUCTURES, shape: tuple[int, ...] = SHAPE) -> dict[str, Any]:
    """Every head at every number of structures, each in a process of its own."""
    rows = [
        in_subprocess("accuracy.head_cost", head, str(count), *map(str, shape))
        for head in HEADS
        for count in structures
    ]
    return {"format": 1, "scenario": "head-cost", "method": "all", "seed": 0, "shape": list(shape), "rows": rows}


def measure(head: str, structures: int, shape: tuple[int, ...]) -> dict[str, Any]:
    """One head on random features."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    features = torch.randn(1, C, *shape)
    answer, parameters = BUILDERS[head](structures)
    with torch.inference_mode():
        answer(features[:, :, :8, :8, :8])  # what is set up once must not count as the head's
        before = peak_memory()
        time = timed(lambda: answer(features), repeats=1)
        memory = peak_memory() - before
        if head == "ours":
            time = timed(lambda: answer(features), repeats=5)
    return {
        "head": head,
        "structures": structures,
        "parameters": parameters,
        "cpu_seconds": time.cpu,
        "bytes": memory,
    }


def _ours(structures: int) -> tuple[Callable[[Tensor], Tensor], int]:
    """The folded cosine, block by block; its projection does not grow, and a structure's prototype is not trained."""
    prototypes = torch.linalg.qr(torch.randn(D, structures + 1))[0].T
    projection = torch.randn(D, C)

    def answer(features: Tensor) -> Tensor:
        cosine = FoldedCosine(projection)
        queries = cosine.queries(prototypes).T
        voxels = features[0].flatten(1).T
        labels = torch.empty(len(voxels), dtype=torch.int16)
        for first in range(0, len(voxels), BLOCK):
            part = slice(first, first + BLOCK)
            labels[part] = (cosine.unit(voxels[part]) @ queries).max(dim=1).indices.to(torch.int16)
        return labels

    return answer, projection.numel()


def _softmax(structures: int) -> tuple[Callable[[Tensor], Tensor], int]:
    head = nn.Conv3d(C, structures + 1, 1)
    return lambda features: head(features).softmax(dim=1).argmax(dim=1), _count(head)


def _dodnet(structures: int) -> tuple[Callable[[Tensor], Tensor], int]:
    reduce = nn.Sequential(nn.GroupNorm(8, C), nn.ReLU(), nn.Conv3d(C, 8, 1))
    controller = nn.Linear(DEEPEST + structures, parameters_of(dodnet.WIDTHS))
    pooled, codes = torch.randn(DEEPEST), torch.eye(structures)

    def answer(features: Tensor) -> Tensor:
        """A pass a task, as published: a task's answer is taken before the next one's head is made."""
        small = reduce(features)[0].flatten(1).T
        best = torch.full((len(small),), 0.5)
        labels = torch.zeros(len(small), dtype=torch.int16)
        for task in range(structures):
            head = controller(torch.cat([pooled, codes[task]])[None])
            found = dynamic_head(small, head, dodnet.WIDTHS)[0].softmax(dim=1)[:, 1]
            won = found > best
            best = torch.where(won, found, best)
            labels[won] = task + 1
        return labels

    return answer, _count(reduce, controller)


def _clip_driven(structures: int) -> tuple[Callable[[Tensor], Tensor], int]:
    """All heads as one grouped convolution over the repeated features, as published."""
    middle = clip_driven.MIDDLE
    reduce = nn.Sequential(nn.GroupNorm(8, C), nn.ReLU(), nn.Conv3d(C, 8, 1))
    to_middle, text_to_middle = nn.Linear(DEEPEST, middle), nn.Linear(D, middle)
    controller = nn.Linear(2 * middle, parameters_of(clip_driven.WIDTHS))
    pooled, texts = torch.randn(DEEPEST), torch.randn(structures, D)

    def answer(features: Tensor) -> Tensor:
        small = reduce(features)
        codes = torch.cat([to_middle(pooled).expand(structures, -1), text_to_middle(texts).relu()], dim=1)
        heads = controller(codes)
        out = small.repeat(1, structures, 1, 1, 1)
        weights, biases = heads[:, :136], heads[:, 136:]
        for layer, (begin, width) in enumerate(((0, 8), (64, 8), (128, 1))):
            weight = weights[:, begin : begin + 8 * width].reshape(structures * width, 8, 1, 1, 1)
            bias = biases[:, 8 * layer : 8 * layer + width].reshape(-1)
            out = nn.functional.conv3d(out, weight, bias, groups=structures)
            if layer < 2:
                out = out.relu()
        answers = out.sigmoid()
        best = answers.max(dim=1)
        return torch.where(best.values > 0.5, best.indices + 1, 0)

    return answer, _count(reduce, to_middle, text_to_middle, controller)


BUILDERS = {"ours": _ours, "softmax": _softmax, "dodnet": _dodnet, "clip-driven": _clip_driven}


def _count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


if __name__ == "__main__":
    keep_freed_memory()
    named, count, *sides = sys.argv[1:]
    print(json.dumps(measure(named, int(count), tuple(map(int, sides)) or SHAPE)))
