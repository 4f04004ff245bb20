"""The folder of a DICOM series: its slices, in their places, as one volume."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..errors import UserError
from .header import several_components, shape_in_space
from .itk import array_of, itk_reader, without_itk_warnings
from .lps import affine_from_lps, flipped
from .names import own_name

# A slice may lie this fraction of the slice distance off its place before the series counts as uneven;
# scanners round positions, and one missing slice puts some slice at least half a distance off.
_SLICE_TOLERANCE = 0.1
# DICOM objects that stand beside images in a folder and hold none.
_NOT_IMAGES = ("seg", "sr", "pr", "ko", "doc", "reg", "rtstruct", "rtplan", "rtrecord")


@dataclass(frozen=True, eq=False)
class _Slice:
    """What one file of a DICOM series says about its place, in LPS and mm."""

    file: str
    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray
    size: tuple[int, ...]
    components: int
    modality: str
    description: str


def read_dicom(folder: Path) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Voxels (I, J, K), affine and modality of the only image series in a folder.

    Raises:
        UserError: there is none, or more than one, or its slices form no single volume.
    """
    name = own_name(folder)
    with without_itk_warnings():
        slices = _placed_slices(folder)
        first = slices[0]
        if first.components > 1:
            raise UserError(several_components(name, first.components))
        if len(slices) == 1:  # one slice, or one file of many frames
            shape_in_space(first.size)
            affine = affine_from_lps(first.origin, first.spacing, first.direction)
        else:
            slices = _in_order(name, slices)
            affine = _affine_of_slices(name, slices)
        return _stacked(slices), affine, first.modality


def _placed_slices(folder: Path) -> list[_Slice]:
    """All slices of the only image series in a folder."""
    import SimpleITK

    name = own_name(folder)
    find = SimpleITK.ImageSeriesReader
    found = []
    for series in find.GetGDCMSeriesIDs(str(folder)):
        files = find.GetGDCMSeriesFileNames(str(folder), series)
        first = _slice(files[0])
        if first is not None and first.modality not in _NOT_IMAGES:
            found.append((first, files))
    if not found:
        raise UserError(
            f"The folder '{name}' holds no DICOM images (folders inside of it are not searched): give "
            "the folder that holds the files of one DICOM series, or an image file."
        )
    if len(found) > 1:
        raise UserError(_several_series(name, found))
    first, files = found[0]
    slices = [s for s in map(_slice, files) if s is not None]
    damaged = len(files) - len(slices) + _passed_over(folder, files, first.modality)
    if damaged:
        noun = "DICOM file" if damaged == 1 else "DICOM files"
        raise UserError(
            f"{damaged} {noun} in '{name}' cannot be read, so slices would be missing: copy or export the series again."
        )
    return slices


def _passed_over(folder: Path, files: Sequence[str], modality: str) -> int:
    """How many DICOM files of a modality GDCM left out of every series, as it does with those cut short."""
    listed = {Path(file).name for file in files}
    tag = re.compile(rb"\x08\x00\x60\x00(?:CS..|....)" + re.escape(modality.upper().encode()), re.DOTALL)
    count = 0
    for file in folder.iterdir():
        if modality and file.name not in listed and file.is_file():
            with file.open("rb") as opened:
                head = opened.read(1 << 14)
            count += head[128:132] == b"DICM" and tag.search(head) is not None
    return count


def _several_series(name: str, found: list[tuple[_Slice, Sequence[str]]]) -> str:
    listed = [
        f"{first.modality.upper() or 'unknown'} {first.description}".strip() + f", {len(files)} files"
        for first, files in found[:6]
    ]
    more = "; ..." if len(found) > len(listed) else ""
    return (
        f"The folder '{name}' holds {len(found)} DICOM series ({'; '.join(listed)}{more}), and one image is "
        "needed: put the files of the series you want into a folder of their own and give that."
    )


