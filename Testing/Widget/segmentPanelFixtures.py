"""A segment panel on a real scene and a real session; what the worker answers is given by the test, word for word."""

import numpy as np
import pytest
import slicer
from CFSegmenterUI.segmentPanel import SegmentPanel
from CFSegmenterUI.session import Session

from CFSegmenterLib.structures import Vocabulary
from Testing.Widget.answeredWorker import Link, click, enter, newParameterNode, openPanel

SHAPE = (6, 5, 4)
MANIFEST = {
    "name": "general",
    "version": "3",
    "created": "2026-11-20",
    "licence": "CC BY 4.0",
    "prototypes": [{"name": n} for n in ("background", "liver", "spleen", "left kidney", "right kidney", "heart")],
    "protocols": [
        {"name": "abdomen CT", "modality": "ct", "spacing": [2.0, 2.0, 2.0], "patch": [96, 96, 96]},
        {"name": "abdomen MR T2", "modality": "mr-t2", "spacing": [2.0, 2.0, 7.7], "patch": [96, 96, 32]},
    ],
    "backbone": {"features": 32},
}


@pytest.fixture
def link():
    return Link()


@pytest.fixture
def session(scene, link):
    return Session(scene, link, Vocabulary.load())


@pytest.fixture
def knownModel(session, link):
    session.refreshModels()
    link.lastOf("models").answer({"models": [{"folder": "/models/general", "manifest": MANIFEST}]})
    link.questions.clear()
    return session.modelAt("")


@pytest.fixture
def volume(scene):
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE[::-1])
    node = slicer.util.addVolumeFromArray(array, name="CT")
    node.SetSpacing(10, 10, 10)  # a voxel has a milliliter
    return node


@pytest.fixture
def cine(scene, volume):
    """A sequence of two frames, as the volume that shows one of them; the second frame is shown."""
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "cine")
    for index in ("0", "1"):
        slicer.util.updateVolumeFromArray(volume, np.full(SHAPE[::-1], int(index), np.int16))
        sequence.SetDataNodeAtValue(volume, index)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.SetSelectedItemNumber(1)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    return browser.GetProxyNode(sequence)


@pytest.fixture
def parameterNode(scene):
    return newParameterNode()


@pytest.fixture
def panel(session):
    panel = openPanel(SegmentPanel, session)
    yield panel
    panel.cleanup()


@pytest.fixture
def ready(panel, knownModel, parameterNode, volume):
    """The panel with a model and a volume, connected, as it is when its module has been opened."""
    parameterNode.inputVolume = volume
    panel.setParameterNode(parameterNode)
    return panel


def add(panel, *names):
    for name in names:
        enter(panel.ui.addLineEdit, name)


def maskFrame(counts):
    """What the worker answers `segment` with: each structure has so many voxels, one after the other."""
    layer = np.zeros(SHAPE, dtype=np.uint8)
    start = 0
    for value, count in enumerate(counts.values(), 1):
        layer.reshape(-1)[start : start + count] = value
        start += count
    places = [{"name": name, "layer": 0, "value": value} for value, name in enumerate(counts, 1)]
    return {"places": places}, {"layer0": layer}


def encode(link):
    """Let the worker say that the volume has passed through the network."""
    link.lastOf("encode").answer({"protocol_name": "abdomen CT"})


def run(panel, link, counts):
    """Click Apply and let the worker answer."""
    click(panel.ui.applyButton)
    if link.verbs[-1] == "encode":
        encode(link)
    link.lastOf("segment").answer(*maskFrame(counts))
