"""`cfsegmenter similarity`: how much every voxel resembles a structure, or a painted example."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError
from . import options
from .console import print_table, say, shown
from .segment import known_protocol

if TYPE_CHECKING:
    from ..encoding import Encoding, Query
    from ..volume import Volume

PAINTED = "painted example"
THRESHOLD = 0.5


def similarity(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="A NIfTI, NRRD or MetaImage file, or a DICOM folder.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="A file ending in .nii.gz or .nii, or a folder.")],
    structure: Annotated[str | None, typer.Option("--structure", "-s", help="The structure to compare with.")] = None,
    from_mask: Annotated[
        Path | None, typer.Option("--from-mask", help="A mask painted on the image: compare with what is under it.")
    ] = None,
    model: options.Model = None,
    device: options.Device = "auto",
    modality: options.Modality = None,
    protocol: options.ProtocolName = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Write the similarity map of one structure, or of a painted example."""
    if (structure is None) == (from_mask is None):
        raise UserError("Say what to compare with: either --structure NAME or --from-mask FILE.")
    options.existing([image], "image")
    options.existing([from_mask] if from_mask else [], "mask")

    from ..catalogue import find_model
    from ..files.nifti import write_map_nifti
    from ..files.reading import read_volume
    from ..segmenter import Segmenter

    segmenter = Segmenter.load(find_model(model), device)
    name = PAINTED if structure is None else segmenter.repertoire.resolve(structure)
    file = _file(out, image, name)
    options.free_to_write([file], overwrite)
    known_protocol(segmenter, protocol)
    with shown("similarity") as progress:
        progress(0, 1, "reading")
        volume = read_volume(image, modality=modality)
        mask = None if from_mask is None else _painted(from_mask, volume)
        encoding = segmenter.encode(volume, protocol=protocol, progress=progress)
        query = _query(encoding, name, mask)
        likeness = encoding.similarity(query)
        options.made_folder(file.parent)
        write_map_nifti(file, likeness, volume.affine, f"cosine with {name}")
    for sentence in encoding.caveats([name] if mask is None else []):
        say(f"{image}: {sentence}", "yellow")
    above = float((likeness >= THRESHOLD).sum()) * volume.voxel_volume_ml
    columns = ("structure", "highest", f"volume from {THRESHOLD} up (ml)", "file")
    print_table(columns, [[name, float(likeness.max()), above, str(file)]])


def _query(encoding: Encoding, name: str, mask) -> str | Query:
    return name if mask is None else encoding.prototype_from(mask, name)


def _painted(path: Path, volume: Volume):
    """(I, J, K) bool of a painted mask, on the grid of the volume."""
    from ..files.reading import read_labels

    labels = read_labels(path)
    if not volume.on_same_grid_as(labels):
        raise UserError(
            f"The mask {path} does not lie on the grid of the image; paint it on this image, or resample it."
        )
    if not labels.array.any():
        raise UserError(f"The mask {path} is empty; paint at least one voxel of the structure.")
    return labels.array != 0


def _file(out: Path, image: Path, name: str) -> Path:
    """Where the map goes: a file of that name, or one in a folder of that name."""
    from ..files.names import image_stem
    from ..results import ResultFiles

    if out.name.lower().endswith((".nii", ".nii.gz")) and not out.is_dir():
        return out
    if out.suffix.lower() in (".nrrd", ".mha", ".mhd", ".nhdr", ".gz", ".dcm"):
        raise UserError(f"A similarity map is written as NIfTI; name a file ending in .nii.gz instead of '{out.name}'.")
    return ResultFiles(out, image_stem(image)).similarity(name)
