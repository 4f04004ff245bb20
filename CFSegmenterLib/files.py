"""Images in, segmentations out: every file of patient data or results passes through here.

Files of ITK and DICOM speak LPS, the library speaks RAS; the conversion happens in `affine_from_lps` and
`lps_from_affine` and nowhere else. Every writer writes beside the final name first and renames at the end.
"""

from __future__ import annotations

import errno
import io
import json
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import numpy as np

from .errors import UserError
from .volume import Volume, check_shape

IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
_ITK_READERS = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}
_MILLIMETRES = {"meter": 1000.0, "micron": 0.001}
_RAS_FROM_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# A slice may lie this fraction of the slice distance off its place before the series counts as uneven;
# scanners round positions, and one missing slice puts some slice at least half a distance off.
_SLICE_TOLERANCE = 0.1
# DICOM objects that stand beside images in a folder and hold none.
_NOT_IMAGES = ("seg", "sr", "pr", "ko", "doc", "reg", "rtstruct", "rtplan", "rtrecord")


@dataclass(frozen=True, eq=False)
class SegmentLayer:
    """One segment of a .seg.nrrd file: the voxels of `layer` that equal `label_value`, and how to show them.

    Segments that are given the very same array share a layer of the file; segments that overlap are given
    different arrays.

    Attributes:
        id: unique within the file.
        name: what the user reads.
        color: red, green, blue of 0 to 255.
        terminology: Slicer's terminology entry ("context~category~type~modifier~context~region~modifier"),
            or empty.
        label_value: 1 to 65535.
        layer: (I, J, K) boolean or non-negative integers.
    """

    id: str
    name: str
    color: tuple[int, int, int]
    terminology: str
    label_value: int
    layer: np.ndarray


# --- geometry ---------------------------------------------------------------------------------------------


def affine_from_lps(
    origin: Sequence[float], spacing: Sequence[float], direction: Sequence[float] | np.ndarray
) -> np.ndarray:
    """(4, 4) IJK to RAS from ITK's geometry in LPS: origin (3), spacing (3), direction (9 or 3 x 3); mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(direction, (3, 3)) * np.asarray(spacing, dtype=np.float64)
    affine[:3, 3] = origin
    return _flipped(affine)


def lps_from_affine(affine: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Origin (3), spacing (3) and row-major direction (9) in LPS of a (4, 4) affine from IJK to RAS."""
    lps = _flipped(affine)
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    direction = lps[:3, :3] / spacing
    return tuple(lps[:3, 3].tolist()), tuple(spacing.tolist()), tuple(direction.ravel().tolist())


def _flipped(affine: np.ndarray) -> np.ndarray:
    """RAS to LPS or back; adding 0 turns -0 into 0, which would look odd in a header."""
    return _RAS_FROM_LPS @ np.asarray(affine, dtype=np.float64) + 0.0


# --- names ------------------------------------------------------------------------------------------------


def image_stem(path: str | os.PathLike[str]) -> str:
    """The name of an image without its ending ("ct.v2.nii.gz" gives "ct.v2"); all of a folder's name."""
    path = Path(path)
    name = _name(path)
    ending = _ending(Path(name))
    if path.is_dir() or ending is None:
        return name or "image"
    return name[: -len(ending)] or "image"


def _name(path: Path) -> str:
    """The last part of a path, also of "." and ".."."""
    return path.name if path.name not in ("", "..") else path.resolve().name


def _ending(path: Path) -> str | None:
    """The ending of a supported image file in lower case, or None."""
    name = path.name.lower()
    return next((ending for ending in IMAGE_ENDINGS if name.endswith(ending)), None)


# --- reading ----------------------------------------------------------------------------------------------


def read_volume(path: str | os.PathLike[str], modality: str | None = None) -> Volume:
    """Read a 3D image.

    Args:
        path: a NIfTI, NRRD or MetaImage file, or a folder that holds one DICOM series.
        modality: wins over what the file says; only DICOM says it ("ct", "mr", ...).

    Returns:
        The checked volume; integers stay integers unless the file scales them, then they become float32.

    Raises:
        UserError: there is no such file, or it cannot be read, or it holds no 3D image that can be used.
    """
    array, affine, tagged = _read_grid(Path(path))
    return Volume.checked(array, affine, modality or tagged)


def read_labels(path: str | os.PathLike[str]) -> Volume:
    """Read a label map: (I, J, K) of the smallest unsigned type that holds its values, 0 for background.

    Raises:
        UserError: as `read_volume`, and where a value is negative, not whole or beyond 65535.
    """
    path = Path(path)
    array, affine, _ = _read_grid(path)
    volume = Volume.checked(array, affine, allow_constant=True)
    return Volume(_as_labels(volume.array, path.name), volume.affine)


