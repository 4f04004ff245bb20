"""What torchrun tells a process that it started, by its environment; who was not started by it is alone."""

from __future__ import annotations

import os


def is_first_process() -> bool:
    """Whether this is the only process, or the first of all."""
    return _said("RANK", 0) == 0


def are_several() -> bool:
    """Whether there are others than this one."""
    return world_size() > 1


def world_size() -> int:
    """Processes on all machines."""
    return _said("WORLD_SIZE", 1)


def number_here() -> int:
    """Number of this process on its machine, from 0."""
    return _said("LOCAL_RANK", 0)


def count_here() -> int:
    """Processes on this machine."""
    return _said("LOCAL_WORLD_SIZE", 1)


def _said(name: str, otherwise: int) -> int:
    return int(os.environ.get(name, otherwise))
