"""What a file's header must say before its voxels are read: three axes, and one value a voxel."""

from __future__ import annotations

from collections.abc import Sequence

from ..volume import check_shape


def shape_in_space(shape: Sequence[int]) -> tuple[int, ...]:
    """The (I, J, K) of an image whose further axes, if any, have one place each.

    Raises:
        UserError: it is no three-dimensional image.
    """
    shape = tuple(int(n) for n in shape)
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    check_shape(shape)
    return shape


def several_components(name: str, count: int) -> str:
    """The sentence about an image with more than one value a voxel."""
    return (
        f"'{name}' holds {count} values per voxel (colors, vectors or overlapping layers), and one "
        "gray-scale image is needed: choose one component and export that."
    )
