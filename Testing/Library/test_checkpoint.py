"""Checkpoints: written whole or not at all, and read by the same network only."""

from __future__ import annotations

import gc
import math
import os
import resource
from pathlib import Path

import pytest
import torch

from CFSegmenterLib.checkpoint import TrainingState, load_checkpoint, read_record, save_checkpoint
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.network import PrototypeNetwork


def a_state(features: int = 8) -> TrainingState:
    torch.manual_seed(0)
    networks = [PrototypeNetwork("unet", features, 16, channels=[8, 8], residual_units=0) for _ in range(2)]
    optimizer = torch.optim.AdamW(networks[0].parameters())
    networks[0](torch.randn(1, 1, 4, 4, 4)).sum().backward()
    optimizer.step()
    return TrainingState(*networks, optimizer)


def test_a_checkpoint_holds_network_average_and_moments(tmp_path):
    state, other = a_state(), a_state()
    with torch.no_grad():
        for parameter in other.network.parameters():
            parameter.zero_()
    save_checkpoint(tmp_path / "c", state, {"step": 3, "best": -math.inf})
    load_checkpoint(tmp_path / "c", other)
    assert read_record(tmp_path / "c") == {"step": 3, "best": -math.inf}
    for one, two in ((state.network, other.network), (state.averaged, other.averaged)):
        assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    one, two = (s.optimizer.state_dict()["state"] for s in (state, other))
    assert one.keys() == two.keys() and one
    for index, moments in one.items():
        assert all(torch.equal(value, two[index][name]) for name, value in moments.items())


def test_a_checkpoint_that_was_loaded_is_no_longer_open(tmp_path):
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("only Linux lists what a process has mapped")
    save_checkpoint(tmp_path / "checkpoint", a_state(), {})
    state = a_state()
    load_checkpoint(tmp_path / "checkpoint", state)
    gc.collect()
    assert str(tmp_path / "checkpoint") not in maps.read_text()


def test_a_checkpoint_is_on_the_disk_before_it_replaces_the_one_before(tmp_path, monkeypatch):
    done, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: (done.append("on disk"), fsync(descriptor))[1])
    monkeypatch.setattr(os, "replace", lambda *paths: (done.append("replaced"), replace(*paths))[1])
    save_checkpoint(tmp_path / "c", a_state(), {})
    assert done[:2] == ["on disk", "replaced"]


def test_a_checkpoint_of_another_network_is_refused(tmp_path):
    save_checkpoint(tmp_path / "c", a_state(), {})
    with pytest.raises(UserError, match="does not fit this training"):
        load_checkpoint(tmp_path / "c", a_state(features=16))


def test_a_checkpoint_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "run" / "c"
    save_checkpoint(path, a_state(), {"step": 1})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))  # like a full disk: what is written after that fails
    try:
        with pytest.raises(UserError, match=r"cannot be written: .*; free some space"):
            save_checkpoint(path, a_state(), {"step": 2})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert read_record(path) == {"step": 1}
    assert [p.name for p in path.parent.iterdir()] == ["c"]


def test_a_checkpoint_that_cannot_be_written_gets_a_sentence(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be written: .* free some space"):
        save_checkpoint(tmp_path / "file" / "c", a_state(), {})
