"""NIfTI files: images, label maps, and maps of real numbers."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .header import several_components, shape_in_space
from .writing import write_atomically

_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}


def read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (I, J, K) and affine of a NIfTI file; voxels that the file scales come in float32.

    Raises:
        UserError: it holds no three-dimensional image of one value a voxel.
        Exception: nibabel's own, of many classes, where the file is damaged.
    """
    import nibabel

    # Not memory-mapped: the voxels stay valid when the file is replaced or its disk goes away.
    image = nibabel.load(path, mmap=False)
    if image.get_data_dtype().kind == "V":
        raise UserError(several_components(path.name, len(image.get_data_dtype())))
    shape = shape_in_space(image.shape)
    proxy = image.dataobj
    scaled = (proxy.slope, proxy.inter) != (1.0, 0.0)
    array = np.asarray(proxy, dtype=np.float32 if scaled else None)
    return array.reshape(shape, order="F"), _nifti_affine(image)


def _nifti_affine(image: Any) -> np.ndarray:
    affine = np.array(image.affine, dtype=np.float64)
    if not np.linalg.det(affine[:3, :3]) and image.header["qform_code"] > 0:
        affine = np.array(image.header.get_qform(), dtype=np.float64)  # an sform of zeros is left by some tools
    affine[:3] *= _MILLIMETRES.get(image.header.get_xyzt_units()[0], 1.0)
    return affine


def write_labels_nifti(path: str | os.PathLike[str], labels: np.ndarray, affine: np.ndarray) -> None:
    """Write a label map as NIfTI (.nii or .nii.gz).

    Args:
        path: where to.
        labels: (I, J, K) uint8 or uint16.
        affine: (4, 4) IJK to RAS in mm; NIfTI keeps it in float32.

    Raises:
        UserError: as `write_atomically`.
    """
    if labels.dtype not in (np.uint8, np.uint16):
        raise ValueError(f"labels are uint8 or uint16, not {labels.dtype}")
    _write_nifti(path, labels, affine, "labels")


def write_volume_nifti(path: str | os.PathLike[str], array: np.ndarray, affine: np.ndarray) -> None:
    """Write an image as NIfTI (.nii or .nii.gz), every voxel with the value that it has.

    Args:
        path: where to.
        array: (I, J, K) of any real type; whole numbers are stored in the smallest type that holds them.
        affine: (4, 4) IJK to RAS in mm; NIfTI keeps it in float32.

    Raises:
        UserError: as `write_atomically`.
    """
    _write_nifti(path, array.astype(_stored_type(array), copy=False), affine, "image")


def _stored_type(array: np.ndarray) -> np.dtype:
    """A type that NIfTI knows, and that holds every voxel of an image."""
    if array.dtype.kind == "f":
        return np.dtype(np.float32 if array.dtype.itemsize < 4 else array.dtype)
    low, high = int(array.min()), int(array.max())
    kinds = (np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64)
    return next(np.dtype(k) for k in kinds if np.iinfo(k).min <= low and high <= np.iinfo(k).max)


def write_map_nifti(path: str | os.PathLike[str], array: np.ndarray, affine: np.ndarray, description: str) -> None:
    """Write a map of real numbers as NIfTI (.nii or .nii.gz) in float32.

    Args:
        path: where to.
        array: (I, J, K).
        affine: (4, 4) IJK to RAS in mm; NIfTI keeps it in float32.
        description: for the header, which keeps its first 79 bytes.

    Raises:
        UserError: as `write_atomically`.
    """
    _write_nifti(path, np.asarray(array, dtype=np.float32), affine, description)


def _write_nifti(path: str | os.PathLike[str], array: np.ndarray, affine: np.ndarray, description: str) -> None:
    import nibabel

    if array.ndim != 3:
        raise ValueError(f"a volume has three dimensions, not {array.ndim}")
    image = nibabel.Nifti1Image(array, affine, dtype=array.dtype)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("utf-8")[:79].decode("utf-8", "ignore").encode("utf-8")
    with write_atomically(path) as partial:
        nibabel.save(image, partial)