def _slice(file: str) -> _Slice | None:
    reader = itk_reader(file, "GDCMImageIO")
    try:
        reader.ReadImageInformation()
    except RuntimeError:
        return None

    def tag(key: str) -> str:
        return reader.GetMetaData(key).strip() if reader.HasMetaDataKey(key) else ""

    n = reader.GetDimension()
    return _Slice(
        file=file,
        origin=np.asarray(reader.GetOrigin()[:3]),
        spacing=np.asarray(reader.GetSpacing()[:3]),
        direction=np.reshape(reader.GetDirection(), (n, n))[:3, :3],
        size=tuple(reader.GetSize()),
        components=reader.GetNumberOfComponents(),
        modality=tag("0008|0060").lower(),
        description=tag("0008|103e"),
    )


def _in_order(name: str, slices: list[_Slice]) -> list[_Slice]:
    """The slices along their common normal, each place once."""
    first = slices[0]
    for other in slices[1:]:
        if (
            other.size != first.size
            or other.components != first.components
            or not np.allclose(other.spacing[:2], first.spacing[:2], rtol=1e-3)
            or not np.allclose(other.direction, first.direction, rtol=0, atol=1e-3)
        ):
            raise UserError(
                f"The slices in '{name}' differ in size, pixel spacing or direction, so they form no single "
                "volume (a scout view among them, perhaps): put the slices of one stack into a folder of "
                "their own."
            )
    places = np.array([s.origin @ first.direction[:, 2] for s in slices])
    order = np.argsort(places, kind="stable")
    different = 1 + int(np.count_nonzero(np.diff(places[order]) > 1e-3))
    if different < len(slices):
        raise UserError(
            f"The series in '{name}' holds {len(slices)} images at {different} slice positions (time points, "
            "echoes or copies of the same slices), and one 3D image is needed: put the slices of one of them "
            "into a folder of their own."
        )
    return [slices[i] for i in order]


def _affine_of_slices(name: str, slices: list[_Slice]) -> np.ndarray:
    """(4, 4) IJK to RAS by the positions of the slices; those of a tilted gantry show as a shear."""
    origins = np.stack([s.origin for s in slices])
    step = (origins[-1] - origins[0]) / (len(slices) - 1)
    off = np.linalg.norm(origins - origins[0] - np.arange(len(slices))[:, None] * step, axis=1)
    if off.max() > _SLICE_TOLERANCE * np.linalg.norm(step):
        raise UserError(_uneven(name, np.linalg.norm(np.diff(origins, axis=0), axis=1)))
    first = slices[0]
    lps = np.eye(4)
    lps[:3, :2] = first.direction[:, :2] * first.spacing[:2]
    lps[:3, 2] = step
    lps[:3, 3] = origins[0]
    return flipped(lps)


def _uneven(name: str, distances: np.ndarray) -> str:
    steps = distances / np.median(distances)
    whole = np.rint(steps)
    missing = int(np.sum(whole - 1))
    if np.all(np.abs(steps - whole) < _SLICE_TOLERANCE) and missing > 0:
        noun = "slice is" if missing == 1 else "slices are"
        return (
            f"{missing} {noun} missing in the series in '{name}' (the others lie {np.median(distances):.3g} "
            "mm apart): copy or export the whole series again."
        )
    return (
        f"The slices in '{name}' are unevenly spaced ({distances.min():.3g} to {distances.max():.3g} mm "
        "apart), and a volume needs even ones: export the whole series again, or resample it (in 3D Slicer: "
        "load it with acquisition geometry regularization, then harden the transform)."
    )


def _stacked(slices: list[_Slice]) -> np.ndarray:
    """(I, J, K) voxels. Read one by one, since slices may differ in their scaling and so in their type."""
    planes = []
    for s in slices:
        try:
            planes.append(array_of(itk_reader(s.file, "GDCMImageIO").Execute()))
        except RuntimeError as error:
            raise UserError(
                "A DICOM file of the series cannot be read, so it is damaged or compressed in a way that is "
                "not supported: copy the series again, or export it without compression."
            ) from error
    array = np.concatenate([plane.reshape(*plane.shape[:2], -1) for plane in planes], axis=2)
    return array.astype(np.float32) if array.dtype == np.float64 else array
