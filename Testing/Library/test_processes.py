from __future__ import annotations

import logging
import os
import signal
import types
from collections.abc import Iterator

import psutil
import pytest
import torch

from CFSegmenterLib.errors import Cancelled
from CFSegmenterLib.processes import (
    MOST_HELPERS,
    agreed,
    all_or_none,
    ending_together,
    interrupts_noted,
    launch,
    spare_cores,
    spare_memory,
    uninterrupted,
)


@pytest.mark.parametrize(
    ("cores", "processes", "spare"), [(1, 1, 0), (2, 1, 1), (2, 2, 0), (2, 4, 0), (8, 2, 3), (8, 1, 7), (64, 1, 8)]
)
def test_processes_of_one_machine_share_its_cores_and_keep_one_each(monkeypatch, cores, processes, spare):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert spare_cores() == spare <= MOST_HELPERS


def test_processes_of_one_machine_share_the_memory_that_is_free(monkeypatch):
    monkeypatch.setattr(psutil, "virtual_memory", lambda: types.SimpleNamespace(available=12_000))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert spare_memory() == 3_000


def test_one_process_among_the_tasks_of_a_scheduler_trains_alone(monkeypatch):
    for name, said in {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train", "SLURM_PROCID": "2"}.items():
        monkeypatch.setenv(name, said)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    fabric = launch(torch.device("cpu"), "32-true")
    assert (fabric.world_size, fabric.global_rank) == (1, 0)


def test_nothing_is_said_about_a_low_precision(monkeypatch):
    """The launcher would tell everybody who trains what it was given, and recommend another one."""
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    logging.getLogger("lightning_fabric").setLevel(logging.INFO)
    launch(torch.device("cpu"), "bf16-mixed")
    assert not logging.getLogger("lightning_fabric.utilities.rank_zero").isEnabledFor(logging.INFO)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGCHLD])
def test_a_signal_is_heard_once_what_it_would_have_broken_is_whole(number):
    heard = []
    before = signal.signal(number, lambda number, frame: heard.append(number))
    try:
        with uninterrupted():
            signal.raise_signal(number)
            assert not heard
        assert heard == [number]
        with uninterrupted(forgetting=True):
            signal.raise_signal(number)
        assert heard == [number]
    finally:
        signal.signal(number, before)


@pytest.mark.parametrize(
    "lost", [RuntimeError("DataLoader worker (pid 7) is killed by signal: Terminated."), EOFError(), ConnectionError()]
)
def test_a_lost_process_is_the_end_only_where_the_end_was_asked_for(lost):
    with pytest.raises(Cancelled), ending_together(lambda done, total, message: False):
        raise lost
    with pytest.raises(type(lost)) as kept, ending_together(lambda done, total, message: True):
        raise lost
    assert kept.value is lost


def one_of_two(other, is_first=False):
    """A stand-in for Fabric in one of two processes, where the other one says `other`: seconds, and whether to end."""
    return types.SimpleNamespace(
        world_size=2,
        is_global_zero=is_first,
        device=torch.device("cpu"),
        all_reduce=lambda said, reduce_op: said + torch.tensor(other, dtype=said.dtype),
    )


def test_the_time_is_the_first_processs_and_one_that_is_asked_to_end_ends_all():
    assert agreed(one_of_two([7.0, 0.0]), 3.0, ending=False) == (7.0, False)
    assert agreed(one_of_two([0.0, 1.0], is_first=True), 3.0, ending=False) == (3.0, True)
    assert agreed(one_of_two([7.0, 0.0]), 3.0, ending=True) == (7.0, True)
    assert agreed(types.SimpleNamespace(world_size=1), 3.0, ending=False) == (3.0, False)


def test_where_one_process_fails_the_others_do_not_go_on():
    with all_or_none(one_of_two([0.0, 0.0])):
        pass
    with pytest.raises(Cancelled, match="another process"), all_or_none(one_of_two([0.0, 1.0])):
        pass
    with pytest.raises(ValueError, match="mine"), all_or_none(one_of_two([0.0, 0.0])):
        raise ValueError("mine")


@pytest.fixture
def ctrl_c_heeded() -> Iterator[None]:
    """Who runs the tests in the background of a script is deaf to Ctrl+C, as the shell would have it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_is_held_back_where_there_are_several_processes_only(ctrl_c_heeded, monkeypatch):
    with pytest.raises(KeyboardInterrupt), interrupts_noted():
        signal.raise_signal(signal.SIGINT)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with interrupts_noted() as came:
        assert not came
        signal.raise_signal(signal.SIGINT)
        assert came
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