def _as_labels(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.kind == "f" and not all(np.array_equal(plane, np.rint(plane)) for plane in array):
        raise UserError(
            f"'{name}' holds values that are not whole numbers, so it is an image or a probability map and "
            "not a label map: give the file in which every voxel is the number of a structure."
        )
    low, high = int(array.min()), int(array.max())
    if low < 0:
        raise UserError(
            f"'{name}' holds negative values (down to {low}), and labels are numbers from 0 (background) up: "
            "give a label map, or change the negative values to 0."
        )
    if high > np.iinfo(np.uint16).max:
        raise UserError(
            f"'{name}' holds values up to {high}, and labels go up to 65535: give a label map whose "
            "structures are numbered from 1."
        )
    return array.astype(np.uint8 if high <= np.iinfo(np.uint8).max else np.uint16, copy=False)


def _read_grid(path: Path) -> tuple[np.ndarray, np.ndarray, str | None]:
    """Voxels, affine and modality (if the file says it) of whatever lies at `path`."""
    _check_readable(path)
    if path.is_dir():
        return _read_dicom(path)
    ending = _ending(path)
    try:
        if ending in _ITK_READERS:
            return *_read_itk(path, _ITK_READERS[ending]), None
        return *_read_nifti(path), None
    except (UserError, ImportError, AttributeError, TypeError, NameError):
        raise  # the last four are defects of the program, never the file's fault
    except MemoryError as error:
        raise UserError(
            f"'{path.name}' does not fit into the memory of this machine, or its header is damaged: crop or "
            "resample the image, or export it again."
        ) from error
    except Exception as error:  # each reader has its own errors for damaged files, most of no common class
        detached = " (the header needs its data file beside it)" if ending in (".mhd", ".nhdr") else ""
        raise UserError(
            f"'{path.name}' cannot be read, so it is damaged, incomplete{detached} or not what its ending "
            "says: copy or export it again."
        ) from error


def _check_readable(path: Path) -> None:
    try:
        if path.is_dir():
            if not any(path.iterdir()):
                raise UserError(f"The folder '{_name(path)}' is empty: give a folder that holds one DICOM series.")
            return
        size = path.stat().st_size
        if _ending(path) is None:
            raise UserError(_unsupported(path))
        if size == 0:
            raise UserError(f"'{path.name}' is empty (0 bytes): copy or export it again.")
        with path.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"There is no file or folder '{path}': check the spelling of the path.") from error
    except OSError as error:
        reason = _plain_reason(error)
        raise UserError(f"'{path.name}' cannot be opened ({reason}): check the file and its permissions.") from error


def _unsupported(path: Path) -> str:
    if path.suffix.lower() in (".dcm", ".ima", ".dicom"):
        return f"'{path.name}' is one file of a DICOM series: give the folder that holds the series."
    return (
        f"'{path.name}' does not end like an image that can be read ({', '.join(IMAGE_ENDINGS)}, or a folder "
        "that holds one DICOM series): convert it to one of these."
    )


def _read_nifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    import nibabel

    # Not memory-mapped: the voxels stay valid when the file is replaced or its disk goes away.
    image = nibabel.load(path, mmap=False)
    if image.get_data_dtype().kind == "V":
        raise UserError(_several_components(path.name, len(image.get_data_dtype())))
    shape = _without_trailing_ones(image.shape)
    check_shape(shape)
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


def _without_trailing_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    return tuple(int(n) for n in shape)


def _several_components(name: str, count: int) -> str:
    return (
        f"'{name}' holds {count} values per voxel (colors, vectors or overlapping layers), and one "
        "gray-scale image is needed: choose one component and export that."
    )


def _read_itk(path: Path, image_io: str) -> tuple[np.ndarray, np.ndarray]:
    reader = _itk_reader(str(path), image_io)
    with _without_itk_warnings():
        reader.ReadImageInformation()
        if reader.GetNumberOfComponents() > 1:
            raise UserError(_several_components(path.name, reader.GetNumberOfComponents()))
        shape = _without_trailing_ones(reader.GetSize())
        check_shape(shape)
        array = _array_of(reader.Execute()).reshape(shape, order="F")
    n = reader.GetDimension()
    direction = np.reshape(reader.GetDirection(), (n, n))[:3, :3]
    return array, affine_from_lps(reader.GetOrigin()[:3], reader.GetSpacing()[:3], direction)


def _itk_reader(file: str, image_io: str) -> Any:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(image_io)  # by name, since some of ITK's readers refuse endings in capitals
    reader.SetFileName(file)
    return reader


def _array_of(image: Any) -> np.ndarray:
    """The voxels of a SimpleITK image with I first."""
    import SimpleITK

    return SimpleITK.GetArrayFromImage(image).T


@contextmanager
def _without_itk_warnings() -> Iterator[None]:
    """Keep ITK from printing to standard error, file names included; what matters is checked here."""
    import SimpleITK

    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)


