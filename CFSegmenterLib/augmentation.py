"""Augmentation: what a patch could have looked like on another day, in another scanner, in another patient.

MONAI's transforms do the work. Left and right are exchanged only where a source says that this does no harm, and
then the names of twins are exchanged with them.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Collection, Sequence

import numpy as np
import torch

from .settings import AugmentationSettings
from .spelling import mirrored as mirrored_key
from .spelling import name_key
from .structures import Vocabulary

MARGIN = 1.3
"""A patch is cut this much larger, so that a rotated or shrunken one has no empty corners."""


def size_to_cut(patch: Sequence[int]) -> tuple[int, ...]:
    """Voxels to cut for a patch: `MARGIN` larger, by as many voxels before as behind.

    An odd margin would put the patch half-way between voxels: a blurred image under labels half a voxel away.
    """
    return tuple(side + 2 * math.ceil(side * (MARGIN - 1) / 2) for side in patch)


def build_augmentation(patch: Sequence[int], spacing: Sequence[float], settings: AugmentationSettings):
    """A MONAI transform of {"image", "labels"}: (1, ...) tensors of `size_to_cut(patch)` -> of `patch`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from monai.transforms import (
            Compose,
            RandAdjustContrastd,
            RandAffined,
            RandGaussianNoised,
            RandGaussianSmoothd,
            RandScaleIntensityd,
            RandShiftIntensityd,
            RandSimulateLowResolutiond,
        )
    image = ["image"]
    return Compose(
        [
            RandAffined(
                ["image", "labels"],
                prob=settings.spatial,
                rotate_range=_angles(spacing, settings.rotation),
                scale_range=[(-settings.scale, settings.scale)] * 3,
                spatial_size=tuple(patch),
                mode=("bilinear", "nearest"),
                padding_mode="border",
            ),
            RandGaussianNoised(image, prob=settings.noise, std=0.15),
            RandGaussianSmoothd(image, prob=settings.blur, sigma_x=(0.3, 1.0), sigma_y=(0.3, 1.0), sigma_z=(0.3, 1.0)),
            RandSimulateLowResolutiond(image, prob=settings.low_resolution, zoom_range=(0.5, 1.0)),
            RandAdjustContrastd(image, prob=settings.gamma, gamma=(0.7, 1.5), retain_stats=True),
            RandScaleIntensityd(image, prob=settings.intensity, factors=0.25),
            RandShiftIntensityd(image, prob=settings.intensity, offsets=0.25),
        ]
    )


def with_organ_contrast(
    image: torch.Tensor, labels: torch.Tensor, deviation: float, random: np.random.Generator
) -> torch.Tensor:
    """A patch in which each organ is brighter or darker by itself: an iron-loaded liver, an enhanced kidney.

    Where an organ's brightness is the same in all the few scans of a source, a network learns nothing else of it.

    Args:
        image, labels: (1, X, Y, Z); voxels labelled 0 stay as they are.
        deviation: of the normal deviate that each label is shifted by, in the image's units.
    """
    shifts = random.normal(0, deviation, size=int(labels.max()) + 1).astype(np.float32)
    shifts[0] = 0
    return image + _blurred(torch.from_numpy(shifts)[labels])


def with_signal_loss(image: torch.Tensor, labels: torch.Tensor, random: np.random.Generator) -> torch.Tensor:
    """A patch in which some organs have lost most of their signal, and their texture with it, as iron does in MR.

    Args:
        image, labels: (1, X, Y, Z); each label fades with even chance, to between a tenth and six tenths of what it
            has above the darkest of the patch. Voxels labelled 0 stay as they are.
    """
    count = int(labels.max()) + 1
    lost = (random.uniform(0.4, 0.9, count) * (random.random(count) < 0.5)).astype(np.float32)
    lost[0] = 0
    darkest = torch.quantile(image[:, ::2, ::2, ::2], 0.02)
    return image - _blurred(torch.from_numpy(lost)[labels]) * (image - darkest)


def _blurred(change: torch.Tensor) -> torch.Tensor:
    """A scan blurs the border between two tissues, so what changes one of them fades over a voxel, too."""
    return torch.nn.functional.avg_pool3d(change, kernel_size=3, stride=1, padding=1, count_include_pad=False)


def _angles(spacing: Sequence[float], degrees: float) -> list[float]:
    """Largest rotation about each axis, in radians.

    A rotation that mixes axes of unlike spacing would shear the anatomy, so it is allowed only in planes whose two
    spacings agree to within a factor of 1.6.
    """
    limits = []
    for axis in range(3):
        first, second = (spacing[other] for other in range(3) if other != axis)
        limits.append(np.deg2rad(degrees) if max(first, second) / min(first, second) < 1.6 else 0.0)
    return limits


def mirror_table(names: Sequence[str], vocabulary: Vocabulary) -> np.ndarray:
    """(K + 1,) index of each prototype's twin, or its own, for patches whose left and right are exchanged."""
    position = {name: index for index, name in enumerate(names)}
    table = np.arange(len(names))
    for name, index in position.items():
        twin = twin_among(name, names, vocabulary) if index else None
        if twin is not None:
            table[index] = position[twin]
    return table


def twin_among(name: str, names: Collection[str], vocabulary: Vocabulary) -> str | None:
    """The structure of `names` that lies on the other side; of one that nobody knows, the name says it."""
    if name in vocabulary:
        twin = vocabulary.twin(name)
        return twin.name if twin is not None and twin.name in names else None
    other = mirrored_key(name_key(name))
    return next((each for each in names if each != name and name_key(each) == other), None)


def may_be_mirrored(annotated: Collection[str], vocabulary: Vocabulary) -> bool:
    """Whether the annotation of a case is still true of its mirror image.

    It is not where a structure lies on one side by nature (the liver), nor where one twin is annotated without the
    other: mirrored, the twin that nobody drew would take the place of the one whose absence label 0 states.
    """
    for name in annotated:
        structure, key = vocabulary.get(name), name_key(name)
        if structure is not None and not structure.symmetric:
            return False
        has_twin = vocabulary.twin(name) is not None if structure is not None else mirrored_key(key) != key
        if has_twin and twin_among(name, annotated, vocabulary) is None:
            return False
    return True


def mirrored(image: torch.Tensor, labels: torch.Tensor, table: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A patch (1, X, Y, Z) with X, the patient's left-right axis, reversed and twins renamed."""
    return image.flip(1), table[labels.flip(1)]
