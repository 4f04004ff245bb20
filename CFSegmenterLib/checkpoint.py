"""Checkpoints: all that a training needs to go on exactly where it was, in one file that nothing unpickles."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from .errors import UserError
from .files.durable import flush_file, flush_names
from .network import load_weights, weights_of


@dataclass(frozen=True)
class TrainingState:
    """What a training carries from one step to the next.

    Attributes:
        network: being trained.
        averaged: the running average of its weights.
        optimizer: AdamW over `network.parameters()`.
    """

    network: nn.Module
    averaged: nn.Module
    optimizer: torch.optim.Optimizer


def save_checkpoint(path: Path, state: TrainingState, record: dict) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        record: whatever else must be remembered, as plain JSON.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    tensors = {f"network.{n}": t for n, t in weights_of(state.network).items()}
    tensors |= {f"averaged.{n}": t for n, t in weights_of(state.averaged).items()}
    for index, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": torch.as_tensor(value) for name, value in moments.items()}
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        dense = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(dense, part, metadata={"record": json.dumps(record)})
        flush_file(part)
        os.replace(part, path)
        flush_names(path.parent)
    except (OSError, SafetensorError) as error:  # a full disk is the one or the other, by when it is met
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"The checkpoint {path} cannot be written: {reason}; free some space.") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def read_record(path: Path) -> dict:
    """The record of a checkpoint, without its tensors.

    Raises:
        UserError: the file is damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return json.loads(file.metadata()["record"])
    except (OSError, SafetensorError, KeyError, TypeError, json.JSONDecodeError) as error:
        raise UserError(
            f"The checkpoint {path} cannot be read ({error}); start the training in a new folder."
        ) from error


def load_checkpoint(path: Path, state: TrainingState) -> None:
    """Put a checkpoint's tensors into `state`.

    Raises:
        UserError: the file is damaged, or belongs to another network.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors = load_file(path)
        for name, module in (("network", state.network), ("averaged", state.averaged)):
            load_weights(module, _under(tensors, name))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"The checkpoint {path} does not fit this training: {error}.") from error
    parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in _under(tensors, "optimizer").items():
        index, _, key = name.partition(".")
        moments.setdefault(int(index), {})[key] = _laid_out_as(parameters[int(index)], tensor)
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})


def _laid_out_as(parameter: torch.Tensor, moment: torch.Tensor) -> torch.Tensor:
    """A copy of a moment in the memory layout of its parameter: fused optimizers walk through both as they lie there.

    A copy also where the layout is the same: the file must not stay open, or Windows could not replace it.
    """
    return torch.empty_like(parameter).copy_(moment) if moment.shape == parameter.shape else moment.clone()


def _under(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {n.removeprefix(prefix + "."): t for n, t in tensors.items() if n.startswith(prefix + ".")}
