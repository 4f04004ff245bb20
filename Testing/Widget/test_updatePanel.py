"""The update panel on a real session; the worker's answers are given by the test."""

import pytest
import slicer
from CFSegmenterUI.session import Session

from CFSegmenterLib.structures import Vocabulary
from Testing.Widget.answeredWorker import Link, click, manifest, newParameterNode
from Testing.Widget.teachFixtures import (
    CASES,
    GENERAL,
    STORE,
    aCase,
    asked,
    aVersion,
    isAsked,
    link,
    newPanels,
    node,
    openCases,
    openStore,
    segmentation,
    session,
    teach,
    user,
    volume,
)

__all__ = ["link", "node", "segmentation", "session", "teach", "user", "volume"]

RUNNING = {
    "state": "running",
    "phase": "training",
    "step": 20,
    "total": 100,
    "fraction": 0.2,
    "loss": 1.5,
    "seconds_left": 75.0,
    "losses": [[10, 2.0], [20, 1.5]],
    "message": "step 20 of 100, loss 1.500",
    "version": None,
}
ARGUMENTS = {
    "store": STORE,
    "model": GENERAL["folder"],
    "cases": [CASES],
    "unlabelled": None,
    "budget": "10min",
    "settings": {},
    "device": "auto",
}


@pytest.fixture
def panel(teach, node, link):
    """Ready to start: three cases in a folder, and a folder for the versions in which there is none yet."""
    openCases(teach, node, link, aCase(1, ["gallbladder"]), aCase(2), aCase(4, split="validation"))
    openStore(teach, node, link)
    return teach.updatePanel


@pytest.fixture
def running(panel, link, process):
    """The panel with an update at work."""
    click(panel.ui.updateButton)
    asked(link, "update_start").answer({"update": "u1"})
    tell(link, process, **RUNNING)
    return panel


def tell(link, process, **said):
    """The next time that the panel asks how far the update is, the worker says this."""
    process(lambda: isAsked(link, "update_state"))
    asked(link, "update_state").answer({**RUNNING, **said})


def refusePolls(link, process, count, text="The worker ended unexpectedly."):
    for _ in range(count):
        process(lambda: isAsked(link, "update_state"))
        asked(link, "update_state").refuse(text)


def starts(link):
    return [question.message for question in link.questions if question.verb == "update_start"]


def testSaysWhatIsLearnedFromWhatIsNewAndWhatIsKeptToCheck(panel):
    assert panel.ui.modelLabel.text == "general 1"
    assert panel.ui.planLabel.text == "2 cases to learn from. New: gallbladder. 1 kept to check it with."


def testFewCasesWithoutValidationAreToldOf(teach, node, link, panel):
    openCasesAgain(teach, link, aCase(1), aCase(2))
    assert "fewer than 4 cases" in panel.ui.planLabel.text


def openCasesAgain(teach, link, *cases):
    teach.teaching.openCases(CASES)
    asked(link, "cases").answer({"cases": list(cases)})


def testUpdateSendsWhatWasChosen(panel, node, link):
    node.unlabelledFolder = "/home/me/old scans"
    node.updateLearningRate = "1e-4"
    panel.ui.pseudoLabelsCheckBox.checked = True
    panel.ui.budgetComboBox.setCurrentIndex(panel.ui.budgetComboBox.findData("overnight"))
    assert node.updateBudget == "overnight"
    click(panel.ui.updateButton)
    assert starts(link) == [
        {
            **ARGUMENTS,
            "unlabelled": "/home/me/old scans",
            "budget": "overnight",
            "settings": {
                "learning_rate": 1e-4,
                "distillation": {"pseudo_labels": True, "similarity_weighted": False},
            },
        }
    ]


def testAnyTimeCanBeTypedAndWhatIsNoTimeIsSaid(panel, node, link):
    panel.ui.budgetComboBox.setEditText("90 min")
    assert node.updateBudget == "90 min"
    assert panel.ui.updateButton.enabled
    panel.ui.budgetComboBox.setEditText("soon")
    assert "'soon' is not a time" in panel.ui.planLabel.text
    assert not panel.ui.updateButton.enabled


def testALearningRateThatIsNoneIsSaid(panel, node):
    for text in ("fast", "-1", "0", "nan"):
        node.updateLearningRate = text
        assert "learning rate" in panel.ui.planLabel.text
        assert not panel.ui.updateButton.enabled


