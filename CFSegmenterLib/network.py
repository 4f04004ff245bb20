"""The network: a MONAI backbone, a projection, and the folded cosine that keeps the embedding's width free.

No parameter here depends on the number of classes.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .errors import UserError

EPSILON = {torch.float32: 1e-6, torch.float64: 1e-12}
"""Keeps a feature of length 0 from being divided by it, and the Cholesky factor from failing, in each precision."""


Stride = tuple[int, int, int]
Backbone = tuple[nn.Module, Stride]


def _dynunet(
    features: int,
    filters: tuple[int, ...] = (32, 48, 96, 128, 160),
    strides: tuple[int | Stride, ...] | None = None,
    residual: bool = False,
) -> Backbone:
    """`strides`: from each level to the next, one number or one an axis; 2 everywhere where nothing is said.

    Thin stacks want fewer halvings along S than in the plane: at 8 of S and 16 of the others, 16 slices suffice.
    """
    from monai.networks.nets import DynUNet

    steps = [2] * (len(filters) - 1) if strides is None else [_per_axis(step) for step in strides]
    if len(steps) != len(filters) - 1:
        raise ValueError(f"{len(filters)} filters need {len(filters) - 1} strides")
    network = DynUNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=features,
        kernel_size=[3] * len(filters),
        strides=[1, *steps],
        upsample_kernel_size=steps,
        filters=list(filters),
        norm_name=("group", {"num_groups": 16}),
        act_name="relu",
        res_block=residual,
    )
    return network, tuple(math.prod(axis) for axis in zip(*map(_per_axis, steps), strict=True))


def _segresnet(features: int, init_filters: int = 16, blocks_down: tuple[int, ...] = (1, 2, 2, 4)) -> Backbone:
    from monai.networks.nets import SegResNet

    network = SegResNet(
        spatial_dims=3,
        init_filters=init_filters,
        in_channels=1,
        out_channels=features,
        blocks_down=tuple(blocks_down),
        blocks_up=(1,) * (len(blocks_down) - 1),
    )
    return network, _per_axis(2 ** (len(blocks_down) - 1))


def _unet(features: int, channels: tuple[int, ...] = (32, 64, 128, 192), residual_units: int = 2) -> Backbone:
    from monai.networks.nets import UNet

    network = UNet(
        spatial_dims=3,
        in_channels=1,
        out_channels=features,
        channels=tuple(channels),
        strides=(2,) * (len(channels) - 1),
        num_res_units=residual_units,
        norm=("group", {"num_groups": 8}),
        act="relu",
    )
    return network, _per_axis(2 ** (len(channels) - 1))


def _per_axis(step: int | Stride) -> Stride:
    along = (step,) * 3 if isinstance(step, int) else tuple(step)
    if len(along) != 3 or any(not isinstance(n, int) or n < 1 for n in along):
        raise ValueError(f"a stride is a whole number or three of them, not {step}")
    return along


BACKBONES: dict[str, Callable[..., Backbone]] = {
    "dynunet": _dynunet,
    "segresnet": _segresnet,
    "unet": _unet,
}


def build_backbone(name: str, features: int, **options: Any) -> Backbone:
    """Build a backbone that maps (B, 1, X, Y, Z) to (B, `features`, X, Y, Z).

    Returns:
        The network, and what X, Y and Z must be multiples of: the products of its strides along each axis.

    Group normalization stands where these networks usually normalize each channel by itself: it has a fast
    channels-last kernel on the CPU and does not depend on the batch.

    Raises:
        UserError: no backbone has that name, or it does not take these options.
    """
    if name not in BACKBONES:
        raise UserError(f"There is no backbone '{name}'; choose one of {', '.join(BACKBONES)}.")
    try:
        network, stride = BACKBONES[name](features, **options)
        if max(stride) < 2:
            raise ValueError("it needs two levels at least")
    except (TypeError, ValueError, LookupError, RuntimeError) as error:
        reason = str(error).rstrip(".")
        raise UserError(
            f"The backbone '{name}' with {features} features cannot be built with {options}: {reason}; "
            "correct 'backbone' in the settings."
        ) from error
    return network, stride


class FoldedCosine:
    """A FoldedCosine compares C-channel features with D-wide prototypes without ever being D wide.

    With the projection W (D, C) and the prototypes P (K, D): A = P W, and L the Cholesky factor of W^T W. Then
    cos(W f, p_k) = (A f)_k / |L^T f|, exactly. The unit feature u = f / |L^T f| carries everything: a similarity is
    linear in it, so it may be averaged over windows and interpolated before any class is asked for.
    """

    def __init__(self, projection: Tensor):
        """`projection`: (D, C); gradients flow through it. Computes in float32, in float64 where it is that."""
        self.projection = projection if projection.dtype == torch.float64 else projection.float()
        self.epsilon = EPSILON[self.projection.dtype]
        gram = self.projection.T @ self.projection
        ridge = self.epsilon * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
        self.factor = torch.linalg.cholesky(gram + ridge)

    def queries(self, prototypes: Tensor) -> Tensor:
        """(K, D) unit prototypes -> (K, C): what a unit feature is multiplied with to get the similarities."""
        return prototypes.to(self.projection) @ self.projection

    def unit(self, features: Tensor) -> Tensor:
        """(..., C) features -> (..., C) features whose embeddings W u have length 1; in the projection's precision."""
        features = features.to(self.projection.dtype)
        squared = (features @ self.factor).square().sum(dim=-1, keepdim=True)
        return features * torch.rsqrt(squared + self.epsilon)

    def similarities(self, features: Tensor, prototypes: Tensor) -> Tensor:
        """(..., C) features, (K, D) prototypes -> (..., K) cosines in -1..1."""
        return self.unit(features) @ self.queries(prototypes).T

    def embed(self, unit_features: Tensor) -> Tensor:
        """(..., C) unit features -> (..., D) unit embeddings, for the few voxels where a direction is wanted."""
        return unit_features @ self.projection.T


