"""Draws the README's pictures of the Slicer module.

    python -m Testing.Screenshots.draw [--image SCAN] [--targets "liver, spleen"] [--out FOLDER]

The module runs as it is, with its worker and the shipped model, on real MRML and the stand-in host: the pictures are
rendered outside the application, whose frame and style they do not show.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from PIL import Image

from Testing.Host import canRender, startApplication

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "CFSegmenter" / "Resources" / "SampleData" / "CFSegmenterPhantom.nrrd"
SCREENSHOTS = ROOT / "Resources" / "Screenshots"
VIEW, PANEL = 440, 440
"""Pixels: side of a view, width of the panel."""
GAP = 4
"""Pixels between the views, and between views and panel."""
FRAME = (38, 38, 38)


def draw(
    image: Annotated[Path, typer.Option(help="The scan; the module's sample without it.")] = SAMPLE,
    targets: Annotated[str, typer.Option(help="What to segment, the first of which is inspected.")] = (
        "liver, right kidney, left kidney, spleen"
    ),
    modality: Annotated[str, typer.Option(help="Of the scan, where its file does not tell.")] = "",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = SCREENSHOTS,
) -> None:
    """Draw slicer-segment.png, slicer-inspect.png and slicer-models.png."""
    if not canRender():
        typer.echo("VTK cannot draw here: there is no OpenGL library. Install libegl1 or libosmesa6.", err=True)
        raise typer.Exit(2)
    sys.path.insert(0, str(ROOT / "CFSegmenter"))
    startApplication()
    from Testing.Screenshots.visit import Visit

    structures = [name.strip() for name in targets.split(",")]
    visit = Visit(VIEW, PANEL)
    try:
        visit.load(image, modality)
        visit.segment(structures)
        visit.lookAt(visit.centerOf(structures[0]))
        visit.showSurfaces()
        save(out / "slicer-segment.png", beside(visit.pictureOfPanel(visit.widget.segmentSection), fourViews(visit)))
        visit.showMap(structures[0])
        visit.probe(visit.centerOf(structures[0]))
        visit.lookAt(visit.centerOf(structures[0]))
        save(out / "slicer-inspect.png", beside(visit.pictureOfPanel(visit.widget.inspectSection), fourViews(visit)))
        save(out / "slicer-models.png", visit.pictureOfPanel(visit.widget.modelsSection))
    finally:
        visit.end()


def fourViews(visit) -> np.ndarray:
    """The views as Slicer arranges four: axial and 3D above, coronal and sagittal below."""
    above = row([visit.pictureOfSlice("Red"), visit.pictureOfSurfaces()])
    below = row([visit.pictureOfSlice("Green"), visit.pictureOfSlice("Yellow")])
    return row([above, below], axis=0)


def row(pictures: list[np.ndarray], axis: int = 1) -> np.ndarray:
    """Pictures side by side, or below each other, with gaps."""
    shape = list(pictures[0].shape)
    shape[axis] = GAP
    gap = np.full(shape, FRAME, np.uint8)
    joined = [part for picture in pictures for part in (picture, gap)][:-1]
    return np.concatenate(joined, axis=axis)


def beside(panel: np.ndarray, views: np.ndarray) -> np.ndarray:
    """The panel on the left of the views, the lower one of both continued to the same height."""
    height = max(len(panel), len(views))
    ground = panel[-1, panel.shape[1] // 2]
    return row([_continued(panel, height, ground), _continued(views, height, FRAME)])


def _continued(picture: np.ndarray, height: int, color) -> np.ndarray:
    below = np.full((height - len(picture), *picture.shape[1:]), color, np.uint8)
    return np.concatenate([picture, below])


def save(path: Path, picture: np.ndarray) -> None:
    """Write a picture as a PNG of few colors, which such pictures can do with."""
    path.parent.mkdir(parents=True, exist_ok=True)
    few = Image.fromarray(picture).quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=1, dither=Image.Dither.NONE)
    few.save(path, optimize=True)
    typer.echo(f"{path}  {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    typer.run(draw)
