"""Names of images: which endings can be read, and what is left without them."""

from __future__ import annotations

import os
from pathlib import Path

IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")


def image_stem(path: str | os.PathLike[str]) -> str:
    """The name of an image without its ending ("ct.v2.nii.gz" gives "ct.v2"); all of a folder's name."""
    path = Path(path)
    name = own_name(path)
    ending = image_ending(Path(name))
    if path.is_dir() or ending is None:
        return name or "image"
    return name[: -len(ending)] or "image"


def own_name(path: Path) -> str:
    """The last part of a path, also of "." and ".."."""
    return path.name if path.name not in ("", "..") else path.resolve().name


def image_ending(path: Path) -> str | None:
    """The ending of a supported image file in lower case, or None."""
    name = path.name.lower()
    return next((ending for ending in IMAGE_ENDINGS if name.endswith(ending)), None)
