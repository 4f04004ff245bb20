"""Phantoms in the place of the real sources, and a size at which a cell takes seconds."""

from __future__ import annotations

from pathlib import Path

from CFSegmenterLib.settings import BackboneSettings, SourceSettings
from Testing.Benchmarks.accuracy.sizes import Size

from .conftest import write_small_source

HIPPOCAMPUS = {"1": "anterior hippocampus", "2": "posterior hippocampus", "3": "left kidney", "4": "spleen"}


def a_data_folder(folder: Path, training: int = 6, validation: int = 2) -> Path:
    """A folder with a source that is called as the hippocampus one; two organs of a phantom stand for its parts."""
    write_small_source(folder / "msd_hippocampus", training, validation, name="msd_hippocampus", labels=HIPPOCAMPUS)
    return folder


def a_tiny_size(iterations: int = 6, **changes) -> Size:
    """A size whose trainings have `iterations` steps, and whose updates have as many."""
    own = SourceSettings(spacing=(4, 4, 4), patch=(16, 16, 16))
    return Size(
        **{
            "name": "tiny",
            "backbone": BackboneSettings(
                name="unet", features=16, options={"channels": [16, 16, 16], "residual_units": 0}
            ),
            "sources": {"msd_hippocampus": own},
            "first": {"class-hippocampus": iterations, "hippocampus-half": iterations},
            "update": {"class-hippocampus": iterations},
            "patches_per_step": 1,
            "dimension": 64,
            **changes,
        }
    )
