"""Draws the extension's icon and its sample data again: `python -m Testing.Extension.draw_resources`.

The icon is rendered from its SVG; the sample is a phantom of `CFSegmenterLib.phantom`, coarse enough to travel with
the extension. When the sample changes, its checksum in `CFSegmenterUI/sampleData.py` does too.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import nrrd
import numpy as np
from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QImage, QPainter
from PySide6.QtSvg import QSvgRenderer

from CFSegmenterLib.abdomen import draw_abdomen
from CFSegmenterLib.phantom import Phantom
from CFSegmenterLib.structures import Vocabulary

RESOURCES = Path(__file__).resolve().parents[2] / "CFSegmenter" / "Resources"
SAMPLE = RESOURCES / "SampleData" / "CFSegmenterPhantom.nrrd"
PICTURE = SAMPLE.with_suffix(".png")
ICON_PIXELS = 128
THUMBNAIL = (260, 280)
"""Pixels, width and height."""
BRIGHTEST = 550.0
"""Signal that is white in the thumbnail."""
AIR = 60
"""Signal below which the thumbnail may be cropped."""
TINT = 0.35
"""How opaque the structures are in the thumbnail."""


def draw_sample() -> Phantom:
    """The person that `make demo` segments, on a coarser grid."""
    return draw_abdomen(2024, spacing=(2.5, 2.5, 6.0))


def write_sample(phantom: Phantom, path: Path = SAMPLE) -> None:
    """Write the picture as a compressed NRRD file."""
    header = {
        "space": "right-anterior-superior",
        "space directions": phantom.affine[:3, :3].T,
        "space origin": phantom.affine[:3, 3],
        "kinds": ["domain"] * 3,
        "encoding": "gzip",
    }
    nrrd.write(str(path), phantom.image, header, compression_level=9)


def write_thumbnail(phantom: Phantom, path: Path = PICTURE) -> None:
    """Write the axial slice that shows most of the structures, seen from the feet, the structures tinted."""
    index = int(np.argmax(sum((phantom.labels == label).any((0, 1)).astype(int) for label in phantom.names)))
    shown = np.clip(phantom.image[..., index] / BRIGHTEST, 0, 1)[..., None] * np.full(3, 255.0)
    vocabulary = Vocabulary.load()
    for label, name in phantom.names.items():
        inside = phantom.labels[..., index] == label
        shown[inside] = (1 - TINT) * shown[inside] + TINT * np.array(vocabulary.find(name).color)
    body = np.nonzero(phantom.image[..., index] > AIR)
    shown = shown[tuple(slice(axis.min(), axis.max() + 1) for axis in body)]
    # Rows from anterior to posterior, columns from the patient's right to the left.
    pixels = np.ascontiguousarray(shown[::-1, ::-1].transpose(1, 0, 2).astype(np.uint8))
    rows, columns = pixels.shape[:2]
    slice_ = QImage(pixels.data, columns, rows, 3 * columns, QImage.Format.Format_RGB888)
    width, height = THUMBNAIL
    smooth = Qt.TransformationMode.SmoothTransformation
    scaled = slice_.scaled(width, height, Qt.AspectRatioMode.KeepAspectRatio, smooth)
    picture = QImage(width, height, QImage.Format.Format_RGB888)
    picture.fill(Qt.GlobalColor.black)
    painter = QPainter(picture)
    painter.drawImage((width - scaled.width()) // 2, (height - scaled.height()) // 2, scaled)
    painter.end()
    picture.save(str(path))


def write_icon(svg: Path = RESOURCES / "Icons" / "CFSegmenter.svg") -> None:
    """Render the icon's SVG as PNG beside it."""
    picture = QImage(ICON_PIXELS, ICON_PIXELS, QImage.Format.Format_ARGB32_Premultiplied)
    picture.fill(Qt.GlobalColor.transparent)
    painter = QPainter(picture)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    QSvgRenderer(str(svg)).render(painter, QRectF(0, 0, ICON_PIXELS, ICON_PIXELS))
    painter.end()
    picture.save(str(svg.with_suffix(".png")))


if __name__ == "__main__":
    write_icon()
    sample = draw_sample()
    write_sample(sample)
    write_thumbnail(sample)
    print(f"{SAMPLE.stat().st_size} bytes, SHA256:{hashlib.sha256(SAMPLE.read_bytes()).hexdigest()}")
