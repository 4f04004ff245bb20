"""CFSegmenter: name a structure, get it segmented, and see why."""

from __future__ import annotations

import os
import sys

import slicer
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

# Installed, module and library lie side by side; in a checkout the library lies beside this module's folder.
_beside = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
if os.path.isdir(os.path.join(_beside, "CFSegmenterLib")) and _beside not in sys.path:
    sys.path.append(_beside)


class CFSegmenter(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("CFSegmenter")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "Volumes", "Colors", "Markups", "Terminologies", "Sequences"]
        self.parent.contributors = ["The CFSegmenter authors"]
        self.parent.helpText = _(
            "Segments any structure that a model has been taught, in CT and MR, and shows for every voxel how much "
            "it resembles what was asked for. Nothing leaves this computer."
        )
        self.parent.acknowledgementText = _(
            "An independent implementation of 'A Classifier-Free Incremental Learning Framework for Scalable Medical "
            "Image Segmentation' (arXiv 2405.16328)."
        )
        slicer.app.connect("startupCompleted()", self._startupCompleted)

    def _startupCompleted(self):
        """Only what other modules must know of before this one is opened."""
        from CFSegmenterUI import sampleData, terminology

        sampleData.register(self.resourcePath)
        terminology.registerContext(slicer.modules.terminologies.logic(), slicer.app.temporaryPath)


class CFSegmenterWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The module's panel: five sections over one session."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.panels = ()
        self._parameterNode = None
        self._entered = False

    def setup(self):
        ScriptedLoadableModuleWidget.setup(self)
        from CFSegmenterUI.inspectPanel import InspectPanel
        from CFSegmenterUI.modelsPanel import ModelsPanel
        from CFSegmenterUI.sections import addSection
        from CFSegmenterUI.segmentPanel import SegmentPanel
        from CFSegmenterUI.setupPanel import SetupPanel
        from CFSegmenterUI.teachPanels import TeachPanels

        self.logic = CFSegmenterLogic()
        session, find = self.logic.session, self.resourcePath
        self.setupSection = addSection(self.layout, _("Set-up"))
        self.segmentSection = addSection(self.layout, _("Segment"))
        self.inspectSection = addSection(self.layout, _("Inspect"), collapsed=True)
        self.modelsSection = addSection(self.layout, _("Models"), collapsed=True)
        self.teachSection = addSection(self.layout, _("Teach"), collapsed=True)
        self.setupPanel = SetupPanel(self.setupSection, session, find)
        self.setupSection.collapsed = not self.setupPanel.isMissingSomething
        self.segmentPanel = SegmentPanel(self.segmentSection, session, find)
        self.inspectPanel = InspectPanel(self.inspectSection, session, find)
        self.modelsPanel = ModelsPanel(self.modelsSection, session, find)
        self.teachPanels = TeachPanels(self.teachSection, session, find)
        self.panels = (self.setupPanel, self.segmentPanel, self.inspectPanel, self.modelsPanel, self.teachPanels)
        self.layout.addStretch(1)
        scene = slicer.mrmlScene
        self.addObserver(scene, scene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self.onSceneEndClose)

    def cleanup(self):
        """Called when the application closes or the module is reloaded."""
        self.setParameterNode(None)
        self.removeObservers()
        for panel in self.panels:
            panel.cleanup()
        if self.logic:
            self.logic.stop()

    def enter(self):
        """Called each time the user opens this module."""
        self._entered = True
        self.initializeParameterNode()
        if not self.setupPanel.isMissingSomething and not self.logic.session.models:
            self.logic.session.refreshModels(self.modelsPanel.showProblem)

    def exit(self):
        """Called each time the user opens another module."""
        self._entered = False
        self.setParameterNode(None)

    def onSceneStartClose(self, caller=None, event=None):
        """What is under way is about nodes that are about to go."""
        if self.logic.session.busy:
            self.logic.session.busy.cancel()
        self.setParameterNode(None)

    def onSceneEndClose(self, caller=None, event=None):
        # Patient data of a closed scene is not kept in another process; but an update would end with the process.
        if self.teachPanels.needsWorker:
            self.logic.session.forget()
        else:
            self.logic.stop()
        if self._entered:
            self.initializeParameterNode()

    def initializeParameterNode(self):
        """Take the scene's choices, and fill in a volume where none was made."""
        node = self.logic.getParameterNode()
        if node.inputVolume is None:
            node.inputVolume = slicer.mrmlScene.GetFirstNodeByClass("vtkMRMLScalarVolumeNode")
        self.setParameterNode(node)

    def setParameterNode(self, node):
        """Connect the panels to a parameter node; None disconnects them."""
        self._parameterNode = node
        for panel in self.panels:
            panel.setParameterNode(node)


