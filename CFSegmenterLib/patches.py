"""Patches: the numbered sequence of training examples, each cut, augmented and labelled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import Dataset

from .augmentation import (
    build_augmentation,
    may_be_mirrored,
    mirror_table,
    mirrored,
    size_to_cut,
    with_organ_contrast,
    with_signal_loss,
)
from .cases import Case
from .prepared import PreparedCase
from .protocols import Protocol
from .sampling import HierarchicalSampler
from .settings import SourceSettings, TrainingSettings
from .structures import Vocabulary


@dataclass(frozen=True)
class Patch:
    """A training example.

    Attributes:
        image: (1, X, Y, Z) float32.
        labels: (X, Y, Z) int64 index of the prototype, 0 where the source drew nothing.
        case: index of the case that it was cut from.
    """

    image: torch.Tensor
    labels: torch.Tensor
    case: int


class PatchSequence(Dataset):
    """A PatchSequence answers with patch number n, always the same for the same seed.

    Step after step, it holds `settings.patches_per_step` patches of annotated cases, then, where there are cases
    without any annotation, `settings.unannotated` times as many of these.

    Attributes:
        per_step: how many that makes.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        prepared: Sequence[PreparedCase],
        protocols: Sequence[Protocol],
        names: Sequence[str],
        settings: TrainingSettings,
        vocabulary: Vocabulary,
    ):
        """`protocols`: one for each case; `names`: of the prototypes, background first."""
        self.prepared = prepared
        self.protocols = protocols
        self.settings = settings
        shares = {name: source.share for name, source in settings.sources.items()}
        self.sampler = HierarchicalSampler(cases, shares)
        beside = settings.unannotated if self.sampler.has_unannotated else 0.0
        self.per_step = settings.patches_per_step + round(beside * settings.patches_per_step)
        allowed = {name for name, source in settings.sources.items() if source.mirror}
        self.mirrors = [
            case.source in allowed and may_be_mirrored({*case.annotated, *found.rows}, vocabulary)
            for case, found in zip(cases, prepared, strict=True)
        ]
        self.sources = [settings.sources.get(case.source, SourceSettings()) for case in cases]
        self.mirror_table = torch.from_numpy(mirror_table(names, vocabulary))
        self.augmentations = {p.name: build_augmentation(p.patch, p.spacing, settings.augmentation) for p in protocols}

    def __getitem__(self, number: int) -> Patch:
        """Patch `number` of the sequence, which has no end."""
        random = np.random.default_rng([self.settings.seed, number])
        annotated = self.is_annotated(number)
        draw = self.sampler.draw(random) if annotated else self.sampler.draw_unannotated(random)
        case, protocol = self.prepared[draw.case], self.protocols[draw.case]
        center = self._center(case, draw.structure, protocol.patch, random)
        size = size_to_cut(protocol.patch)
        # What lies outside the image looks like the darkest of what lies inside.
        image = cut(case.image, center, size, fill=case.darkest)
        labels = cut(case.labels, center, size, fill=0)
        augment = self.augmentations[protocol.name]
        augment.set_random_state(seed=int(random.integers(2**31)))
        changed = augment(
            {
                "image": torch.from_numpy(image.astype(np.float32))[None],
                "labels": torch.from_numpy(labels.astype(np.float32))[None],
            }
        )
        out_image, out_labels = _plain(changed["image"]), _plain(changed["labels"]).round().long()
        source = self.sources[draw.case]
        if source.organ_contrast > 0 and random.random() < 0.5:
            out_image = with_organ_contrast(out_image, out_labels, source.organ_contrast, random)
        if source.signal_loss > 0 and random.random() < source.signal_loss:
            out_image = with_signal_loss(out_image, out_labels, random)
        if self.mirrors[draw.case] and random.random() < 0.5:
            out_image, out_labels = mirrored(out_image, out_labels, self.mirror_table)
        return Patch(out_image.contiguous(), out_labels[0].contiguous(), draw.case)

    def is_annotated(self, number: int) -> bool:
        """Whether patch `number` is of an annotated case."""
        return number % self.per_step < self.settings.patches_per_step

    def _center(self, case: PreparedCase, structure: str | None, patch, random: np.random.Generator) -> np.ndarray:
        """A voxel of the structure, moved by up to a quarter of the patch; or any voxel."""
        voxels = case.centers(structure)
        if len(voxels) == 0 or random.random() >= self.settings.augmentation.centered:
            return random.integers(0, case.image.shape)
        jitter = np.array(patch) / 4 * random.uniform(-1, 1, size=3)
        return voxels[random.integers(len(voxels))] + np.round(jitter).astype(int)


def cut(array: np.ndarray, center: np.ndarray, size: Sequence[int], fill: float) -> np.ndarray:
    """A box of `size` voxels around `center` of an (X, Y, Z) array, filled up with `fill` outside it."""
    box = np.full(tuple(size), fill, dtype=array.dtype)
    start = np.asarray(center) - np.array(size) // 2
    source, target = [], []
    for first, length, limit in zip(start, size, array.shape, strict=True):
        low, high = max(0, first), min(limit, first + length)
        if high <= low:
            return box
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    box[tuple(target)] = array[tuple(source)]
    return box


def _plain(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor without MONAI's metadata."""
    return tensor.as_tensor() if hasattr(tensor, "as_tensor") else tensor
