"""The panels of the section "Teach" on a real scene and session; the test gives what the worker answers."""

from __future__ import annotations

import numpy as np
import pytest
import slicer
from CFSegmenterUI import labelmaps, segmentations, updateRun
from CFSegmenterUI.session import Session
from CFSegmenterUI.teachPanels import TeachPanels

from CFSegmenterLib.phantom import Phantom, draw_small
from CFSegmenterLib.structures import Vocabulary
from Testing.Widget.answeredWorker import Link, manifest, newParameterNode, openPanel

SHAPE = (8, 7, 6)
CASES, STORE = "/home/me/cases", "/home/me/versions"
GENERAL = {"folder": "/models/general", "manifest": manifest()}


class User:
    """Answers the panels' questions, and sees what the desktop shows."""

    def __init__(self):
        self.folder, self.term, self.agrees = "", "", True
        self.asked: list[str] = []
        self.termsShown: list[str] = []
        self.opened: list[str] = []

    def chooseFolder(self, title):
        return self.folder

    def confirm(self, text):
        self.asked.append(text)
        return self.agrees

    def pickTerm(self, entry):
        self.termsShown.append(entry)
        return self.term


@pytest.fixture
def link(monkeypatch):
    monkeypatch.setattr(updateRun, "POLL_MS", 1)
    return Link()


@pytest.fixture
def session(scene, link):
    return Session(scene, link, Vocabulary.load())


@pytest.fixture
def user():
    return User()


@pytest.fixture
def volume(scene):
    array = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE[::-1])
    return slicer.util.addVolumeFromArray(array, name="CT")


@pytest.fixture
def segmentation(scene, volume):
    return segmentations.newSegmentation(scene, volume)


@pytest.fixture
def teach(session, link, user):
    panels = newPanels(session, user)
    session.refreshModels()
    link.last.answer({"models": [GENERAL]})
    yield panels
    panels.cleanup()


@pytest.fixture
def node(teach, volume, segmentation):
    """The choices of a scene with a volume and a segmentation, connected to the panels."""
    node = newParameterNode()
    node.inputVolume, node.caseSegmentation = volume, segmentation
    teach.setParameterNode(node)
    return node


def newPanels(session, user):
    asks = {"chooseFolder": user.chooseFolder, "confirm": user.confirm, "pickTerm": user.pickTerm}
    return openPanel(TeachPanels, session, openFile=user.opened.append, **asks)


def asked(link, verb):
    """The last question of a kind that still waits."""
    return [question for question in link.questions if question.verb == verb and question.isActive][-1]


def isAsked(link, verb):
    return any(question.verb == verb and question.isActive for question in link.questions)


def box(*corners):
    """A mask of the box between two corners, the second one left out."""
    mask = np.zeros(SHAPE, bool)
    mask[tuple(slice(a, b) for a, b in zip(*corners, strict=True))] = True
    return mask


def paint(segmentation, volume, name, mask):
    """A segment as the user makes it."""
    segmentID = segmentation.GetSegmentation().AddEmptySegment("", name)
    place = labelmaps.boxOf(mask)
    image = labelmaps.imageOf(mask[place].astype(np.uint8), place, segmentations.ijkToRas(volume))
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    assert logic.SetBinaryLabelmapToSegment(image, segmentation, segmentID, logic.MODE_REPLACE)
    return segmentID


def aCase(number, structures=("liver",), split="training", **others):
    said = {"number": number, "source": "ct cases", "modality": "ct", "split": split, "structures": list(structures)}
    return {**said, "annotated": list(structures), **others}


def aVersion(version, status="accepted", **others):
    return {
        "version": version,
        "status": status,
        "folder": f"{STORE}/versions/{version}",
        "manifest": manifest(version=version),
        "has_report": version != "1",
        **others,
    }


def openCases(teach, node, link, *cases):
    """The user names the folder, and the worker says what is in it."""
    node.caseFolder = CASES
    teach.casesPanel.setParameterNode(node)
    asked(link, "cases").answer({"cases": list(cases)})


def openStore(teach, node, link, active=None, *versions):
    node.storeFolder = STORE
    teach.updatePanel.setParameterNode(node)
    asked(link, "store").answer({"name": "general", "active": active, "versions": list(versions)})


def drawScan(seed: int):
    """A small phantom with a gallbladder in it, which the tiny model was not taught, and its volume node.

    It is told by its pattern: one that is brighter than all else would change what the others' brightness means.
    """
    drawn = draw_small(seed)
    places = np.indices(drawn.image.shape)
    ball = (np.linalg.norm(places.T - (14, 23, 9), axis=-1).T < 4.5) & (drawn.labels == 0)
    image = np.where(ball, np.where(places.sum(axis=0) % 2, 20, 420), drawn.image).astype(np.int16)
    phantom = Phantom(image, np.where(ball, 9, drawn.labels), {**drawn.names, 9: "gallbladder"}, drawn.affine)
    affine = slicer.util.vtkMatrixFromArray(phantom.affine)
    return phantom, slicer.util.addVolumeFromArray(image.T, affine, f"scan {seed}")


def paintScan(phantom: Phantom, volume, *names: str):
    """The user's segmentation of some of a phantom's structures."""
    node = segmentations.newSegmentation(volume.GetScene(), volume)
    for name in names:
        segmentID = node.GetSegmentation().AddEmptySegment("", name.capitalize())
        mask = maskIn(phantom, name).astype(np.uint8)
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask.T, node, segmentID, volume)
    return node


def maskIn(phantom: Phantom, name: str) -> np.ndarray:
    """(I, J, K) bool, where a structure of a phantom is."""
    return phantom.labels == next(value for value, each in phantom.names.items() if each == name)
