"""Results: a segmentation's files, as 3D Slicer and everything else read them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .encoding import Segmentation
from .files.nifti import write_labels_nifti
from .files.seg_nrrd import SegmentLayer, write_seg_nrrd
from .files.writing import write_json
from .structures import Vocabulary

Color = tuple[int, int, int]

UNKNOWN_COLORS: tuple[Color, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
)
"""Of structures that no vocabulary knows, in turn; told apart by color-blind people too."""


@dataclass(frozen=True)
class ResultFiles:
    """ResultFiles name the files of one image's results in a folder.

    Attributes:
        folder: where they lie.
        stem: the image's name without its ending.
    """

    folder: Path
    stem: str

    @property
    def segmentation(self) -> Path:
        """The segmentation as 3D Slicer opens it."""
        return self.folder / f"{self.stem}.seg.nrrd"

    @property
    def labels(self) -> Path:
        """The label map."""
        return self.folder / f"{self.stem}_labels.nii.gz"

    @property
    def names(self) -> Path:
        """What the label map's values stand for."""
        return self.folder / f"{self.stem}_labels.json"

    @property
    def margin(self) -> Path:
        """The margin map."""
        return self.folder / f"{self.stem}_margin.nii.gz"

    def similarity(self, structure: str) -> Path:
        """The similarity map of a structure."""
        return self.folder / f"{self.stem}_similarity_{file_part(structure)}.nii.gz"

    def all(self, structures: Sequence[str], *, similarity: bool, margin: bool) -> list[Path]:
        """Every file that will be written."""
        maps = [self.similarity(name) for name in structures] if similarity else []
        return [self.segmentation, self.labels, self.names, *maps, *([self.margin] if margin else [])]


def file_part(structure: str) -> str:
    """A structure's name as a part of a file name: "left kidney" -> "left_kidney"."""
    return re.sub(r"[^\w.+-]+", "_", structure.strip()).strip("_.") or "structure"


def write_segmentation(
    files: ResultFiles, segmentation: Segmentation, affine: np.ndarray, vocabulary: Vocabulary
) -> list[tuple[str, str]]:
    """Write `<stem>.seg.nrrd`, `<stem>_labels.nii.gz` and `<stem>_labels.json`, each whole or not at all.

    Args:
        affine: (4, 4) of the volume, IJK to RAS in mm.

    Returns:
        Pairs of structures that share voxels, of which the label map keeps the second (see `merged_labels`).

    Raises:
        UserError: a file cannot be written.
    """
    merged, lost = merged_labels(segmentation, vocabulary)
    write_seg_nrrd(files.segmentation, segments(segmentation, vocabulary), affine)
    write_labels_nifti(files.labels, merged, affine)
    write_json(files.names, {str(segmentation.places[name][1]): name for name in segmentation.names})
    return lost


def segments(segmentation: Segmentation, vocabulary: Vocabulary) -> list[SegmentLayer]:
    """The structures with the names, colors and codes of the vocabulary; those that overlap in different layers."""
    result = []
    for position, name in enumerate(segmentation.names):
        layer, value = segmentation.places[name]
        known = vocabulary.get(name)
        result.append(
            SegmentLayer(
                id=f"{value}_{file_part(name)}",
                name=name,
                color=color_of(name, position, vocabulary),
                terminology=known.terminology_entry() if known else "",
                label_value=value,
                layer=segmentation.layers[layer],
            )
        )
    return result


def color_of(name: str, position: int, vocabulary: Vocabulary) -> Color:
    """The vocabulary's color of a structure; for a name of the user's own one that depends on its position."""
    known = vocabulary.get(name)
    return known.color if known is not None else UNKNOWN_COLORS[position % len(UNKNOWN_COLORS)]


def merged_labels(segmentation: Segmentation, vocabulary: Vocabulary) -> tuple[np.ndarray, list[tuple[str, str]]]:
    """One label map of all structures.

    A label map holds one structure a voxel. Where two overlap the part wins over its whole, since the whole can be
    put together again from its parts; where neither contains the other the one that was asked for later wins.

    Returns:
        (I, J, K) uint8 or uint16, and the pairs (covered, covering) of structures that share voxels.
    """
    names, places = segmentation.names, segmentation.places
    if len(segmentation.layers) == 1:
        return segmentation.layers[0], []
    depth = {name: sum(vocabulary.contains(other, name) for other in names) for name in names}
    merged = np.zeros_like(segmentation.layers[0])
    name_of = {places[name][1]: name for name in names}
    pairs = []
    for name in sorted(names, key=lambda n: depth[n]):
        mask = segmentation.mask(name)
        covered = np.bincount(merged[mask], minlength=1)
        pairs += [(name_of[value], name) for value in np.nonzero(covered)[0].tolist() if value]
        merged[mask] = places[name][1]
    return merged, pairs