def testWhatIsMissingIsSaid(teach, node, link):
    ui = teach.updatePanel.ui
    assert "No folder of cases" in ui.planLabel.text
    openCases(teach, node, link)
    assert "no case to learn from" in ui.planLabel.text
    openCasesAgain(teach, link, aCase(4, split="validation"))
    assert "no case to learn from" in ui.planLabel.text
    openCasesAgain(teach, link, aCase(1))
    assert "where the new version goes" in ui.planLabel.text
    assert not ui.updateButton.enabled


def testTheVersionInUseIsTaughtNext(teach, node, link):
    openCases(teach, node, link, aCase(1, ["gallbladder"]))
    taught = [*manifest()["prototypes"], {"name": "gallbladder"}]
    second = aVersion("2", manifest=manifest(version="2", prototypes=taught))
    openStore(teach, node, link, "2", aVersion("1"), second)
    ui = teach.updatePanel.ui
    assert ui.modelLabel.text == "general 2, in use in the folder below"
    assert "New" not in ui.planLabel.text
    click(ui.updateButton)
    assert starts(link)[0]["model"] == f"{STORE}/versions/2"


def testTheButtonTurnsAndProgressLossAndTimeAreShown(running):
    ui = running.ui
    assert ui.updateButton.text == "Cancel"
    assert ui.statusLabel.text == "Learning, loss 1.500, 75 s left"
    assert ui.progressBar.visible
    assert ui.progressBar.value == pytest.approx(0.2 * ui.progressBar.maximum)
    assert not ui.storeFolderLineEdit.enabled


def testItSaysWhatQuittingDoesToAnUpdate(running, link, process):
    assert "as long as Slicer is open" in running.ui.planLabel.text
    assert "kept" in running.ui.planLabel.text
    tell(link, process, state="done", version="2")
    assert "Slicer" not in running.ui.planLabel.text


def testThePlotIsShownOnAClickWhereThereAreViews(running, scene, link, process):
    assert not running.ui.plotButton.enabled  # as without a main window
    assert scene.GetFirstNodeByClass("vtkMRMLPlotSeriesNode") is None, "nobody has asked for it"
    layout = scene.AddNewNodeByClass("vtkMRMLLayoutNode")
    layout.SetViewArrangement(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView)
    tell(link, process)
    click(running.ui.plotButton)
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpPlotView
    table = scene.GetFirstNodeByClass("vtkMRMLPlotSeriesNode").GetTableNode()
    assert table.GetTable().GetNumberOfRows() == 2
    tell(link, process, losses=[[10, 2.0], [20, 1.5], [30, 1.0]])
    assert table.GetTable().GetNumberOfRows() == 3
    click(running.ui.plotButton)
    assert layout.GetViewArrangement() == slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
    scene.RemoveNode(layout)


def testSegmentingGoesOnMeanwhile(running, teach):
    assert teach.needsWorker
    assert teach.teaching.session.busy is None


def testOneQuestionAtATimeIsAskedHowFarItIs(running, link, process):
    process(lambda: isAsked(link, "update_state"))
    for _ in range(50):
        process()
    assert sum(question.verb == "update_state" and question.isActive for question in link.questions) == 1


def testWhenItIsDoneTheReportOfTheNewVersionIsShown(running, teach, link, process):
    tell(link, process, state="done", version="2")
    asked(link, "store").answer({"active": "1", "versions": [aVersion("1"), aVersion("2", "proposed")]})
    assert not teach.needsWorker
    assert "Version 2 is ready" in running.ui.statusLabel.text
    assert running.ui.updateButton.text == "Update"
    assert asked(link, "report").message == {"store": STORE, "version": "2"}
    assert teach.reportPanel.ui.versionComboBox.currentText == "2, waits for a decision"


def testCancelKeepsWhatWasLearnedAndGoesOnFromThere(running, link, process):
    click(running.ui.updateButton)
    assert asked(link, "update_cancel").message == {"store": STORE, "update": "u1"}
    assert "Cancelling" in running.ui.statusLabel.text
    assert not running.ui.updateButton.enabled
    tell(link, process)  # it is at its last step
    assert "Cancelling" in running.ui.statusLabel.text
    tell(link, process, state="stopped", message="Stopped; it goes on from its last checkpoint.")
    assert running.ui.statusLabel.text == "Stopped; it goes on from its last checkpoint. Go on, or discard it."
    assert running.ui.updateButton.text == "Go on"
    click(running.ui.updateButton)
    assert starts(link) == [ARGUMENTS, ARGUMENTS]


