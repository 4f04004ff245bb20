"""Any image file or DICOM folder -> a checked Volume, or a sentence why not."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import UserError, plain_reason
from ..memory import ran_out_of_memory
from ..volume import Volume
from .dicom import read_dicom
from .itk import ITK_READERS, read_itk
from .names import IMAGE_ENDINGS, image_ending, own_name
from .nifti import read_nifti


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
        return read_dicom(path)
    ending = image_ending(path)
    try:
        if ending in ITK_READERS:
            return *read_itk(path, ITK_READERS[ending]), None
        return *read_nifti(path), None
    except (UserError, ImportError, AttributeError, TypeError, NameError):
        raise  # the last four are defects of the program, never the file's fault
    except Exception as error:  # each reader has its own errors for damaged files, most of no common class
        if ran_out_of_memory(error):
            raise UserError(
                f"'{path.name}' does not fit into the memory of this machine, or its header is damaged: crop or "
                "resample the image, or export it again."
            ) from error
        detached = " (the header needs its data file beside it)" if ending in (".mhd", ".nhdr") else ""
        raise UserError(
            f"'{path.name}' cannot be read, so it is damaged, incomplete{detached} or not what its ending "
            "says: copy or export it again."
        ) from error


def _check_readable(path: Path) -> None:
    try:
        if path.is_dir():
            if not any(path.iterdir()):
                raise UserError(f"The folder '{own_name(path)}' is empty: give a folder that holds one DICOM series.")
            return
        size = path.stat().st_size
        if image_ending(path) is None:
            raise UserError(_unsupported(path))
        if size == 0:
            raise UserError(f"'{path.name}' is empty (0 bytes): copy or export it again.")
        with path.open("rb"):
            pass
    except (FileNotFoundError, NotADirectoryError) as error:
        raise UserError(f"There is no file or folder '{path}': check the spelling of the path.") from error
    except OSError as error:
        reason = plain_reason(error)
        raise UserError(f"'{path.name}' cannot be opened ({reason}): check the file and its permissions.") from error


def _unsupported(path: Path) -> str:
    if path.suffix.lower() in (".dcm", ".ima", ".dicom"):
        return f"'{path.name}' is one file of a DICOM series: give the folder that holds the series."
    return (
        f"'{path.name}' does not end like an image that can be read ({', '.join(IMAGE_ENDINGS)}, or a folder "
        "that holds one DICOM series): convert it to one of these."
    )
