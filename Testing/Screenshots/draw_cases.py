"""Draws the README's pictures of real scans: the first validation case of each source, segmented by the shipped model.

    python -m Testing.Screenshots.draw_cases DATA [--model general] [--reports FOLDER] [--out FOLDER]

The whole report of every case is written beside, for looking at; only the pictures are meant for the README, each with
the credit line that it has there.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from CFSegmenterLib.cases import Case, read_case_lists
from CFSegmenterLib.catalogue import find_model
from CFSegmenterLib.files.writing import write_atomically
from CFSegmenterLib.prepared import load_case
from CFSegmenterLib.report import write_report
from CFSegmenterLib.segmenter import Segmenter

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "Resources" / "Screenshots"


@dataclass(frozen=True)
class Shown:
    """A picture of the README.

    Attributes:
        name: of the picture, which becomes NAME.png.
        source: the folder of its source.
        mapped: the structures whose similarity maps the report shows, the first of them on the picture.
        left_out: structures of the source that would hide the others.
    """

    name: str
    source: str
    mapped: tuple[str, ...]
    left_out: tuple[str, ...] = ()


SHOWN = (
    Shown(
        "brain",
        "oasis_brain_t1",
        ("right thalamus", "right hippocampus", "brainstem", "left lateral ventricle"),
        ("right cerebral white matter", "left cerebral white matter"),
    ),
    Shown("hippocampus", "msd_hippocampus", ("anterior hippocampus", "posterior hippocampus")),
    Shown("abdomen", "chaos_mr_t2", ("liver", "right kidney", "left kidney", "spleen")),
    Shown("heart", "acdc_cine_mr", ("myocardium", "left ventricle", "right ventricle")),
    Shown("neck", "openkbp_hn_ct", ("right parotid gland", "mandible", "spinal cord", "brainstem")),
)


def draw_cases(
    data: Annotated[Path, typer.Argument(help="The folder that holds the folders of the sources.")],
    model: Annotated[str, typer.Option(help="A name or a folder.")] = "general",
    reports: Annotated[Path, typer.Option(help="Folder for the reports.")] = ROOT / "runs" / "reports",
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = SCREENSHOTS,
    only: Annotated[list[str] | None, typer.Option(help="Names of pictures; all of them without it.")] = None,
) -> None:
    """Draw a picture of the first validation case of each source, and write the report of it."""
    segmenter = Segmenter.load(find_model(model))
    for shown in SHOWN:
        if not only or shown.name in only:
            (case_list,) = read_case_lists([data / shown.source / "dataset.json"])
            page = report(segmenter, case_list.of("validation")[0], shown, reports / shown.name)
            picture = out / f"{shown.name}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            with write_atomically(picture) as partial:
                shutil.copyfile(page.with_name("overview.png"), partial)
            typer.echo(f"{picture}  {picture.stat().st_size / 1000:.0f} kB, {page}")


def report(segmenter: Segmenter, case: Case, shown: Shown, folder: Path) -> Path:
    """Segment a case and write its report, compared with the truth; returns the page."""
    volume, labels = load_case(case)
    asked = [name for name in case.values.values() if name not in shown.left_out]
    started = time.perf_counter()
    encoding = segmenter.encode(volume)
    segmentation = encoding.segment(asked)
    seconds = time.perf_counter() - started
    drawn = {name: value for value, name in case.values.items() if name in asked and name in case.annotated}
    return write_report(
        folder,
        encoding,
        segmentation,
        volume,
        title=f"A validation case of {case.source}",
        seconds=seconds,
        similarity_structures=shown.mapped,
        truth={name: labels == value for name, value in drawn.items()},
    )


if __name__ == "__main__":
    typer.run(draw_cases)
