from __future__ import annotations

import os

import pytest

from CFSegmenterLib.processes import MOST_HELPERS, is_first_process, spare_cores


@pytest.mark.parametrize(
    ("cores", "processes", "spare"), [(1, 1, 0), (2, 1, 1), (2, 2, 0), (2, 4, 0), (8, 2, 3), (8, 1, 7), (64, 1, 8)]
)
def test_processes_of_one_machine_share_its_cores_and_keep_one_each(monkeypatch, cores, processes, spare):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(cores)), raising=False)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))
    assert spare_cores() == spare <= MOST_HELPERS


@pytest.mark.parametrize(("rank", "first"), [(None, True), ("0", True), ("3", False)])
def test_one_process_is_the_first(monkeypatch, rank, first):
    monkeypatch.delenv("RANK", raising=False)
    if rank is not None:
        monkeypatch.setenv("RANK", rank)
    assert is_first_process() == first