# --- DICOM ------------------------------------------------------------------------------------------------


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


def _read_dicom(folder: Path) -> tuple[np.ndarray, np.ndarray, str | None]:
    name = _name(folder)
    with _without_itk_warnings():
        slices = _placed_slices(folder)
        first = slices[0]
        if first.components > 1:
            raise UserError(_several_components(name, first.components))
        if len(slices) == 1:  # one slice, or one file of many frames
            check_shape(_without_trailing_ones(first.size))
            affine = affine_from_lps(first.origin, first.spacing, first.direction)
        else:
            slices = _in_order(name, slices)
            affine = _affine_of_slices(name, slices)
        return _stacked(slices), affine, first.modality


def _placed_slices(folder: Path) -> list[_Slice]:
    """All slices of the only image series in a folder."""
    import SimpleITK

    name = _name(folder)
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
    reader = _itk_reader(file, "GDCMImageIO")
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
    return _flipped(lps)


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
            planes.append(_array_of(_itk_reader(s.file, "GDCMImageIO").Execute()))
        except RuntimeError as error:
            raise UserError(
                "A DICOM file of the series cannot be read, so it is damaged or compressed in a way that is "
                "not supported: copy the series again, or export it without compression."
            ) from error
    array = np.concatenate([plane.reshape(*plane.shape[:2], -1) for plane in planes], axis=2)
    return array.astype(np.float32) if array.dtype == np.float64 else array


# --- writing ----------------------------------------------------------------------------------------------


