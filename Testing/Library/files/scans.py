"""Images as files for the tests of reading and writing: grids of every handedness, ITK's images, DICOM series."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

SHAPE = (7, 9, 5)


def an_affine(axes: np.ndarray, spacing: Sequence[float] = (0.7, 1.3, 4.9)) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = axes * np.asarray(spacing)
    affine[:3, 3] = (-123.456789, 77.7777, -999.123)
    return affine


def some_rotation() -> np.ndarray:
    axes, _ = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))
    return axes * np.sign(np.linalg.det(axes))


AFFINES = {
    "RAS": an_affine(np.eye(3)),
    "LPS": an_affine(np.diag([-1, -1, 1])),
    "left-handed": an_affine(np.diag([-1, 1, 1])),
    "sagittal": an_affine(np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])),
    "oblique": an_affine(some_rotation()),
    "oblique left-handed": an_affine(some_rotation() * [1, 1, -1]),
}
every_affine = pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES.keys())


def noise(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    return np.random.default_rng(0).integers(-99, 99, size=shape).astype(np.int16)


def with_nan() -> np.ndarray:
    voxels = noise().astype(np.float32)
    voxels[0, 0, :3] = np.nan
    voxels[1, 1, 1] = np.inf
    return voxels


def an_itk_image(voxels: np.ndarray, affine: np.ndarray) -> SimpleITK.Image:
    """Built without the library's own conversion: ITK's axes are R and A turned round."""
    image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels.T))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin((affine[:3, 3] * [-1, -1, 1]).tolist())
    image.SetDirection((affine[:3, :3] / spacing * [[-1], [-1], [1]]).ravel().tolist())
    return image


def points_of_itk(image: SimpleITK.Image, indices: np.ndarray) -> np.ndarray:
    """Where ITK itself says that voxels lie, in RAS."""
    lps = [image.TransformIndexToPhysicalPoint([int(n) for n in index]) for index in indices]
    return np.asarray(lps) * [-1, -1, 1]


def assert_voxels_lie_where_itk_puts_them(affine: np.ndarray, image: SimpleITK.Image, atol: float = 1e-6) -> None:
    indices = np.array([(0, 0, 0), (6, 0, 0), (0, 8, 0), (0, 0, 4), (6, 8, 4), (2, 3, 1)])
    here = np.c_[indices, np.ones(len(indices))] @ affine.T
    np.testing.assert_allclose(here[:, :3], points_of_itk(image, indices), rtol=0, atol=atol)


def write_series(
    folder: Path,
    voxels: np.ndarray,
    affine: np.ndarray,
    modality: str = "CT",
    uid: str = "1.2.826.0.1.3680043.2.1125.1",
    places: Sequence[float] | None = None,
    names: Sequence[str] | None = None,
    more_tags: dict[int, dict[str, str]] | None = None,
    step: np.ndarray | None = None,
) -> None:
    """A DICOM series as SimpleITK writes it; `places` are slice positions in slices, `step` a vector in "
    "LPS."""
    folder.mkdir(exist_ok=True)
    lps = affine[:3] * [[-1], [-1], [1]]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    axes = lps[:, :3] / spacing
    step = lps[:, 2] if step is None else step
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(voxels.shape[2]):
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(voxels[:, :, k : k + 1].T))
        if more_tags and k in more_tags and "0028|1053" in more_tags[k]:
            image = SimpleITK.Cast(image, SimpleITK.sitkFloat64)  # ITK scales only what is floating point
        image.SetSpacing(spacing.tolist())
        position = lps[:, 3] + step * (k if places is None else places[k])
        tags = {
            "0008|0060": modality,
            "0008|0018": f"{uid}.{k + 1}",
            "0020|000d": "1.2.826.0.1.3680043.2.1125",
            "0020|000e": uid,
            "0020|0013": str(k + 1),
            "0020|0032": "\\".join(f"{x:.10g}" for x in position),
            "0020|0037": "\\".join(f"{x:.10f}" for x in axes[:, :2].T.ravel()),
        } | (more_tags or {}).get(k, {})
        for tag, value in tags.items():
            image.SetMetaData(tag, value)
        writer.SetFileName(str(folder / (names[k] if names else f"{k:04d}.dcm")))
        writer.Execute(image)
