"""Trains the tiny model of the module's self-test again: `python -m Testing.Extension.train_test_model`.

It takes about a minute, and knows four organs of small phantoms; the scan beside it is one that it has not seen. With
them `CFSegmenterTest` proves the whole module inside Slicer without network.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import nrrd
import numpy as np

from CFSegmenterLib.phantom import Phantom, draw_small
from Testing.Library.conftest import UNSEEN_SEED, train_small, write_small_source

FOLDER = Path(__file__).resolve().parents[2] / "CFSegmenter" / "Resources" / "SelfTest"
MODEL, SCAN = FOLDER / "model", FOLDER / "scan.nrrd"
ITERATIONS = 1500


def write_scan(phantom: Phantom, path: Path = SCAN) -> None:
    """Write the picture as a compressed NRRD file."""
    header = {
        "space": "right-anterior-superior",
        "space directions": phantom.affine[:3, :3].T,
        "space origin": phantom.affine[:3, 3],
        "kinds": ["domain"] * 3,
        "encoding": "gzip",
    }
    nrrd.write(str(path), phantom.image.astype(np.int16), header, compression_level=9)


def main() -> None:
    """Replace the model and the scan."""
    with tempfile.TemporaryDirectory() as folder:
        source = write_small_source(Path(folder) / "source")
        trained = train_small(source, Path(folder) / "training", iterations=ITERATIONS)
        shutil.rmtree(MODEL, ignore_errors=True)
        shutil.copytree(trained, MODEL)
    write_scan(draw_small(UNSEEN_SEED))


if __name__ == "__main__":
    main()