class PrototypeNetwork(nn.Module):
    """A PrototypeNetwork gives every voxel a feature, and the projection that compares it with prototypes."""

    def __init__(self, backbone: str, features: int, dimension: int = 512, **options: Any):
        """Args: a name in `BACKBONES`, C, D, and the backbone's own options."""
        super().__init__()
        self.backbone, self.stride = build_backbone(backbone, features, **options)
        self.projection = nn.Parameter(nn.init.orthogonal_(torch.empty(dimension, features)))

    @property
    def features(self) -> int:
        """C, the width of a voxel's feature."""
        return self.projection.shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 1, X, Y, Z) -> (B, X, Y, Z, C) features, channels last, in the precision of the pass."""
        # Some backbones keep each channel in a block of its own; what follows wants the channels of a voxel together.
        return self.backbone(images).permute(0, 2, 3, 4, 1).contiguous()

    def cosine(self) -> FoldedCosine:
        """The folded cosine of the projection as it is now."""
        return FoldedCosine(self.projection)

    @torch.no_grad()
    def aim_at(self, prototypes: Tensor) -> None:
        """Turn a fresh projection towards `prototypes` (K, D), so that every class can be reached from the start.

        A random subspace of C of D dimensions holds almost nothing of any prototype (cosine sqrt(C / D)).
        """
        mix = torch.randn(self.features, len(prototypes), device=prototypes.device)
        basis, _ = torch.linalg.qr((mix @ prototypes.to(mix)).T)
        width = min(basis.shape[1], self.features)
        self.projection[:, :width].copy_(basis[:, :width])


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """A module's parameters and buffers by name, each once.

    MONAI's DynUNet registers its blocks a second time under another name, which a state dict would store twice.
    """
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


@torch.no_grad()
def load_weights(module: nn.Module, weights: dict[str, Tensor]) -> None:
    """Copy weights by name into a module.

    Raises:
        ValueError: a name is missing or unknown, or a shape differs.
    """
    own = weights_of(module)
    if own.keys() != weights.keys():
        raise ValueError(f"other weights are expected: {sorted(own.keys() ^ weights.keys())[:3]}")
    for name, tensor in own.items():
        if tensor.shape != weights[name].shape:
            raise ValueError(f"{name} has the shape {tuple(weights[name].shape)}, not {tuple(tensor.shape)}")
        tensor.copy_(weights[name])
