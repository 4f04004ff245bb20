"""`cfsegmenter demo`: segment a drawn abdomen, or an image of yours, and show the result as a page."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from . import options
from .console import print_table, say, shown
from .segment import known_protocol

if TYPE_CHECKING:
    from ..encoding import Encoding
    from ..volume import Volume

SEED = 2024
"""Of the drawn abdomen; no training that the project records has drawn it."""


def demo(
    image: Annotated[
        Path | None, typer.Argument(metavar="[IMAGE]", help="An image of yours; else one is drawn.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder for the report and the files.")] = Path("demo"),
    model: options.Model = None,
    targets: Annotated[
        str | None, typer.Option("--targets", "-t", help="Names; else what was taught on this kind of scan.")
    ] = None,
    device: options.Device = "auto",
    modality: options.Modality = None,
    protocol: options.ProtocolName = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Segment a drawn abdomen, or IMAGE, and write a report with pictures."""
    options.existing([image] if image else [], "image")
    asked = None if targets is None else options.wanted_structures(targets)

    from ..catalogue import find_model
    from ..files.names import image_stem
    from ..report import OVERVIEW, PAGE, write_report
    from ..results import ResultFiles, write_segmentation
    from ..segmenter import Segmenter

    segmenter = Segmenter.load(find_model(model), device)
    if targets is not None:
        asked = list(segmenter.repertoire.resolve_all(asked))
    known_protocol(segmenter, protocol)
    files = ResultFiles(options.made_folder(out), "drawn_abdomen" if image is None else image_stem(image))
    options.free_to_write([out / PAGE, out / OVERVIEW, *files.all((), similarity=False, margin=False)], overwrite)
    with shown("demo") as progress:
        progress(0, 1, "drawing" if image is None else "reading")
        volume, truth = _drawn() if image is None else _read(image, modality)
        started = time.perf_counter()
        encoding = segmenter.encode(volume, protocol=protocol, progress=progress)
        segmentation = encoding.segment(asked or _taught(encoding), progress)
        seconds = time.perf_counter() - started
        write_segmentation(files, segmentation, volume.affine, segmenter.vocabulary)
        page = write_report(
            out,
            encoding,
            segmentation,
            volume,
            title="A drawn abdomen, segmented" if image is None else "Segmentation",
            seconds=seconds,
            truth={name: mask for name, mask in truth.items() if name in segmentation.names},
            progress=progress,
        )
    rows = [[name, segmentation.voxels(name) * volume.voxel_volume_ml] for name in segmentation.names]
    print_table(("structure", "volume (ml)"), rows)
    say(f"The report is {page.resolve().as_uri()}")


def _drawn() -> tuple[Volume, dict]:
    """A drawn abdomen, and structure -> mask of what was drawn."""
    from ..abdomen import draw_abdomen
    from ..volume import Volume

    phantom = draw_abdomen(SEED)
    truth = {name: phantom.labels == value for value, name in phantom.names.items()}
    return Volume.checked(phantom.image, phantom.affine, "mr-t2"), truth


def _read(image: Path, modality: str | None) -> tuple[Volume, dict]:
    from ..files.reading import read_volume

    return read_volume(image, modality=modality), {}


def _taught(encoding: Encoding) -> list[str] | None:
    """The structures of the sources that scans of this kind came from; None where the model does not say."""
    sources = [s for s in encoding.model.manifest.sources if s.name in encoding.protocol.sources]
    return list(dict.fromkeys(name for source in sources for name in source.structures)) or None
