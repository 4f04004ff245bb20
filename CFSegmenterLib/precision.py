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
from .torchrun import are_several, number_here


def choose_device(name: str = "auto") -> torch.device:
    """The device of a choice: "auto" (a GPU where there is one), "cpu" or "cuda".

    Raises:
        UserError: a GPU is asked for and none can be used, or the name is unknown.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise UserError(f"There is no device '{name}'; choose 'auto', 'cpu' or 'cuda'.")
    fault = None if name == "cpu" else why_no_cuda()
    # Of several processes none may go its own way: the others would wait for it on their cards.
    if fault and (name == "cuda" or (are_several() and torch.cuda.is_available())):
        raise UserError(f"No CUDA device can be used ({fault}); choose 'cpu' or 'auto'.")
    return torch.device("cpu" if name == "cpu" or fault else "cuda")


def why_no_cuda() -> str | None:
    """Why this process can use no CUDA device; None where it can.

    A card that is there may be too old for this torch, or taken by another program: it is tried.
    """
    if not torch.cuda.is_available():
        return "there is none, or torch was installed without CUDA"
    mine = number_here()
    if mine >= torch.cuda.device_count():
        return f"there are {torch.cuda.device_count()}, and this is process number {mine + 1} of the machine"
    try:
        ones = torch.ones(1, 1, 3, 3, 3, device=f"cuda:{mine}")
        torch.nn.functional.conv3d(ones, ones).item()
    except RuntimeError as error:
        return str(error).strip().splitlines()[0].rstrip(".")
    return None


def lost_the_device(error: BaseException) -> bool:
    """Whether an error left the CUDA device unusable for the rest of this process, as suspending a computer does."""
    return isinstance(error, RuntimeError) and str(error).startswith("CUDA error") and "out of memory" not in str(error)


def choose_precision(device: torch.device) -> str:
    """The number format: "bf16-mixed" where the device multiplies bfloat16 faster than float32, else "32-true"."""
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    asks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    fast = any(getattr(torch.cpu, ask, lambda: False)() for ask in asks)
    return "bf16-mixed" if fast else "32-true"


def layout(device: torch.device) -> torch.memory_format:
    """The order in memory in which networks and images are passed to `device`.

    A CPU takes the channels of a voxel together; CUDA normalizes groups of channels each in a block of its own, and
    copies what comes otherwise.
    """
    return torch.contiguous_format if device.type == "cuda" else torch.channels_last_3d


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
