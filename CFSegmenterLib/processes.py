"""Processes of a training: this one alone, or those that torchrun started."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import psutil
import torch

from .errors import Cancelled
from .progress import Progress
from .torchrun import are_several, count_here, world_size

if TYPE_CHECKING:
    from lightning_fabric import Fabric

PATIENCE = timedelta(days=1)
"""How long processes wait for each other: only the first validates, and cases are not all as large."""

MOST_HELPERS = 8
"""Processes that prepare cases or patches for one that trains; each may hold a whole scan in memory."""


def spare_cores() -> int:
    """Cores that a process of the training may give to helpers: its share of the machine's, but for one."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(0, min(MOST_HELPERS, here // count_here() - 1))


def spare_memory() -> int:
    """Bytes that a process of the training may give to helpers: its share of what is free on this machine."""
    return psutil.virtual_memory().available // count_here()


def launch(device: torch.device, precision: str) -> Fabric:
    """Lightning Fabric, on the processes that torchrun started, or on this one alone."""
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments import LightningEnvironment
    from lightning_fabric.strategies import DDPStrategy

    # It tells which precision it was given, and how to get a lower one.
    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)
    world, local = world_size(), count_here()
    # Where torchrun did not start us, Fabric would believe a scheduler's variables that are not meant for it.
    alone = "WORLD_SIZE" not in os.environ
    fabric = Fabric(
        accelerator="cuda" if device.type == "cuda" else "cpu",
        devices=local,
        num_nodes=world // local,
        strategy=DDPStrategy(timeout=PATIENCE) if world > 1 else "auto",
        precision=precision,
        plugins=[LightningEnvironment()] if alone else None,
    )
    fabric.launch()
    return fabric


def agreed(fabric: Fabric, seconds: float, ending: bool) -> tuple[float, bool]:
    """The time as the first process has it, and whether any process is to end: all must do so at the same step.

    A process that went by itself would leave the others waiting for its gradient, on graphics cards where no signal
    reaches them.
    """
    if fabric.world_size == 1:
        return seconds, ending
    said = [seconds if fabric.is_global_zero else 0.0, float(ending)]
    of_all = fabric.all_reduce(torch.tensor(said, dtype=torch.float64, device=fabric.device), reduce_op="sum").tolist()
    return of_all[0], of_all[1] > 0


@contextlib.contextmanager
def all_or_none(fabric: Fabric) -> Iterator[None]:
    """Let no process go on, and wait for the others, where one of them could not do what is done within.

    Raises:
        Cancelled: another process could not.
    """
    try:
        yield
    except BaseException:
        with contextlib.suppress(RuntimeError):  # the others may be lost
            agreed(fabric, 0.0, ending=True)
        raise
    if agreed(fabric, 0.0, ending=False)[1]:
        raise Cancelled("another process could not go on")


@contextlib.contextmanager
def interrupts_noted() -> Iterator[list[int]]:
    """Hold back Ctrl-C for good where there are several processes; the list says whether it came."""
    came: list[int] = []
    before = signal.getsignal(signal.SIGINT)
    if not are_several() or threading.current_thread() is not threading.main_thread() or before is None:
        yield came
        return
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    try:
        yield came
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def uninterrupted(*, forgetting: bool = False) -> Iterator[None]:
    """Hold back Ctrl-C and the news of a helper's death until a step is whole.

    Weights, optimizer and log must be of the same step in the checkpoint.

    Args:
        forgetting: what came meanwhile is not made up for, as the training ends anyway.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    news = [signal.SIGINT, *([signal.SIGCHLD] if hasattr(signal, "SIGCHLD") else [])]
    before = {number: signal.getsignal(number) for number in news}
    before = {number: handler for number, handler in before.items() if handler is not None}  # None is not Python's
    for number in before:
        signal.signal(number, lambda number, frame: came.append(number))
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for number in [] if forgetting else came:
        signal.raise_signal(number)


@contextlib.contextmanager
def ending_together(progress: Progress, done: int = 0, total: int = 1) -> Iterator[None]:
    """Take the loss of another process for the end, where the end was asked for: schedulers ask all of them at once.

    Raises:
        Cancelled: another process is lost, and `progress` asks to stop.
    """
    try:
        yield
    except (RuntimeError, OSError, EOFError) as error:  # of torch, or of the pipe to one that has just gone
        if progress(done, total, "stopping"):
            raise
        raise Cancelled("stopping") from error
