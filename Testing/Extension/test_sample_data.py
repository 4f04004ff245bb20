"""The sample data that the extension brings: a phantom, registered with Slicer's Sample Data module."""

from __future__ import annotations

import hashlib
import importlib
import sys
import types
import urllib.request
from pathlib import Path

import numpy as np
import pytest

from Testing.Extension.draw_resources import SAMPLE, THUMBNAIL, draw_sample
from Testing.Extension.sources import MODULE


class SampleDataOf512:
    """Takes what the Sample Data module of Slicer 5.12 takes, and keeps it."""

    def __init__(self):
        self.titles: dict[str, str] = {}
        self.sources: list[dict] = []

    def registerCustomSampleDataCategory(self, category, title):  # noqa: N802 - Slicer's name
        self.titles[category] = title

    def registerCustomSampleDataSource(  # noqa: N802
        self,
        category="Custom",
        sampleName=None,
        uris=None,
        fileNames=None,
        nodeNames=None,
        customDownloader=None,
        thumbnailFileName=None,
        loadFileTypes=None,
        loadFiles=None,
        loadFileProperties=None,
        checksums=None,
        loadFileType=None,
    ):
        self.sources.append({name: value for name, value in locals().items() if name != "self"})


class SampleDataOf58(SampleDataOf512):
    """That of Slicer 5.8, where a category is its own title."""

    def __getattribute__(self, name):
        if name == "registerCustomSampleDataCategory":
            raise AttributeError(name)
        return super().__getattribute__(name)


@pytest.fixture
def register(scene, monkeypatch):
    """Registers the sample with a Sample Data module of some version, and returns its one source."""

    def register(logic) -> dict:
        monkeypatch.syspath_prepend(str(MODULE))
        monkeypatch.setitem(sys.modules, "SampleData", types.SimpleNamespace(SampleDataLogic=logic))
        module = importlib.import_module("CFSegmenterUI.sampleData")
        module.register(lambda name: str(MODULE / "Resources" / name))
        (source,) = logic.sources
        return source

    return register


def test_the_sample_needs_no_network_and_is_the_file_that_its_checksum_promises(register, tmp_path: Path) -> None:
    logic = SampleDataOf512()
    source = register(logic)
    assert logic.titles == {source["category"]: "CFSegmenter"}
    path = tmp_path / source["fileNames"]
    urllib.request.urlretrieve(source["uris"], path)  # what the Sample Data module does
    assert source["uris"].startswith("file:")
    assert source["checksums"] == f"SHA256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def test_it_registers_in_slicer_58_too(register) -> None:
    assert register(SampleDataOf58())["sampleName"] == "CFSegmenterPhantom"


def test_the_thumbnail_has_the_size_of_a_button(register) -> None:
    header = Path(register(SampleDataOf512())["thumbnailFileName"]).read_bytes()[:24]
    assert tuple(int.from_bytes(header[at : at + 4]) for at in (16, 20)) == THUMBNAIL


def test_the_sample_is_small_and_the_drawn_phantom_voxel_by_voxel(scene) -> None:
    import slicer
    import vtk

    assert SAMPLE.stat().st_size < 1_000_000
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    storage = scene.AddNewNodeByClass("vtkMRMLNRRDStorageNode")
    storage.SetFileName(str(SAMPLE))
    assert storage.ReadData(node)
    phantom = draw_sample()
    affine = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(affine)
    read = slicer.util.arrayFromVTKMatrix(affine)
    array = slicer.util.arrayFromVolume(node).transpose(2, 1, 0)
    assert array.dtype == np.int16
    np.testing.assert_allclose(read, phantom.affine, atol=1e-6)
    # Rounding to whole numbers may fall otherwise on another processor, here and there.
    assert np.mean(array != phantom.image) < 0.001
    assert np.abs(array.astype(int) - phantom.image).max() <= 1
