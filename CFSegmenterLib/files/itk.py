"""Reading with SimpleITK: NRRD and MetaImage files, and what DICOM needs of it, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import UserError
from .header import several_components, shape_in_space
from .lps import affine_from_lps

ITK_READERS = {
    ".nrrd": "NrrdImageIO",
    ".nhdr": "NrrdImageIO",
    ".mha": "MetaImageIO",
    ".mhd": "MetaImageIO",
}


def read_itk(path: Path, image_io: str) -> tuple[np.ndarray, np.ndarray]:
    """Voxels (I, J, K) and affine of a NRRD or MetaImage file; `image_io` is the name of ITK's reader for it.

    Raises:
        UserError: it holds no three-dimensional image of one value a voxel.
        RuntimeError: ITK cannot read it.
    """
    reader = itk_reader(str(path), image_io)
    with without_itk_warnings():
        reader.ReadImageInformation()
        if reader.GetNumberOfComponents() > 1:
            raise UserError(several_components(path.name, reader.GetNumberOfComponents()))
        shape = shape_in_space(reader.GetSize())
        array = array_of(reader.Execute()).reshape(shape, order="F")
    n = reader.GetDimension()
    direction = np.reshape(reader.GetDirection(), (n, n))[:3, :3]
    return array, affine_from_lps(reader.GetOrigin()[:3], reader.GetSpacing()[:3], direction)


def itk_reader(file: str, image_io: str) -> Any:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    reader.SetImageIO(image_io)  # by name, since some of ITK's readers refuse endings in capitals
    reader.SetFileName(file)
    return reader


def array_of(image: Any) -> np.ndarray:
    """The voxels of a SimpleITK image with I first."""
    import SimpleITK

    return SimpleITK.GetArrayFromImage(image).T


@contextmanager
def without_itk_warnings() -> Iterator[None]:
    """Keep ITK from printing to standard error, file names included; what matters is checked here."""
    import SimpleITK

    before = SimpleITK.ProcessObject.GetGlobalWarningDisplay()
    SimpleITK.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        yield
    finally:
        SimpleITK.ProcessObject.SetGlobalWarningDisplay(before)
