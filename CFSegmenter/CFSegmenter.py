"""CFSegmenter: name a structure, get it segmented, and see why."""

from __future__ import annotations

import os
import sys
import unittest

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


HOMEPAGE = "https://github.com/CFSegmenter/SlicerCFSegmenter"


class CFSegmenter(ScriptedLoadableModule):
    """What Slicer shows of the module before it is opened."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("CFSegmenter")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = [
            "Segmentations",
            "Volumes",
            "Colors",
            "Markups",
            "Terminologies",
            "Sequences",
            "Plots",
        ]
        self.parent.contributors = ["The CFSegmenter authors"]
        self.parent.helpText = _(
            "Segments any structure that a model has been taught, in CT and MR, and shows for every voxel how much "
            "it resembles what was asked for. Nothing leaves this computer, unless you set a worker on another one. "
            "For research, not for diagnosis. "
            'See the <a href="{url}">documentation</a>.'
        ).format(url=HOMEPAGE)
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
        self.logic = None
        self.panels = ()
        self._parameterNode = None
        self._entered = False
        VTKObservationMixin.__init__(self)
        ScriptedLoadableModuleWidget.__init__(self, parent)  # without a parent it sets the module up at once

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
        self.setupPanel = SetupPanel(self.setupSection, session, find, lambda: self.teachPanels.needsWorker)
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
        # After those of the selectors in all panels, which make their rows anew at the end.
        self.addObserver(scene, scene.StartImportEvent, self.onSceneStartImport)
        self.addObserver(scene, scene.EndImportEvent, self.onSceneEndImport)
        if getattr(self.parent, "isEntered", False):  # "Reload" makes a new panel, and does not enter it
            self.enter()

    def cleanup(self):
        """Called when the application closes or the module is reloaded."""
        self.setParameterNode(None)
        self.removeObservers()
        for panel in self.panels:
            panel.cleanup()
        if self.logic:
            # Killed with its worker, an update would lose what it has learned since its last checkpoint.
            if self.panels and self.teachPanels.needsWorker:
                self.logic.session.link.stop(gently=True)
            self.logic.stop()

    def enter(self):
        """Called each time the user opens this module."""
        self._entered = True
        self._begin()

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
            self._begin()

    def onSceneStartImport(self, caller=None, event=None):
        """A scene is read, or added: as selectors make their rows anew they forget their choice, and would say so."""
        self.setParameterNode(None)

    def onSceneEndImport(self, caller=None, event=None):
        """The choices may be those of the file, and refer to nodes that came after them."""
        if self._entered:
            self.initializeParameterNode()

    def _begin(self):
        """Show the scene's choices, and look for models where none is known: with the worker the search ends, too."""
        self.initializeParameterNode()
        if not self.setupPanel.isMissingSomething and not self.logic.session.models:
            self.logic.session.refreshModels(self.modelsPanel.showProblem)

    def initializeParameterNode(self):
        """Take the scene's choices, and fill in a volume where none was made."""
        from CFSegmenterUI import maps

        node = self.logic.getParameterNode()
        node.Modified()  # who else reads the choices, as a run under way, has not heard of nodes that came late
        if node.inputVolume is None:
            node.inputVolume = next(iter(maps.scansIn(slicer.mrmlScene)), None)
        self.setParameterNode(node)

    def setParameterNode(self, node):
        """Connect the panels to a parameter node; None disconnects them."""
        self._parameterNode = node
        for panel in self.panels:
            panel.setParameterNode(node)