def testCancelBeforeTheWorkerHasStartedItIsHeeded(panel, link):
    click(panel.ui.updateButton)
    click(panel.ui.updateButton)
    assert not isAsked(link, "update_cancel")
    asked(link, "update_start").answer({"update": "u1"})
    assert asked(link, "update_cancel").message == {"store": STORE, "update": "u1"}


def testWhatWasStoppedIsDiscardedWhenTheUserMeansIt(running, link, process, user):
    click(running.ui.updateButton)
    tell(link, process, state="stopped")
    user.agrees = False
    click(running.ui.discardButton)
    assert not isAsked(link, "update_discard")
    user.agrees = True
    click(running.ui.discardButton)
    assert asked(link, "update_discard").message == {"store": STORE, "update": "u1"}
    assert running.ui.updateButton.text == "Update"
    assert not running.ui.discardButton.visible


def testAnUpdateThatEndedWithTheWorkerGoesOnByItself(running, link, process):
    refusePolls(link, process, 1)
    tell(link, process, state="stopped", step=30)
    assert starts(link) == [ARGUMENTS, ARGUMENTS]
    asked(link, "update_start").answer({"update": "u1"})
    tell(link, process, step=40)
    assert running.ui.updateButton.text == "Cancel"


def testAnUpdateThatComesNoFurtherIsNotStartedForEver(running, link, process):
    tell(link, process, state="stopped", step=30)
    asked(link, "update_start").answer({"update": "u1"})
    tell(link, process, state="stopped", step=30, message="There was too little memory.")
    assert len(starts(link)) == 2
    assert "too little memory" in running.ui.statusLabel.text
    assert running.ui.updateButton.text == "Go on"


def testAWorkerThatDoesNotComeBackIsToldOfAfterAWhile(running, link, process):
    refusePolls(link, process, 3, "The worker could not be started.")
    assert running.ui.statusLabel.text == "The worker could not be started."
    assert running.ui.updateButton.text == "Update"


def testAFailureIsSaidInTheWordsOfTheWorker(running, link, process):
    tell(link, process, state="failed", message="There is no space left on the disk.")
    assert running.ui.statusLabel.text == "There is no space left on the disk."


def testRefusedStartIsSaid(panel, link):
    click(panel.ui.updateButton)
    asked(link, "update_start").refuse("The store is of another model.")
    assert panel.ui.statusLabel.text == "The store is of another model."
    assert panel.ui.updateButton.text == "Update"


def testAfterTheNextStartOfSlicerAnInterruptedUpdateIsOffered(running, teach, scene, user, process):
    teach.cleanup()
    later = Link()
    session = Session(scene, later, Vocabulary.load())
    panels = newPanels(session, user)
    panels.setParameterNode(newParameterNode())
    session.refreshModels()
    asked(later, "models").answer({"models": [GENERAL]})
    assert asked(later, "update_state").message == {"store": STORE, "update": "u1"}
    asked(later, "update_state").answer({**RUNNING, "state": "stopped"})
    assert not isAsked(later, "update_start"), "nobody has asked for it yet"
    assert panels.updatePanel.ui.updateButton.text == "Go on"
    panels.cleanup()


def testItGoesOnWhileTheModuleIsLeftAndTheSceneClosed(running, teach, scene, link, process):
    teach.setParameterNode(None)
    scene.Clear(0)
    tell(link, process, step=50, fraction=0.5)
    assert teach.needsWorker
    tell(link, process, state="done", version="2")
    asked(link, "store").answer({"active": "1", "versions": [aVersion("1"), aVersion("2", "proposed")]})
    node = newParameterNode()
    teach.setParameterNode(node)
    assert node.storeFolder == STORE
    assert "Version 2 is ready" in running.ui.statusLabel.text


def testACancelThatIsRefusedIsSaidAndTheUpdateIsStillFollowed(running, link, process):
    click(running.ui.updateButton)
    asked(link, "update_cancel").refuse("The update was started by another program; cancel it there.")
    assert running.ui.statusLabel.text == "The update was started by another program; cancel it there."
    tell(link, process, step=30)
    assert running.ui.updateButton.text == "Cancel"


def testAVersionInAnotherFolderThanTheOneShownIsTold(running, teach, node, link, process):
    teach.teaching.openStore("/another/store")
    asked(link, "store").answer({"active": None, "versions": []})
    tell(link, process, state="done", version="2")
    assert f"Version 2 is ready in {STORE}" in running.ui.statusLabel.text
    assert not isAsked(link, "store")
