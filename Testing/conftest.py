"""Tests run on the processor, whatever the machine has, so that they say the same everywhere.

What a graphics card does is asked by the tests marked `cuda`, alone: `python -m pytest -m cuda`.
"""

from __future__ import annotations

import os

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Hide the cards from this process and all that it starts, before torch looks for them."""
    if config.getoption("markexpr") != "cuda":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