class CFSegmenterLogic(ScriptedLoadableModuleLogic):
    """What can be done without the panel, from a script.

        logic = slicer.util.getModuleLogic("CFSegmenter")
        result = logic.segment(slicer.util.getNode("CTChest"), ["left kidney", "liver"])
        mapNode = logic.similarity(slicer.util.getNode("CTChest"), "spleen")
    """

    def __init__(self, parent=None):
        ScriptedLoadableModuleLogic.__init__(self, parent)
        import qt
        from CFSegmenterUI.modelFolders import ModelFolders
        from CFSegmenterUI.session import Session
        from CFSegmenterUI.workerLink import WorkerLink

        from CFSegmenterLib.structures import Vocabulary

        folders = ModelFolders(qt.QSettings())
        self.session = Session(slicer.mrmlScene, WorkerLink(), Vocabulary.load(), lambda: folders.paths)

    def getParameterNode(self):
        """The scene's choices, as a CFSegmenterParameterNode."""
        from CFSegmenterUI.parameters import CFSegmenterParameterNode

        return CFSegmenterParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))

    def segment(self, volumeNode, structures, segmentationNode=None, model="", device="auto", protocol=None):
        """Segment structures by name and wait for it.

        Returns:
            SegmentResult: the segmentation, segment IDs and volumes of what was found.

        Raises:
            UserError: one sentence on what is wrong and what to do.
        """
        options = self.options(model, device, protocol)
        return self.session.wait(self.session.segment(volumeNode, structures, segmentationNode, options))

    def similarity(self, volumeNode, structure, model="", device="auto", protocol=None):
        """The similarity map of a structure, as a volume node; waits for it.

        Raises:
            UserError: one sentence on what is wrong and what to do.
        """
        options = self.options(model, device, protocol)
        return self.session.wait(self.session.similarity(volumeNode, structure, options))

    def options(self, model="", device="auto", protocol=None):
        """How to read a volume: `model` is a model's folder, "" the shipped one."""
        from CFSegmenterUI.session import RunOptions

        from CFSegmenterLib.errors import UserError

        if not self.session.models:
            self.session.wait(self.session.refreshModels())
        known = self.session.modelAt(model)
        if known is None:
            raise UserError(_("There is no model in {folder}; import one under Models.").format(folder=model))
        return RunOptions(known.folder, device, protocol or None)

    def stop(self):
        """End the worker; the next question starts it again."""
        self.session.stop()


class CFSegmenterTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer, without network: on the phantom that travels with the extension, with the shipped model."""

    def setUp(self):
        slicer.mrmlScene.Clear()
        self.logic = None

    def tearDown(self):
        if self.logic:
            self.logic.stop()

    def runTest(self):
        """Called by "Reload and Test"; ctest calls each test by itself."""
        for name in (name for name in dir(self) if name.startswith("test_")):
            self.setUp()
            try:
                getattr(self, name)()
            finally:
                self.tearDown()

    def test_MasksAndMapsGoIntoTheScene(self):
        """Needs no worker: what comes back from one is written, and the user's segments stay as they are."""
        import numpy as np
        from CFSegmenterUI import maps, segmentations

        from CFSegmenterLib.structures import Vocabulary

        volume = self._phantom()
        voxels = slicer.util.arrayFromVolume(volume).T
        mask = voxels > np.percentile(voxels, 90)
        node = segmentations.newSegmentation(slicer.mrmlScene, volume)
        mine = node.GetSegmentation().AddEmptySegment("", "mine")
        provenance = segmentations.Provenance("test", "1", "2026-01-01")
        for each in (mask, ~mask):  # the second run replaces what the first one wrote
            written = segmentations.writeSegments(node, volume, {"liver": each}, provenance, Vocabulary.load())
            self.assertTrue((segmentations.maskOf(node, written["liver"], volume) == each).all())
        self.assertEqual(node.GetSegmentation().GetNumberOfSegments(), 2)
        self.assertEqual(node.GetSegmentation().GetSegment(mine).GetName(), "mine")
        mapNode = maps.writeMap(volume, np.where(mask, 0.9, -0.9).astype(np.float32), "liver", "similarity")
        self.assertTrue((slicer.util.arrayFromVolume(mapNode).T > 0)[mask].all())

    def test_SegmentInspectAndRunAgain(self):
        """The scenario of a first visit."""
        from CFSegmenterUI.dependencies import findMissing

        missing = findMissing(os.path.join(os.path.dirname(__file__), "Resources", "requirements.txt"))
        if missing:
            self.delayDisplay(f"Skipped: {missing.text}")
            return
        volume = self._phantom()
        self.logic = CFSegmenterLogic()
        self.delayDisplay("Segmenting; the first run starts the worker")
        first = self.logic.segment(volume, ["liver", "right kidney"], device="cpu")
        self.assertTrue(first.encoded)
        self.assertIn("liver", first.segments)
        again = self.logic.segment(volume, ["liver", "spleen"], first.node, device="cpu")
        self.assertFalse(again.encoded, "the second run asks the encoding")
        self.assertEqual(again.segments["liver"], first.segments["liver"])
        mapNode = self.logic.similarity(volume, "liver", device="cpu")
        low, high = mapNode.GetImageData().GetScalarRange()
        self.assertTrue(-1.001 <= low < high <= 1.001)
        slicer.mrmlScene.Clear()
        self.delayDisplay("Test passed")

    def _phantom(self):
        sample = os.path.join(os.path.dirname(__file__), "Resources", "SampleData", "CFSegmenterPhantom.nrrd")
        return slicer.util.loadVolume(sample)
