"""Protocols: the kinds of scan a model was taught, each with the grid and the intensity rule it is read with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from .errors import UserError
from .grid import nearest_axes
from .intensity import IntensityRule
from .volume import Volume

Triple = tuple[float, float, float]


class Protocol(BaseModel):
    """A Protocol says how scans of one kind are shown to the network.

    Attributes:
        name: as a person would say it, "brain MR T1".
        modality: "ct", "mr-t1", "mr-t2", "mr-cine", ...
        spacing: of the model's grid along R, A, S, in mm.
        patch: voxels that the network sees at once along R, A, S.
        intensity: the rule that turns voxels into what the network was trained on.
        typical_spacing: median spacing of the training scans along R, A, S, in mm.
        typical_extent: median size of the training scans along R, A, S, in mm.
        sources: names of the training sources.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    modality: str
    spacing: Triple
    patch: tuple[int, int, int]
    intensity: IntensityRule
    typical_spacing: Triple
    typical_extent: Triple
    sources: tuple[str, ...] = Field(default=())

    def distance(self, spacing: np.ndarray, extent: np.ndarray) -> float:
        """How unlike a scan is to this protocol's: the mean factor, as a logarithm, in spacing and in size."""
        away = np.abs(np.log(np.concatenate([spacing, extent]) / (*self.typical_spacing, *self.typical_extent)))
        return float(away.mean())


def choose_protocol(protocols: Sequence[Protocol], volume: Volume, name: str | None = None) -> Protocol:
    """Choose the protocol that a volume is read with.

    A protocol can be named. Otherwise the volume's modality narrows the choice ("mr" stands for every MR protocol),
    and among what is left the nearest in spacing and field of view is taken. A volume of unknown modality is taken
    for CT where its values reach below those of any MR scan.

    Raises:
        UserError: no protocol has that name, or none the volume's modality.
    """
    if name is not None:
        named = [p for p in protocols if p.name == name]
        if not named:
            raise UserError(f"The model has no protocol '{name}'; it has {_listed(protocols)}.")
        return named[0]
    modality = volume.modality or _guessed_modality(volume)
    fitting = [p for p in protocols if matches(p.modality, modality)]
    if not fitting:
        raise UserError(
            f"The model was not taught {modality.upper()} scans, so it cannot segment this one; "
            f"it knows {_listed(protocols)}. Use another model, or name the modality if it was read wrongly."
        )
    order = list(nearest_axes(volume.directions))
    return min(fitting, key=lambda p: p.distance(volume.spacing[order], volume.extent[order]))


def matches(known: str, asked: str) -> bool:
    """Whether a scan said to be `asked` may be of the modality `known`: "mr" may be "mr-t1", and the reverse."""
    return known == asked or known.startswith(asked + "-") or asked.startswith(known + "-")


def _guessed_modality(volume: Volume) -> str:
    return "ct" if float(volume.array.min()) <= -100 else "mr"


def _listed(protocols: Sequence[Protocol]) -> str:
    return ", ".join(f"'{p.name}' ({p.modality})" for p in protocols)