@contextmanager
def write_atomically(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a path to write to, in the same folder and with the same ending; rename it to `path` on success.

    On any failure, a keyboard interrupt included, the unfinished file is removed and what stood under `path`
    before stays as it was.

    Raises:
        UserError: the folder cannot be written to, or the disk is full.
    """
    final = Path(path)
    partial = final.with_name(f".{secrets.token_hex(4)}-{final.name[-200:]}")
    try:
        _check_writable(final)
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        os.replace(partial, final)
    except OSError as error:
        ours = {str(p) for p in (None, partial, final, final.parent)}
        if str(error.filename) not in ours:
            raise  # the caller stumbled over another file
        raise UserError(_cannot_write(final, error)) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write UTF-8 text atomically.

    Raises:
        UserError: as `write_atomically`.
    """
    with write_atomically(path) as partial:
        partial.write_bytes(text.encode("utf-8"))


def write_json(path: str | os.PathLike[str], obj: Any) -> None:
    """Write JSON atomically: keys in their order, two blanks of indent, UTF-8, a line break at the end.

    NumPy numbers and arrays are written as numbers and lists.

    Raises:
        UserError: as `write_atomically`.
        ValueError: a number is NaN or infinite, which JSON does not know.
        TypeError: `obj` holds what JSON does not know.
    """
    write_text(path, json.dumps(obj, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n")


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


def write_seg_nrrd(path: str | os.PathLike[str], segments: Sequence[SegmentLayer], affine: np.ndarray) -> None:
    """Write a segmentation that 3D Slicer opens as is: names, colors, terminology, overlapping layers.

    Args:
        path: ends with .seg.nrrd.
        segments: at least one, in the order in which they are shown.
        affine: (4, 4) IJK to RAS in mm, kept to the last digit.

    Raises:
        UserError: as `write_atomically`.
        ValueError: the segments contradict one another.
    """
    import slicerio

    _check_segments(segments)
    layers = list({id(s.layer): s.layer for s in segments}.values())
    place = {id(layer): number for number, layer in enumerate(layers)}
    voxels = _packed(layers, segments)
    segmentation = {
        "voxels": voxels,
        "ijkToLPS": _flipped(affine),
        "containedRepresentationNames": ["Binary labelmap"],
        "conversionParameters": [_reference_geometry(voxels.shape[-3:], affine)],
        "masterRepresentation": "Binary labelmap",
        "Segmentation_SourceRepresentation": "Binary labelmap",  # its name since Slicer 5
        "referenceImageExtentOffset": [0, 0, 0],
        "segments": [_segment_header(s, place[id(s.layer)], voxels.shape[-3:]) for s in segments],
    }
    with write_atomically(path) as partial, _Utf8Header(partial) as file:
        slicerio.write_segmentation(file, segmentation, compression_level=4)


def _check_segments(segments: Sequence[SegmentLayer]) -> None:
    if not segments:
        raise ValueError("a segmentation needs at least one segment")
    if any(s.layer.ndim != 3 or s.layer.shape != segments[0].layer.shape for s in segments):
        raise ValueError("the layers of a segmentation are three-dimensional and of one shape")
    if any(s.layer.dtype.kind not in "bui" or s.layer.min(initial=0) < 0 for s in segments):
        raise ValueError("a layer holds booleans or non-negative integers")
    if any(not 1 <= s.label_value <= np.iinfo(np.uint16).max for s in segments):
        raise ValueError("a label value is 1 to 65535")
    if any(not 0 <= c <= 255 for s in segments for c in s.color):
        raise ValueError("a color is three numbers of 0 to 255")
    if len({s.id for s in segments}) < len(segments):
        raise ValueError("two segments have the same id")
    if len({(id(s.layer), s.label_value) for s in segments}) < len(segments):
        raise ValueError("two segments have the same label value in the same layer")


def _packed(layers: Sequence[np.ndarray], segments: Sequence[SegmentLayer]) -> np.ndarray:
    """(I, J, K) for one layer, else (layer, I, J, K); without the labels that no segment names."""
    largest = max(s.label_value for s in segments)
    dtype = np.uint8 if largest <= np.iinfo(np.uint8).max else np.uint16
    packed = np.empty((len(layers), *layers[0].shape), dtype=dtype, order="F")
    for number, layer in enumerate(layers):
        kept = np.zeros(max(int(layer.max(initial=0)), largest) + 1, dtype=dtype)
        for segment in segments:
            if segment.layer is layer:
                kept[segment.label_value] = segment.label_value
        packed[number] = kept[layer.astype(np.uint8) if layer.dtype == bool else layer]
    return packed[0] if len(layers) == 1 else packed


def _segment_header(segment: SegmentLayer, layer: int, shape: tuple[int, ...]) -> dict[str, Any]:
    tags = {"Segmentation.Status": "inprogress"}  # Slicer's word for "nobody has approved it yet"
    if segment.terminology:
        tags["TerminologyEntry"] = _header_text(segment.terminology.replace("|", "/"))
    return {
        "id": _header_text(segment.id),
        "name": _header_text(segment.name),
        "nameAutoGenerated": False,
        "color": [round(c / 255, 6) for c in segment.color],
        "colorAutoGenerated": False,
        # The whole grid: Slicer crops all segments of a layer to the extent of the layer's first.
        "extent": [v for n in shape for v in (0, n - 1)],
        "labelValue": int(segment.label_value),
        "layer": layer,
        "tags": tags,
    }


def _reference_geometry(shape: tuple[int, ...], affine: np.ndarray) -> dict[str, str]:
    """The grid on which Slicer edits the segments further: the image's own."""
    matrix = [f"{v:.17g}" for v in (np.asarray(affine, dtype=np.float64) + 0.0).ravel()]
    extent = [str(v) for n in shape for v in (0, n - 1)]
    return {
        "name": "Reference image geometry",
        "value": ";".join(matrix + extent) + ";",
        "description": "Image geometry description string determining the geometry of the labelmap that is "
        "created in course of conversion.&",  # Slicer drops the last parameter without a closing ampersand
    }


def _header_text(text: str) -> str:
    """Text as one header line: no control characters, and percent-encoded where `_Utf8Header` decodes it."""
    printable = "".join(c if c.isprintable() and c != "\\" else " " for c in text)
    ascii_but_percent = "".join(chr(c) for c in range(32, 127) if chr(c) != "%")
    return quote(" ".join(printable.split()), safe=ascii_but_percent)


class _Utf8Header(io.FileIO):
    """A file for pynrrd, which writes headers in ASCII only, while Slicer reads and writes them in UTF-8."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, "wb")
        self._in_header = True

    def write(self, data: Any) -> int:
        if self._in_header:
            self._in_header = data != b"\n"
            data = unquote_to_bytes(data)
        left = memoryview(data)
        while left:  # a raw file may take less than it is given
            left = left[super().write(left) :]
        return len(data)


def _write_nifti(path: str | os.PathLike[str], array: np.ndarray, affine: np.ndarray, description: str) -> None:
    import nibabel

    if array.ndim != 3:
        raise ValueError(f"a volume has three dimensions, not {array.ndim}")
    image = nibabel.Nifti1Image(array, affine)
    image.set_sform(affine, code="scanner")
    image.set_qform(affine, code="scanner")
    image.header.set_xyzt_units("mm")
    image.header["descrip"] = description.encode("utf-8")[:79].decode("utf-8", "ignore").encode("utf-8")
    with write_atomically(path) as partial:
        nibabel.save(image, partial)


def _check_writable(final: Path) -> None:
    if final.is_dir():
        raise UserError(f"'{final}' is a folder, and a file of that name is to be written: choose another name.")
    if not final.parent.is_dir():
        raise UserError(f"There is no folder '{final.parent}' to write '{final.name}' into: create it first.")


def _cannot_write(final: Path, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        reason = _plain_reason(error)
        return f"'{final.name}' cannot be written ({reason}): free some space or choose another disk."
    return (
        f"'{final.name}' cannot be written to '{final.parent}' ({_plain_reason(error)}): choose a folder "
        "that you may write to."
    )


def _plain_reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")
