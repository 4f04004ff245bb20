"""What `CFSegmenterTest` does inside Slicer, and our own tests outside it: a first visit, step by step."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import qt
import slicer

from CFSegmenterLib.structures import Vocabulary

from . import maps, segmentations, volumes
from .inspectPanel import InspectPanel
from .provenance import Provenance
from .segmentPanel import SegmentPanel

PATIENCE = 300
"""Seconds; the first question starts the worker, which loads torch."""
RESOURCES = Path(__file__).resolve().parents[1] / "Resources"


def writeMasksAndMaps(test: Any, scan: str) -> None:
    """Write segments and a map twice beside a segment of the user's, without a worker."""
    volume = slicer.util.loadVolume(scan)
    voxels = slicer.util.arrayFromVolume(volume).T
    mask = voxels > np.percentile(voxels, 90)
    node = segmentations.newSegmentation(slicer.mrmlScene, volume)
    mine = node.GetSegmentation().AddEmptySegment("", "mine")
    made = Provenance("test", "1", "2026-01-01")
    for each in (mask, ~mask):  # the second run replaces what the first one wrote
        written = segmentations.writeSegments(node, volume, {"liver": each}, made, Vocabulary.load()).segments
        test.assertTrue((segmentations.maskOf(node, written["liver"], volume) == each).all())
    test.assertEqual(node.GetSegmentation().GetNumberOfSegments(), 2)
    test.assertEqual(node.GetSegmentation().GetSegment(mine).GetName(), "mine")
    mapNode = maps.writeMap(volume, np.where(mask, 0.9, -0.9).astype(np.float32), "liver", "similarity")
    test.assertTrue((slicer.util.arrayFromVolume(mapNode).T > 0)[mask].all())
    maps.showThreshold(mapNode, 0.5)
    maps.showLegend(mapNode)


