"""A Volume: voxels, where they lie in the patient, and what made them."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .errors import UserError

# Cosine between two voxel axes above which the grid counts as sheared (0.06 degrees; 0.3 mm over 300 mm).
# Rounding in DICOM cosines and in the float32 matrix of NIfTI stays far below it, a tilted gantry far above.
SHEAR_TOLERANCE = 1e-3
# A determinant of the unit axes below this means that they lie nearly in one plane: no inverse worth having.
SINGULAR_TOLERANCE = 1e-6
SPACING_LIMITS_MM = (0.01, 100.0)


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels on a grid in space.

    The plain constructor checks nothing and is meant for arrays that come from a checked volume (crops,
    resampled grids); `Volume.checked` and `check_volume` answer for what comes from outside. Nothing here
    modifies `array`.

    Attributes:
        array: (I, J, K), any real dtype.
        affine: (4, 4) float64, voxel index IJK to millimetres RAS, voxel centres at whole indices.
        modality: "ct", "mr", "mr-t1", ... (see `plain_modality`); None where it is not known.
    """

    array: np.ndarray
    affine: np.ndarray
    modality: str | None = None

    @classmethod
    def checked(
        cls,
        array: np.ndarray,
        affine: np.ndarray,
        modality: str | None = None,
        *,
        allow_constant: bool = False,
    ) -> Volume:
        """Build a volume that can be segmented, or say in one sentence why it cannot.

        The voxels are shared with `array`; they are copied only where their number format is one that torch
        cannot hold (foreign byte order, floats wider than 64 bits).

        Args:
            array: (I, J, K), boolean, integer or floating point, finite.
            affine: (4, 4), IJK to RAS in millimetres; rotated, flipped and anisotropic grids are welcome.
            modality: in any spelling.
            allow_constant: accept voxels that are all the same, as an empty label map has.

        Raises:
            UserError: the voxels or the affine cannot be used.
        """
        voxels = _native(np.asarray(array))
        check_shape(voxels.shape)
        _check_values(voxels, allow_constant)
        return cls(voxels, _checked_affine(affine), _normalized(modality))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along I, J and K."""
        i, j, k = self.array.shape
        return i, j, k

    @property
    def spacing(self) -> np.ndarray:
        """(3,) distance between neighbouring voxel centres along I, J, K in millimetres."""
        return spacing_of(self.affine)

    @property
    def extent(self) -> np.ndarray:
        """(3,) size of the box that all voxels fill, edge to edge, along I, J, K in millimetres."""
        return self.spacing * np.asarray(self.array.shape, dtype=np.float64)

    @property
    def directions(self) -> np.ndarray:
        """(3, 3) unit vectors of the I, J and K axes in RAS, as columns; determinant -1 if left-handed."""
        return directions_of(self.affine)

    @property
    def voxel_volume_ml(self) -> float:
        """Volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    def on_same_grid_as(self, other: Volume, tolerance_mm: float = 0.01) -> bool:
        """Tell whether both have the same shape and no corner voxel lies more than `tolerance_mm` apart."""
        if self.array.shape != other.array.shape:
            return False
        last = np.asarray(self.array.shape) - 1
        corners = np.stack(np.meshgrid(*[(0, n) for n in last], indexing="ij"), axis=-1).reshape(-1, 3)
        corners = np.c_[corners, np.ones(len(corners))]
        apart = np.linalg.norm((corners @ (self.affine - other.affine).T)[:, :3], axis=1)
        return bool(np.all(apart <= tolerance_mm))


def check_volume(volume: Volume) -> Volume:
    """Return `volume` checked as by `Volume.checked`, sharing its voxels.

    Raises:
        UserError: the voxels or the affine cannot be used.
    """
    return Volume.checked(volume.array, volume.affine, volume.modality)


def check_shape(shape: tuple[int, ...]) -> None:
    """Accept the shape of a 3D image of at least two voxels along every axis.

    Raises:
        UserError: for any other; says what it is instead.
    """
    if len(shape) < 2:
        raise UserError(f"The voxels have {len(shape)} dimensions, and a volume has 3: choose a 3D image.")
    if len(shape) > 3:
        raise UserError(
            f"The image has {len(shape)} dimensions ({_times(shape)}), as a time series or a color image "
            "has, and one 3D image is segmented at a time: choose one frame (or one component)."
        )
    if 0 in shape:
        raise UserError(f"The image is empty ({_times(shape)} voxels): choose an image that has voxels.")
    if set(shape) == {1}:
        raise UserError("The image is a single voxel, in which there is nothing to find: choose a 3D image.")
    if len(shape) == 2 or 1 in shape:
        raise UserError(
            f"The image is two-dimensional ({_times(shape)} voxels), and the network looks at structures in "
            "three: choose a 3D image of at least two slices along every axis."
        )


def spacing_of(affine: np.ndarray) -> np.ndarray:
    """(3,) lengths of the voxel axes of a (4, 4) affine."""
    return np.linalg.norm(affine[:3, :3], axis=0)


