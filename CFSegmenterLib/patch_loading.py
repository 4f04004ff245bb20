"""Loading patches: cases prepared by all processes of a training, and patches cut from them while it computes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch.utils.data import DataLoader

from .cases import Case
from .patches import PatchSequence
from .planning import TrainingPlan
from .prepared import CaseCache
from .processes import all_or_none, spare_cores, spare_memory
from .progress import Progress, silent
from .structures import Vocabulary
from .torchrun import are_several

if TYPE_CHECKING:
    from lightning_fabric import Fabric

BYTES_A_MAKER = 2_500_000_000
"""Memory that a process which makes patches may need beside a graphics card: where it is not forked, it loads torch."""


def prepared_patches(
    plan: TrainingPlan,
    cases: Sequence[Case],
    cache: Path,
    fabric: Fabric,
    vocabulary: Vocabulary,
    progress: Progress = silent,
) -> PatchSequence:
    """The patches of a training, once every case of it lies prepared in `cache`.

    Args:
        progress: of the first process.

    Raises:
        UserError: a case cannot be used, by any of the processes.
        Cancelled: as `progress` asked.
    """
    protocols = [plan.protocol_of(case) for case in cases]
    prepared = CaseCache(cache, plan.bank.names, vocabulary)
    progress = progress if fabric.is_global_zero else silent
    # Each process prepares its share; then it finds the others' ready, unless they were written on another machine.
    mine = slice(fabric.global_rank, None, fabric.world_size)
    with all_or_none(fabric):
        prepared.prepare(cases[mine], protocols[mine], progress, spare_cores(), spare_memory())
    with all_or_none(fabric):
        found = prepared.prepare(cases, protocols, progress, spare_cores(), spare_memory())
    return PatchSequence(cases, found, protocols, plan.bank.names, plan.settings, vocabulary)


def patch_loader(patches: PatchSequence, fabric: Fabric, step: int, iterations: int) -> DataLoader:
    """This process's patches of steps `step` to `iterations`, made ahead in other processes."""
    whole, world = patches.per_step, fabric.world_size
    # On a processor the network needs every core; a graphics card would wait for a single maker of patches.
    most = min(spare_cores(), spare_memory() // BYTES_A_MAKER) if fabric.device.type == "cuda" else 1
    makers = max(1, most)
    return DataLoader(
        patches,
        sampler=range(step * whole + fabric.global_rank, iterations * whole, world),
        batch_size=None,
        num_workers=makers,
        prefetch_factor=max(2, (2 * whole // world + 2) // makers),
        worker_init_fn=_be_a_maker,
    )


def _be_a_maker(worker: int) -> None:
    """Make patches until the training lets go.

    A patch is small; threads would only take the cores from the network. Who asks a training of several processes to
    end, asks everybody that they started, which would take away the patches of the step that they see through together.
    What goes wrong here is raised in the training; nobody needs to hear that a training went while it was handed one.
    """
    torch.set_num_threads(1)
    sys.excepthook = lambda *what: None
    if are_several() and hasattr(os, "setpgrp"):
        os.setpgrp()