class FirstVisit:
    """A FirstVisit uses the panels by pressing their buttons, and fails the test where they do not do what they say."""

    def __init__(self, test: Any, logic: Any, scan: str):
        """
        Args:
            test: a unittest.TestCase.
            logic: a CFSegmenterLogic that knows a model of liver, spleen and kidneys.
            scan: path of a volume that shows them.
        """
        self._test, self._logic, self._scan = test, logic, scan
        self._parent = slicer.qMRMLWidget()
        self._parent.setLayout(qt.QVBoxLayout())
        self._parent.setMRMLScene(slicer.mrmlScene)
        self._segment = SegmentPanel(self._parent, logic.session, lambda name: str(RESOURCES / name))
        self._inspect = InspectPanel(self._parent, logic.session, lambda name: str(RESOURCES / name))

    @property
    def steps(self) -> tuple[Callable[[], None], ...]:
        """In the order in which they must be taken."""
        return (
            self.openVolume,
            self.segmentFour,
            self.lookAtMap,
            self.probePoint,
            self.addFifth,
            self.saveAndLoad,
            self.closeScene,
        )

    def openVolume(self) -> None:
        """Looking for models and opening a volume"""
        folder = next((model.folder for model in self._logic.models() if model.name == "tiny"), None)
        if folder is None:
            self._test.skipTest("The worker runs on another machine, where the tiny model is not.")
        node = self._logic.getParameterNode()
        node.inputVolume = slicer.util.loadVolume(self._scan)
        node.model = folder
        node.device = "cpu"
        self._connect()
        self._test.assertIn("tiny", self._segment.ui.modelLabel.text)

    def segmentFour(self) -> None:
        """Segmenting four organs; the first run encodes the volume"""
        self._check("liver", "right kidney", "left kidney", "spleen")
        self._press(self._segment.ui.applyButton)
        said = self._segment.ui.statusLabel.text
        self._test.assertIn("4 of 4 structures found", said)
        self._test.assertNotIn("encoded already", said)
        self._found = segmentations.ownSegments(self._node.outputSegmentation)
        self._liver = self._maskOf("liver")
        self._test.assertEqual(len(self._found), 4)

    def lookAtMap(self) -> None:
        """Looking at the similarity map of the liver, and moving the threshold"""
        ui = self._inspect.ui
        ui.classComboBox.setCurrentIndex(ui.classComboBox.findText("liver"))
        self._press(ui.showMapButton)
        mapNode = self._node.shownMap
        similarity = slicer.util.arrayFromVolume(mapNode).T
        low, high = similarity.min(), similarity.max()
        self._test.assertTrue(-1.001 <= low < high <= 1.001)
        self._test.assertGreater(similarity[self._liver].mean(), similarity[~self._liver].mean() + 0.2)
        ui.thresholdSlider.value = 0.4
        self._test.assertAlmostEqual(mapNode.GetDisplayNode().GetLowerThreshold(), 0.4)
        ui.segmentButton.click()
        written = (similarity >= 0.4).sum()
        self._test.assertEqual(self._maskOf("liver from 0.40").sum(), written)

    def probePoint(self) -> None:
        """Probing a point in the liver"""
        inside = np.argwhere(self._liver)
        ras = volumes.ijkToRas(self._node.inputVolume) @ [*inside[len(inside) // 2], 1.0]
        point = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode")
        self._node.probePoint = point
        point.AddControlPoint(*ras[:3])
        self._wait(lambda: self._inspect.ui.rankingTable.rowCount and not self._logic.session.busy)
        self._test.assertEqual(self._inspect.ui.rankingTable.item(0, 0).text(), "liver")

    def addFifth(self) -> None:
        """Adding a fifth structure, which the encoding answers"""
        self._check("kidney")
        self._press(self._segment.ui.applyButton)
        self._test.assertIn("encoded already", self._segment.ui.statusLabel.text)
        own = segmentations.ownSegments(self._node.outputSegmentation)
        self._test.assertEqual({name: own[name] for name in self._found}, self._found)
        self._test.assertTrue((self._maskOf("liver") == self._liver).all())
        self._test.assertIn("kidney", own)

    def saveAndLoad(self) -> None:
        """Saving the scene and loading it again"""
        path = os.path.join(slicer.app.temporaryPath, "CFSegmenterTest.mrb")
        self._test.assertTrue(slicer.util.saveScene(path))
        self._disconnect()
        slicer.mrmlScene.Clear()
        slicer.util.loadScene(path)
        os.remove(path)
        self._connect()
        self._test.assertEqual(sorted(self._node.targets), sorted([*self._found, "kidney"]))
        self._test.assertAlmostEqual(self._node.threshold, 0.4)
        self._test.assertEqual(maps.titleOf(self._node.shownMap), "liver")
        self._test.assertTrue((self._maskOf("liver") == self._liver).all())

    def closeScene(self) -> None:
        """Closing the scene, which ends the worker"""
        self._disconnect()
        slicer.mrmlScene.Clear()
        self._logic.stop()
        self._test.assertFalse(self._logic.session.link.isRunning)
        self._connect()
        self._test.assertFalse(self._segment.ui.applyButton.enabled)

    def end(self) -> None:
        """Let go of everything, at whatever step."""
        self._segment.cleanup()
        self._inspect.cleanup()
        self._logic.stop()
        self._parent.deleteLater()

    @property
    def _node(self) -> Any:
        return self._logic.getParameterNode()

    def _connect(self) -> None:
        for panel in (self._segment, self._inspect):
            panel.setParameterNode(self._node)

    def _disconnect(self) -> None:
        for panel in (self._segment, self._inspect):
            panel.setParameterNode(None)

    def _check(self, *structures: str) -> None:
        for name in structures:
            self._segment.ui.addLineEdit.text = name
            self._segment.ui.addButton.click()

    def _press(self, button: Any) -> None:
        self._test.assertTrue(button.enabled, button.toolTip)
        button.click()
        self._wait(lambda: not self._logic.session.busy)

    def _wait(self, until: Callable[[], Any]) -> None:
        end = time.monotonic() + PATIENCE
        slicer.app.processEvents()
        while not until():
            self._test.assertLess(time.monotonic(), end, "the worker did not answer")
            slicer.app.processEvents()
            time.sleep(0.01)

    def _maskOf(self, structure: str) -> np.ndarray:
        node = self._node.outputSegmentation
        return segmentations.maskOf(node, segmentations.ownSegments(node)[structure], self._node.inputVolume)
