"""Processes of a training: this one alone, or those that torchrun started."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta

import torch

PATIENCE = timedelta(days=1)
"""How long processes wait for each other: only the first validates, and cases are not all as large."""

MOST_HELPERS = 8
"""Processes that prepare cases or patches for one that trains; each may hold a whole scan in memory."""


def is_first_process() -> bool:
    """Whether this is the only process, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def spare_cores() -> int:
    """Cores that a process of the training may give to helpers: its share of the machine's, but for one."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(MOST_HELPERS, here // _on_this_machine() - 1))


def launch(device: torch.device, precision: str):
    """Lightning Fabric, on the processes that torchrun started, or on this one alone."""
    from lightning_fabric import Fabric
    from lightning_fabric.strategies import DDPStrategy

    world, local = int(os.environ.get("WORLD_SIZE", "1")), _on_this_machine()
    fabric = Fabric(
        accelerator="cuda" if device.type == "cuda" else "cpu",
        devices=local,
        num_nodes=world // local,
        strategy=DDPStrategy(timeout=PATIENCE) if world > 1 else "auto",
        precision=precision,
    )
    fabric.launch()
    return fabric


def _on_this_machine() -> int:
    """Processes that torchrun started here."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Hold back Ctrl-C until a step is whole: weights, optimizer and log must be of the same step in the checkpoint."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    pressed = []
    before = signal.signal(signal.SIGINT, lambda *_: pressed.append(True))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pressed:
        raise KeyboardInterrupt
