"""A network without a prototype of the background: the background is a similarity that every structure has to beat."""

from __future__ import annotations

import torch
from torch import Tensor

from CFSegmenterLib.network import FoldedCosine, PrototypeNetwork

THRESHOLD = 0.5


class ThresholdCosine(FoldedCosine):
    """The folded cosine, in which everything has the same similarity to the background.

    A unit feature gets one more channel that is always 1; averaging over windows leaves it so.
    """

    def queries(self, prototypes: Tensor) -> Tensor:
        """(K + 1, D) prototypes -> (K + 1, C + 1); the first row is not looked at."""
        structures = super().queries(prototypes[1:])
        threshold = structures.new_zeros(1, structures.shape[1] + 1)
        threshold[0, -1] = THRESHOLD
        return torch.cat([threshold, torch.nn.functional.pad(structures, (0, 1))])

    def unit(self, features: Tensor) -> Tensor:
        """(..., C) -> (..., C + 1)"""
        unit = super().unit(features)
        return torch.cat([unit, torch.ones_like(unit[..., :1])], dim=-1)


class ThresholdNetwork(PrototypeNetwork):
    """A PrototypeNetwork whose background is a threshold."""

    @property
    def features(self) -> int:
        """The width of what is averaged over windows: C + 1."""
        return self.projection.shape[1] + 1

    def cosine(self) -> ThresholdCosine:
        """The folded cosine of the projection as it is now."""
        return ThresholdCosine(self.projection)

    @torch.no_grad()
    def aim_at(self, prototypes: Tensor) -> None:
        """As in `PrototypeNetwork`, at the structures alone."""
        mix = torch.randn(self.projection.shape[1], len(prototypes) - 1)
        self.projection.copy_(torch.linalg.qr((mix @ prototypes[1:].to(mix)).T)[0])
