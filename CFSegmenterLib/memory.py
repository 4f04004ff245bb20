"""Running out of memory, as a sentence, whoever ran out: Python, NumPy, torch or what lies below them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from .errors import UserError

_OF_A_CARD = (
    "out of memory",  # CUDA
    "alloc_failed",  # its libraries for matrices
    "allocation_failed",  # and for convolutions
)
_SAYINGS = (
    *_OF_A_CARD,
    "allocate memory",  # torch on Linux, and ITK
    "not enough memory",  # torch elsewhere
    "bad_alloc",  # C++ that nobody translated
    "killed by signal: killed",  # torch, of a process that Linux chose
)
"""How a RuntimeError says it: these libraries have no class of their own for it."""


def ran_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that there was no more memory to be had."""
    said = str(error).lower()
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and any(s in said for s in _SAYINGS))


def a_card_ran_out_of_memory(error: BaseException) -> bool:
    """Whether it was a graphics card's memory, and not the computer's, of which there was no more."""
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in _OF_A_CARD)


@contextmanager
def memory_for(what: str) -> Iterator[None]:
    """Answer for the memory of what is done within, or of a function that this decorates.

    Args:
        what: ends "There is too little memory ...", as "to read this image".

    Raises:
        UserError: it ran out of memory.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not ran_out_of_memory(error):
            raise
        raise UserError(
            f"There is too little memory {what}: close other programs, crop the image, or resample it to larger voxels."
        ) from error
