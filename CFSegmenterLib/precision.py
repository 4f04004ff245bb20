"""Devices and precisions: which one to use, by asking the hardware.

bfloat16 without hardware for it is a hundred times slower than float32, with it three times faster; so it is never
assumed.
"""

from __future__ import annotations

import contextlib
import ctypes
import sys

import torch

from .errors import UserError


def choose_device(name: str = "auto") -> torch.device:
    """The device of a choice: "auto" (a GPU where there is one), "cpu" or "cuda".

    Raises:
        UserError: a GPU is asked for and none can be used, or the name is unknown.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name == "cuda" and not torch.cuda.is_available():
        raise UserError(
            "No CUDA device can be used (there is none, or torch was installed without CUDA); choose 'cpu' or 'auto'."
        )
    if name not in ("cpu", "cuda"):
        raise UserError(f"There is no device '{name}'; choose 'auto', 'cpu' or 'cuda'.")
    return torch.device(name)


def choose_precision(device: torch.device) -> str:
    """The number format: "bf16-mixed" where the device multiplies bfloat16 faster than float32, else "32-true"."""
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    asks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    fast = any(getattr(torch.cpu, ask, lambda: False)() for ask in asks)
    return "bf16-mixed" if fast else "32-true"


def autocast(device: torch.device, precision: str):
    """A context in which the backbone runs in `precision`."""
    if precision == "bf16-mixed":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()


def keep_freed_memory() -> None:
    """Tell the C library to reuse freed memory instead of giving it back; a third off a training step on Linux.

    Every pass allocates the same large activations; handing their pages back and faulting them in again costs more
    than some convolutions. Elsewhere than on glibc this does nothing.
    """
    if not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        m_trim_threshold, m_top_pad, m_mmap_threshold = -1, -2, -3
        libc.mallopt(m_mmap_threshold, 1 << 30)
        libc.mallopt(m_trim_threshold, (1 << 31) - 1)
        libc.mallopt(m_top_pad, 1 << 28)
