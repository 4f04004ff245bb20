"""What the module does with scene and worker while something is being taught."""

from __future__ import annotations

from pathlib import Path

import pytest
from CFSegmenterUI import setupPanel, updateRun, workerLink

from Testing.Host.modules import ScriptedModule
from Testing.Widget.answeredWorker import Link, click
from Testing.Widget.teachFixtures import CASES, GENERAL, STORE, aCase, asked, aVersion, isAsked

MODULE = Path(__file__).parents[2] / "CFSegmenter" / "CFSegmenter.py"


@pytest.fixture
def opened(application, scene, monkeypatch):
    """The module as Slicer loads it, ready to update; (its widget, its worker)."""
    monkeypatch.setattr(workerLink, "WorkerLink", Link)
    monkeypatch.setattr(updateRun, "POLL_MS", 1)
    monkeypatch.setattr(setupPanel, "CHECK_MS", 1)
    module = ScriptedModule(MODULE).load()
    module.widgetRepresentation().show()
    module.widget().teachSection.collapsed = False
    module.enter()
    widget = module.widget()
    link = widget.logic.session.link
    widget.logic.session.refreshModels()
    asked(link, "models").answer({"models": [GENERAL]})
    node = widget.logic.getParameterNode()
    node.caseFolder, node.storeFolder = CASES, STORE
    widget.setParameterNode(node)
    asked(link, "cases").answer({"cases": [aCase(1)]})
    asked(link, "store").answer({"active": None, "versions": []})
    yield widget, link
    module.exit()
    widget.cleanup()


def testClosingTheSceneEndsTheWorkerButNotAnUpdate(opened, scene, process):
    widget, link = opened
    click(widget.teachPanels.updatePanel.ui.updateButton)
    asked(link, "update_start").answer({"update": "u1"})
    scene.Clear(0)
    assert link.stops == 0
    assert isAsked(link, "forget"), "patient data of a closed scene is not kept"
    process(lambda: isAsked(link, "update_state"))
    asked(link, "update_state").answer({"state": "done", "version": "2"})
    asked(link, "store").answer({"active": "1", "versions": [aVersion("1"), aVersion("2", "proposed")]})
    scene.Clear(0)
    assert link.stops == 1


def testWhileItLearnsTheWorkerIsNotStartedAnew(opened, process):
    widget, link = opened
    ui = widget.setupPanel.ui
    process(lambda: ui.testButton.enabled)
    click(widget.teachPanels.updatePanel.ui.updateButton)
    asked(link, "update_start").answer({"update": "u1"})
    process(lambda: not ui.testButton.enabled)
    assert not ui.commandLineEdit.enabled
    process(lambda: isAsked(link, "update_state"))
    asked(link, "update_state").answer({"state": "failed", "message": "There is no space left."})
    process(lambda: ui.testButton.enabled)
    assert ui.commandLineEdit.enabled


def testAtTheEndOfSlicerAnUpdateIsLeftTheTimeToKeepWhatItLearned(opened):
    widget, link = opened
    click(widget.teachPanels.updatePanel.ui.updateButton)
    asked(link, "update_start").answer({"update": "u1"})
    widget.cleanup()
    assert link.gentleStops == 1


def testAtTheEndOfSlicerNobodyWaitsForAWorkerThatHasNothingToKeep(opened):
    widget, link = opened
    widget.cleanup()
    assert link.stops and not link.gentleStops


def testTheFoldersAreThereAgainInTheNextScene(opened, scene):
    widget, link = opened
    scene.Clear(0)
    node = widget.logic.getParameterNode()
    assert (node.caseFolder, node.storeFolder) == (CASES, STORE)
    assert not isAsked(link, "cases"), "what is known is not asked again"
    assert widget.teachPanels.teaching.cases
