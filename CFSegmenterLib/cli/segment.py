"""`cfsegmenter segment`: images in, segmentations out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import UserError
from ..memory import memory_for
from . import options
from .console import Cell, print_table, say, shown

if TYPE_CHECKING:
    from ..results import ResultFiles
    from ..segmenter import Segmenter


def segment(
    images: Annotated[
        list[Path], typer.Argument(metavar="IMAGE...", help="NIfTI, NRRD or MetaImage files, or DICOM series folders.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the results; made where it does not exist.")],
    targets: options.Targets = "all",
    model: options.Model = None,
    similarity: Annotated[
        bool, typer.Option("--similarity", help="Write a similarity map for each structure.")
    ] = False,
    margin: Annotated[
        bool, typer.Option("--margin", help="Write the lead of the best structure over the second.")
    ] = False,
    device: options.Device = "auto",
    modality: options.Modality = None,
    protocol: options.ProtocolName = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Segment images by the names of structures.

    Writes STEM.seg.nrrd for 3D Slicer, STEM_labels.nii.gz with STEM_labels.json, and on request maps.
    """
    options.existing(images, "image")
    asked = options.wanted_structures(targets)

    from ..catalogue import find_model
    from ..results import ResultFiles
    from ..segmenter import Segmenter

    files = [ResultFiles(out, stem) for stem in distinct_stems(images)]
    segmenter = Segmenter.load(find_model(model), device)
    names = segmenter.repertoire.resolve_all(asked)
    request = Request(names, similarity, margin, modality, known_protocol(segmenter, protocol))
    planned = [path for each in files for path in each.all(names, similarity=similarity, margin=margin)]
    options.free_to_write(planned, overwrite)
    options.made_folder(out)

    rows: list[list[Cell]] = []
    failed = 0  # an error would keep all that was at hand when it was raised, a scan's features too
    for image, results in zip(images, files, strict=True):
        try:
            rows += segment_one(segmenter, image, results, request)
        except UserError as error:
            if len(images) == 1:
                raise
            say(f"{image}: {error}", "red")
            failed += 1
    if rows:
        print_table(("image", "structure", "volume (ml)", "mean similarity", "query (s)"), rows)
    if failed:
        raise UserError(f"{failed} of {len(images)} images could not be segmented; the others are in {out}.")


@dataclass(frozen=True)
class Request:
    """What is wanted of every image."""

    names: tuple[str, ...]
    similarity: bool
    margin: bool
    modality: str | None
    protocol: str | None


@memory_for("to segment this image")
def segment_one(segmenter: Segmenter, image: Path, files: ResultFiles, request: Request) -> list[list[Cell]]:
    """Segment one image and write its files; returns the rows of the table."""
    from ..files.nifti import write_map_nifti
    from ..files.reading import read_volume
    from ..results import write_segmentation

    started = time.perf_counter()
    with shown(files.stem) as progress:
        progress(0, 1, "reading")
        volume = read_volume(image, modality=request.modality)
        encoding = segmenter.encode(volume, protocol=request.protocol, progress=progress)
        segmentation = encoding.segment(request.names, progress)
        encoded = time.perf_counter() - started
        rows: list[list[Cell]] = []
        for done, name in enumerate(request.names):
            progress(done, len(request.names), f"measuring {name}")
            asked = time.perf_counter()
            mask = segmentation.mask(name)
            found, inside = int(mask.sum()), None
            if found or request.similarity:
                likeness = encoding.similarity(name)
                inside = float(likeness[mask].mean(dtype=float)) if found else None
                if request.similarity:
                    write_map_nifti(files.similarity(name), likeness, volume.affine, f"cosine with {name}")
            took = time.perf_counter() - asked
            rows.append([files.stem, name, found * volume.voxel_volume_ml, inside, took])
        progress(0, 1, "writing")
        if request.margin:
            write_map_nifti(
                files.margin, encoding.margin(), volume.affine, "lead of the best structure over the second"
            )
        shared = write_segmentation(files, segmentation, volume.affine, segmenter.vocabulary)
    for sentence in encoding.caveats(request.names):
        say(f"{files.stem}: {sentence}", "yellow")
    say(f"{files.stem}: read as '{encoding.protocol.name}', encoded in {encoded:.1f} s, results in {files.folder}.")
    if shared:
        listed = ", ".join(f"{first} and {second}" for first, second in shared)
        say(
            f"{files.stem}: some structures overlap ({listed}); {files.labels.name} holds the second of each pair "
            f"there, {files.segmentation.name} holds both."
        )
    return rows


def distinct_stems(images: Sequence[Path]) -> list[str]:
    """The images' names without their endings.

    Raises:
        UserError: two images share one, so that their results would have the same names.
    """
    from ..files.names import image_stem

    stems: dict[str, Path] = {}
    for image in images:
        # Names that differ in case only are one file on some disks.
        first = stems.setdefault(image_stem(image).casefold(), image)
        if first is not image:
            raise UserError(
                f"The results of {first} and of {image} would have the same names; segment them into different folders."
            )
    return [image_stem(image) for image in images]


def known_protocol(segmenter: Segmenter, name: str | None) -> str | None:
    """Check the name of a protocol before any image is read.

    Raises:
        UserError: the model has none of that name.
    """
    protocols = segmenter.model.manifest.protocols
    if name is not None and name not in (p.name for p in protocols):
        listed = ", ".join(f"'{p.name}' ({p.modality})" for p in protocols)
        raise UserError(f"The model has no protocol '{name}'; it has {listed}.")
    return name
