"""Which device is used: a graphics card only where it computes."""

from __future__ import annotations

import pytest
import torch

from CFSegmenterLib.errors import UserError
from CFSegmenterLib.precision import choose_device, lost_the_device


@pytest.fixture
def a_card_that(monkeypatch):
    """`a_card_that("fails so")`: torch finds a card, and its first use raises that; None is a card that computes."""

    def make(says):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        on_processor = torch.ones

        def ones(*shape, device):
            if says:
                raise RuntimeError(says)
            return on_processor(*shape)

        monkeypatch.setattr(torch, "ones", ones)

    return make


def test_a_card_that_computes_is_used(a_card_that):
    a_card_that(None)
    assert choose_device("auto") == choose_device("cuda") == torch.device("cuda")
    assert choose_device("cpu") == torch.device("cpu")


def test_a_card_that_torch_was_not_made_for_is_passed_over_or_named(a_card_that):
    a_card_that("CUDA error: no kernel image is available for execution on the device\nCompile with ...")
    assert choose_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match=r"can be used \(CUDA error: no kernel image is available.*device\); choose"):
        choose_device("cuda")


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_more_processes_than_cards_are_told_so(a_card_that, monkeypatch, name):
    a_card_that(None)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(UserError, match="there are 1, and this is process number 2"):
        choose_device(name)
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize(
    ("error", "lost"),
    [
        (RuntimeError("CUDA error: an illegal memory access was encountered"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"), False),
        (RuntimeError("CUDA error: out of memory"), False),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("CUDA error: nothing of torch"), False),
    ],
)
def test_a_device_is_lost_by_errors_that_it_does_not_recover_from(error, lost):
    assert lost_the_device(error) == lost
