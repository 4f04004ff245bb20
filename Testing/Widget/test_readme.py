"""The README's example for Slicer's Python console, run word for word on real MRML with a real worker."""

from __future__ import annotations

import re
import sys
import types

import pytest
import slicer
from CFSegmenterUI import maps, segmentations

from Testing.Extension.sources import MODULE, ROOT
from Testing.Host.modules import ScriptedModule

LINES = 12


def example() -> str:
    """The Python code of the section about Slicer."""
    section = re.search(r"^## In 3D Slicer$.*?^## ", (ROOT / "README.md").read_text(encoding="utf-8"), re.M | re.S)[0]
    (code,) = re.findall(r"^```python\n(.*?)^```$", section, re.M | re.S)
    return code


@pytest.fixture
def console(application, scene, monkeypatch):
    """What the console of an opened Slicer has: `slicer`, the module, and the sample data."""
    module = ScriptedModule(MODULE / "CFSegmenter.py").load()
    path = MODULE / "Resources" / "SampleData" / "CFSegmenterPhantom.nrrd"
    samples = types.ModuleType("SampleData")
    samples.downloadSample = lambda name: slicer.util.loadVolume(str(path), {"name": name})
    monkeypatch.setitem(sys.modules, "SampleData", samples)
    yield {"slicer": slicer}
    module.widget().cleanup()


def testExampleOfTheReadmeDoesWhatItSays(console, capsys):
    code = example()
    assert len(code.splitlines()) <= LINES
    exec(compile(code, "README.md", "exec"), console)
    assert "'liver': " in capsys.readouterr().out
    node = console["result"].node
    assert set(segmentations.ownSegments(node)) == {"liver", "right kidney", "left kidney", "spleen", "like a liver"}
    assert console["ranked"][0][0] == "liver"
    titles = [maps.titleOf(mapNode) for mapNode in maps.mapsOf(console["volume"])]
    assert titles == ["liver", "probed point", "margin"]
    assert console["alike"] is not console["likeness"]