class CFSegmenterLogic(ScriptedLoadableModuleLogic):
    """What can be done without the panel, from a script; every call waits until it is done.

        logic = slicer.util.getModuleLogic("CFSegmenter")
        volume = slicer.util.getNode("MRHead")
        result = logic.segment(volume, ["left hippocampus", "right hippocampus"])
        mapNode = logic.similarity(volume, "left thalamus")

    `how`, at the end of most calls, are the arguments of `options`. What goes wrong raises UserError, which says in one
    sentence what is wrong and what to do.
    """

    def __init__(self, modelFolders=None):
        """Args: folders with models besides the shipped ones; None takes those that the user has imported."""
        ScriptedLoadableModuleLogic.__init__(self)
        import qt
        from CFSegmenterUI.modelFolders import ModelFolders
        from CFSegmenterUI.session import Session
        from CFSegmenterUI.workerLink import WorkerLink

        from CFSegmenterLib.structures import Vocabulary

        folders = ModelFolders(qt.QSettings())
        find = (lambda: folders.paths) if modelFolders is None else lambda: modelFolders
        self.session = Session(slicer.mrmlScene, WorkerLink(), Vocabulary.load(), find)

    def getParameterNode(self):
        """The scene's choices, as a CFSegmenterParameterNode."""
        from CFSegmenterUI.parameters import CFSegmenterParameterNode

        return CFSegmenterParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))

    def models(self):
        """The models that there are, as ModelInfo: the shipped ones, and those that were imported."""
        return self.session.wait(self.session.refreshModels())

    def segment(self, volumeNode, structures, segmentationNode=None, **how):
        """Segment structures by name; returns a SegmentResult with the segmentation, its segments and volumes."""
        return self._answer(self.session.segment, volumeNode, structures, segmentationNode, **how)

    def segmentFrames(self, volumeNode, structures, segmentationNode=None, **how):
        """Segment every frame of the volume's sequence, into a sequence in step with it; returns the SegmentResults."""
        from CFSegmenterUI.frameRun import waitForFrames

        return waitForFrames(self.session, volumeNode, structures, segmentationNode, self.options(**how))

    def similarity(self, volumeNode, structure, **how):
        """A volume node with the cosine of every voxel with a structure, or with what `probe` or `example` returned."""
        return self._answer(self.session.similarity, volumeNode, structure, **how)

    def best(self, volumeNode, **how):
        """A label map node with the class that every voxel resembles most."""
        return self._answer(self.session.best, volumeNode, **how)

    def margin(self, volumeNode, **how):
        """A volume node with the lead of the best class over the next: small where the model is unsure."""
        return self._answer(self.session.margin, volumeNode, **how)

    def probe(self, volumeNode, ras, **how):
        """What is at a point, in mm RAS: [(class, cosine)], the most alike first, and a query for `similarity`."""
        return self._answer(self.session.probe, volumeNode, ras, **how)

    def example(self, volumeNode, segmentationNode, segmentID, **how):
        """A painted segment as a query for `similarity`."""
        return self._answer(self.session.example, volumeNode, segmentationNode, segmentID, **how)

    def segmentAtThreshold(self, mapNode, threshold, segmentationNode, name):
        """Write where a map is at least `threshold` as a segment called `name`; returns the segment's ID."""
        from CFSegmenterUI import maps

        return self.session.segmentAtThreshold(mapNode, maps.volumeOf(mapNode), segmentationNode, threshold, name)

    def options(self, model="", device="auto", protocol=None):
        """How to read a volume.

        Args:
            model: a model's folder, "" the shipped one.
            device: "auto", "cpu" or "cuda".
            protocol: kind of scan, by the model's name for it; None lets the scan decide.
        """
        from CFSegmenterUI.session import RunOptions

        from CFSegmenterLib.errors import UserError

        if self.session.modelAt(model) is None:
            self.models()
        known = self.session.modelAt(model)
        if known is None:
            raise UserError(_("There is no model in {folder}; import one under Models.").format(folder=model))
        return RunOptions(known.folder, device, protocol or None)

    def stop(self):
        """End the worker; the next question starts it again."""
        self.session.stop()

    def _answer(self, ask, volumeNode, *arguments, **how):
        return self.session.wait(ask(volumeNode, *arguments, self.options(**how)))


class CFSegmenterTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer, without network, in seconds: on a drawn scan, with a tiny model that knows its organs."""

    def setUp(self):
        slicer.mrmlScene.Clear()
        self.visit = None

    def tearDown(self):
        if self.visit:
            self.visit.end()

    def runTest(self):
        """Called by "Reload and Test"; ctest calls each test by itself."""
        for name in (name for name in dir(self) if name.startswith("test_")):
            self.setUp()
            try:
                getattr(self, name)()
            except unittest.SkipTest as skipped:
                self.delayDisplay(f"{name} was skipped: {skipped}")
            finally:
                self.tearDown()

    def test_MasksAndMapsGoIntoTheScene(self):
        """Needs no worker: what comes back from one is written, and the user's segments stay as they are."""
        from CFSegmenterUI import selfTest

        selfTest.writeMasksAndMaps(self, self._path("scan.nrrd"))

    def test_PanelOpensAndCloses(self):
        """The module as its user finds it, with whatever is installed."""
        widget = slicer.util.getModuleWidget("CFSegmenter")
        widget.enter()
        self.assertFalse(widget.segmentPanel.ui.applyButton.enabled)  # there is no volume
        widget.exit()
        if widget.parent.isEntered:  # the user's own panel is in sight
            widget.enter()

    def test_FirstVisit(self):
        """The scenario: a volume, segments, a map, a point, one structure more, and the scene saved and loaded."""
        from CFSegmenterUI import selfTest
        from CFSegmenterUI.dependencies import findMissing

        missing = findMissing(os.path.join(os.path.dirname(__file__), "Resources", "requirements.txt"))
        if missing:
            self.skipTest(missing.text)
        self.visit = selfTest.FirstVisit(self, CFSegmenterLogic([self._path("model")]), self._path("scan.nrrd"))
        for step in self.visit.steps:
            self.delayDisplay(step.__doc__)
            step()

    def _path(self, name):
        return os.path.join(os.path.dirname(os.path.abspath(__file__)), "Resources", "SelfTest", name)
