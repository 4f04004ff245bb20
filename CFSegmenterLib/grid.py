"""The model's grid: a volume's box, its axes put in the order of the patient's, at the spacing the network knows.

Going there and back is separable, because both grids fill the same box along the same three axes: one small matrix
an axis does all the resampling there is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

import numpy as np


@dataclass(frozen=True, eq=False)
class ModelGrid:
    """A ModelGrid takes arrays from a volume's own grid to the model's and back.

    The model's axes are the volume's own, permuted and flipped so that they run nearest to R, A and S; the box of
    the image is kept exactly, edge to edge, so the spacing is met to within half a voxel of the whole extent.
    An oblique volume stays oblique: it is never rotated, and nothing is lost at its corners.

    Attributes:
        order: the volume's axis that becomes the model's axis 0, 1, 2.
        flipped: whether that axis runs the other way.
        shape: voxels of the model's grid, in the model's order.
        volume_shape: voxels of the volume, in its own order.
        affine: (4, 4) index on the model's grid -> RAS in mm.
    """

    order: tuple[int, int, int]
    flipped: tuple[bool, bool, bool]
    shape: tuple[int, int, int]
    volume_shape: tuple[int, int, int]
    affine: np.ndarray

    @classmethod
    def fit(cls, volume_shape: tuple[int, int, int], affine: np.ndarray, spacing) -> ModelGrid:
        """Fit the grid of `spacing` (3,) mm along R, A, S to a volume of (I, J, K) voxels and IJK -> RAS `affine`."""
        matrix = np.asarray(affine, dtype=np.float64)[:3, :3]
        own_spacing = np.linalg.norm(matrix, axis=0)
        directions = matrix / own_spacing
        order = nearest_axes(directions)
        flipped = tuple(bool(directions[row, axis] < 0) for row, axis in enumerate(order))
        ordered = tuple(int(volume_shape[axis]) for axis in order)
        extent = np.array(ordered) * own_spacing[list(order)]
        shape = tuple(max(1, round(e / s)) for e, s in zip(extent, spacing))
        return cls(
            order=order,
            flipped=flipped,
            shape=shape,
            volume_shape=tuple(int(n) for n in volume_shape),
            affine=_affine_of(np.asarray(affine, dtype=np.float64), order, flipped, ordered, shape),
        )

    @property
    def is_identity(self) -> bool:
        """Whether both grids have the same voxels, so that nothing needs to be interpolated."""
        return self.shape == self.ordered_shape

    @property
    def ordered_shape(self) -> tuple[int, int, int]:
        """Voxels of the volume in the model's axis order."""
        return tuple(self.volume_shape[axis] for axis in self.order)

    @cached_property
    def forward_weights(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """An axis each, (model voxels, volume voxels) float32: band-limited, so that thin slices are averaged."""
        return tuple(axis_weights(there, here) for there, here in zip(self.shape, self.ordered_shape))

    @cached_property
    def taps(self) -> tuple[Taps, Taps, Taps]:
        """An axis each, in the model's order: where each of the volume's voxels lies between the model's."""
        return tuple(Taps.between(here, there) for here, there in zip(self.ordered_shape, self.shape))

    def reorder(self, array: np.ndarray) -> np.ndarray:
        """A volume's (I, J, K, ...) array in the model's axis order, not resampled; a view."""
        rest = tuple(range(3, array.ndim))
        turned = array.transpose(*self.order, *rest)
        return turned[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]

    def restore_order(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `reorder`; a view."""
        rest = tuple(range(3, array.ndim))
        turned = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flipped)]
        return turned.transpose(*np.argsort(self.order), *rest)

    def to_model(self, array: np.ndarray) -> np.ndarray:
        """Resample a volume's (I, J, K) intensities to the model's grid: float32, `shape`."""
        turned = self.reorder(array)
        if self.is_identity:
            return np.ascontiguousarray(turned, dtype=np.float32)
        return resample(turned, self.forward_weights)

    def labels_to_model(self, labels: np.ndarray) -> np.ndarray:
        """Resample a volume's (I, J, K) label map by each label's share of the voxel; same dtype, `shape`."""
        turned = np.ascontiguousarray(self.reorder(labels))
        if self.is_identity:
            return turned
        best = np.zeros(self.shape, dtype=np.float32)
        chosen = np.zeros(self.shape, dtype=labels.dtype)
        for label in np.unique(turned):
            share = resample((turned == label).astype(np.float32), self.forward_weights)
            wins = share > best
            best[wins], chosen[wins] = share[wins], label
        return chosen

    def to_volume(self, array: np.ndarray) -> np.ndarray:
        """Interpolate one (X, Y, Z) map from the model's grid to the volume's own: float32, (I, J, K)."""
        finer = np.asarray(array, dtype=np.float32)
        if not self.is_identity:
            for axis, taps in enumerate(self.taps):
                finer = taps.interpolate(finer, axis)
        return np.ascontiguousarray(self.restore_order(finer))

    def index_of(self, ras) -> tuple[int, int, int] | None:
        """The model voxel that holds the point `ras` (3,) in mm, or None outside the box."""
        index = np.linalg.solve(self.affine, np.append(np.asarray(ras, dtype=np.float64), 1.0))[:3]
        nearest = np.floor(index + 0.5)
        inside = np.all(nearest >= 0) and np.all(nearest < self.shape)  # never of what is no number
        return tuple(int(n) for n in nearest) if inside else None


@dataclass(frozen=True, eq=False)
class Taps:
    """Linear interpolation along one axis: voxel n lies between `low[n]` and `high[n]`, at `share[n]` of the way.

    Two taps a voxel, not a matrix: this is the way back to a large volume, and runs once per map.
    """

    low: np.ndarray
    high: np.ndarray
    share: np.ndarray

    @classmethod
    def between(cls, there: int, here: int) -> Taps:
        """Sample `here` voxels at `there` ones that fill the same length."""
        centers = np.clip((np.arange(there) + 0.5) * (here / there) - 0.5, 0, here - 1)
        low = np.floor(centers).astype(np.int64)
        return cls(low, np.minimum(low + 1, here - 1), (centers - low).astype(np.float32))

    def part(self, start: int, stop: int) -> tuple[Taps, slice]:
        """The taps of voxels `start`..`stop`, counted from the first voxel they need, and the voxels they need."""
        first, last = int(self.low[start]), int(self.high[stop - 1]) + 1
        return (
            Taps(self.low[start:stop] - first, self.high[start:stop] - first, self.share[start:stop]),
            slice(first, last),
        )

    def interpolate(self, array: np.ndarray, axis: int) -> np.ndarray:
        """Interpolate along one axis of an array of any number of axes."""
        share = self.share.reshape([-1 if a == axis else 1 for a in range(array.ndim)])
        below = array.take(self.low, axis)
        return below + (array.take(self.high, axis) - below) * share


def axis_weights(there: int, here: int) -> np.ndarray:
    """(there, here) float32 weights that resample one axis between two grids that fill the same length.

    Linear interpolation between voxel centres where the new grid is finer; where it is coarser the triangle widens
    to the new voxel's size, which averages instead of skipping. Rows sum to 1, and away from the ends their center
    of mass is the new voxel's center: nothing moves.
    """
    ratio = here / there
    centers = np.clip((np.arange(there) + 0.5) * ratio - 0.5, 0, here - 1)
    reach = max(1.0, ratio)
    offsets = np.arange(here)[None, :] - centers[:, None]
    weights = np.maximum(0.0, 1.0 - np.abs(offsets) / reach)
    # A triangle sampled off-center leans to one side; a slope across it puts it right.
    whole = (centers - reach >= -1) & (centers + reach <= here)
    lean = (weights * offsets).sum(axis=1) / np.maximum((weights * offsets**2).sum(axis=1), 1e-12)
    weights *= 1.0 - np.where(whole, lean, 0.0)[:, None] * offsets
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resample(array: np.ndarray, weights) -> np.ndarray:
    """Apply three axis matrices to the first three axes of (X, Y, Z, ...): float32.

    The axis that shrinks the array most goes first, so that the later products are small.
    """
    # In one order of memory, whatever the volume's own: sums then round alike for every orientation of a volume.
    result = np.ascontiguousarray(array, dtype=np.float32)
    for axis in sorted(range(3), key=lambda a: weights[a].shape[0] / weights[a].shape[1]):
        if weights[axis].shape[0] == weights[axis].shape[1]:
            continue
        result = np.moveaxis(np.tensordot(weights[axis], result, axes=(1, axis)), 0, axis)
    return np.ascontiguousarray(result)


def nearest_axes(directions: np.ndarray) -> tuple[int, int, int]:
    """(3, 3) voxel axes as columns -> the volume axis for R, A and S: the permutation that agrees best with them."""
    agreement = np.abs(directions)
    return max(permutations(range(3)), key=lambda order: sum(agreement[row, a] for row, a in enumerate(order)))


def _affine_of(affine, order, flipped, ordered_shape, shape) -> np.ndarray:
    """Index on the model's grid -> RAS: unflip and unpermute to the volume's index, then the volume's affine."""
    to_volume_index = np.zeros((4, 4))
    to_volume_index[3, 3] = 1
    for row, (axis, flip, here, there) in enumerate(zip(order, flipped, ordered_shape, shape)):
        scale = here / there
        first = 0.5 * scale - 0.5
        to_volume_index[axis, row] = -scale if flip else scale
        to_volume_index[axis, 3] = (here - 1 - first) if flip else first
    return affine @ to_volume_index
