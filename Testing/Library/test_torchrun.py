from __future__ import annotations

import pytest

from CFSegmenterLib import torchrun

NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


@pytest.fixture
def started_as(monkeypatch):
    """`started_as("5", "8", "1", "4")`: what torchrun says; None where it says nothing."""

    def say(*said):
        for name, value in zip(NAMES, said, strict=True):
            if value is None:
                monkeypatch.delenv(name, raising=False)
            else:
                monkeypatch.setenv(name, value)

    return say


def test_who_was_not_started_by_torchrun_is_alone(started_as):
    started_as(None, None, None, None)
    assert torchrun.is_first_process() and not torchrun.are_several()
    assert (torchrun.world_size(), torchrun.number_here(), torchrun.count_here()) == (1, 0, 1)


def test_one_of_several_knows_its_place(started_as):
    started_as("5", "8", "1", "4")
    assert not torchrun.is_first_process() and torchrun.are_several()
    assert (torchrun.world_size(), torchrun.number_here(), torchrun.count_here()) == (8, 1, 4)
    started_as("0", "8", "0", "4")
    assert torchrun.is_first_process()