def directions_of(affine: np.ndarray) -> np.ndarray:
    """(3, 3) unit vectors of the voxel axes of a (4, 4) affine, as columns."""
    return affine[:3, :3] / spacing_of(affine)


def plain_modality(said: str) -> str:
    """What made an image, in one spelling: "MRI T1" and "t1w" are "mr-t1", "CT" is "ct"."""
    words = re.sub(r"[ _]+", "-", said.strip().lower())
    # The Decathlon writes "MRI" where DICOM, and so every scan that is to be segmented, says "MR".
    words = re.sub(r"^mri(?=-|$)", "mr", words)
    return re.sub(r"^(mr-)?(t1|t2)w?(?=-|$)", r"mr-\2", words)


def _normalized(modality: str | None) -> str | None:
    return plain_modality(modality or "") or None


def _times(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)


def _native(voxels: np.ndarray) -> np.ndarray:
    """The same voxels in a number format that torch can hold, copied only where they are in another."""
    if voxels.dtype.kind == "f" and voxels.dtype.itemsize > 8:
        return voxels.astype(np.float64)
    if voxels.dtype.isnative:
        return voxels
    return voxels.astype(voxels.dtype.newbyteorder("="))


def _check_values(voxels: np.ndarray, allow_constant: bool) -> None:
    kind = voxels.dtype.kind
    if kind == "c":
        raise UserError("The voxels are complex numbers, and the network reads real ones: give the image's magnitude.")
    if kind not in "biuf":
        raise UserError(
            f"The voxels are not plain numbers (their type is {voxels.dtype}), and the network reads gray "
            "values: give an image of integers or of floating-point numbers."
        )
    # Least and greatest show every NaN and infinity without a second array of the size of the image.
    with np.errstate(invalid="ignore"):
        low, high = voxels.min(), voxels.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        raise UserError(_not_finite(voxels))
    if low == high and not allow_constant:
        raise UserError(
            f"Every voxel of the image has the same value ({low:g}), so there is nothing to see in it: check "
            "that the right image was chosen and that it was exported completely."
        )


def _not_finite(voxels: np.ndarray) -> str:
    nan = sum(int(np.count_nonzero(np.isnan(plane))) for plane in voxels)
    infinite = sum(int(np.count_nonzero(np.isinf(plane))) for plane in voxels)
    counts = [f"{count:,} {name}" for count, name in ((nan, "NaN"), (infinite, "infinite")) if count]
    verb = "voxel is" if nan + infinite == 1 else "voxels are"
    return (
        f"{' and '.join(counts)} of {voxels.size:,} {verb} not a number that can be measured: replace them "
        "(for instance by the value of air or by 0) and try again."
    )


def _checked_affine(affine: np.ndarray) -> np.ndarray:
    try:
        matrix = np.array(affine, dtype=np.float64)
    except (TypeError, ValueError):
        matrix = np.empty(0)
    if matrix.shape != (4, 4):
        raise UserError("The affine is not a matrix of 4 x 4 numbers: give the one that takes IJK to RAS in mm.")
    if not np.all(np.isfinite(matrix)):
        raise UserError(
            "The affine of the image holds NaN or infinite numbers, so nobody can tell where its voxels lie: "
            "repair the header or export the image again."
        )
    if not np.allclose(matrix[3], (0, 0, 0, 1), rtol=0, atol=1e-9):
        raise UserError("The last row of the affine is not 0 0 0 1: give the matrix that takes IJK to RAS in mm.")
    _check_spacing(matrix)
    _check_axes(matrix)
    return matrix


def _check_spacing(matrix: np.ndarray) -> None:
    spacing = spacing_of(matrix)
    shown = _times(tuple(f"{s:.4g}" for s in spacing))
    if np.any(spacing == 0):
        raise UserError(
            f"The affine of the image is singular: the spacing is {shown} mm, and a spacing of 0 puts all "
            "slices in one place; repair the header or export the image again."
        )
    low, high = SPACING_LIMITS_MM
    if np.any(spacing < low) or np.any(spacing > high):
        raise UserError(
            f"The spacing of the image is {shown} mm, outside of {low:g} to {high:g} mm, so its header is "
            "probably in another unit or damaged: correct the spacing and try again."
        )


def _check_axes(matrix: np.ndarray) -> None:
    directions = directions_of(matrix)
    if abs(np.linalg.det(directions)) < SINGULAR_TOLERANCE:
        raise UserError(
            "The affine of the image is singular (its axes lie in one plane), so nobody can tell where its "
            "voxels lie: repair the header or export the image again."
        )
    cosines = np.abs(directions.T @ directions - np.eye(3))
    if cosines.max() > SHEAR_TOLERANCE:
        degrees = np.degrees(np.arcsin(min(cosines.max(), 1.0)))
        raise UserError(
            f"The axes of the image are not at right angles (off by {degrees:.2g} degrees, as with a tilted "
            "CT gantry or a sheared transform): resample it to a rectangular grid first (in 3D Slicer: "
            "harden the transform, then use Resample Scalar/Vector/DWI Volume)."
        )
