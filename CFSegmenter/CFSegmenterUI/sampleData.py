"""Sample data: an abdomen that the project draws itself, offered in Slicer's Sample Data module."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from slicer.i18n import tr as _

from . import compat

CATEGORY = "CFSegmenter"
SAMPLE_NAME = "CFSegmenterPhantom"
CHECKSUM = "SHA256:7d317dc0f2dd24c2febcbdcdfe0b044d906b38e43f1d9a2458bdf141273d4d04"
"""Of the file that `python -m Testing.Extension.draw_resources` drew."""


def register(resourcePath: Callable[[str], str]) -> None:
    """Tell the Sample Data module of the phantom. It travels with the extension, so that loading it needs no network.

    Registering it again changes nothing.

    Args:
        resourcePath: where a file of the module's Resources lies.
    """
    import SampleData

    logic = SampleData.SampleDataLogic
    compat.registerSampleCategory(logic, CATEGORY, _("CFSegmenter"))
    sample = Path(resourcePath("SampleData/CFSegmenterPhantom.nrrd")).resolve()
    logic.registerCustomSampleDataSource(
        category=CATEGORY,
        sampleName=SAMPLE_NAME,
        uris=sample.as_uri(),
        fileNames=sample.name,
        nodeNames=SAMPLE_NAME,
        thumbnailFileName=str(sample.with_suffix(".png")),
        checksums=CHECKSUM,
    )
