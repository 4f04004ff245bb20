"""The report panel on a real session; the worker's answers are given by the test."""

from pathlib import Path

import pytest
import qt
from CFSegmenterUI.modelFolders import ModelFolders

from Testing.Host.proxies import unwrap
from Testing.Widget.answeredWorker import click, rowTexts
from Testing.Widget.teachFixtures import (
    GENERAL,
    STORE,
    asked,
    aVersion,
    isAsked,
    link,
    node,
    openStore,
    segmentation,
    session,
    teach,
    user,
    volume,
)

__all__ = ["link", "node", "segmentation", "session", "teach", "user", "volume"]


def aScore(structure, before, after, kind="old", **others):
    return {
        "structure": structure,
        "source": "ct cases",
        "modality": "ct",
        "kind": kind,
        "cases": 2,
        "dice_before": before,
        "dice_after": after,
        "distance_before": None,
        "distance_after": 1.25,
        "per_case": [{"case": 4, "dice_before": before, "dice_after": after}],
        **others,
    }


REPORT = {
    "format": 1,
    "model": "general",
    "version": "3",
    "parent": "2",
    "date": "2026-11-25",
    "minutes": 9.8,
    "iterations": 812,
    "cases": {"training": 6, "validation": 2, "unlabelled": 0},
    "added": ["gallbladder"],
    "taught": ["gallbladder", "liver"],
    "validated": True,
    "why_not_validated": None,
    "scores": [
        aScore("gallbladder", None, 0.81, "new"),
        aScore("liver", 0.93, 0.95),
        aScore("spleen", 0.91, 0.912),
        aScore("left kidney", 0.90, 0.86),
    ],
    "agreement": [
        {"structure": "spleen", "where": "update", "cases": 8, "dice": 0.98},
        {"structure": "right kidney", "where": "unlabelled", "cases": 3, "dice": 0.97},
    ],
    "losses": [[1, 2.0], [2, 1.0]],
    "warnings": ["left kidney lost 4.0 points on 2 cases"],
    "fell": True,
    "margin": 2.0,
}


@pytest.fixture
def panel(teach, node, link):
    """A store with an active version, and one that waits, whose report is shown."""
    openStore(teach, node, link, "2", aVersion("1"), aVersion("2"), aVersion("3", "proposed"))
    answerReport(link)
    return teach.reportPanel


def answerReport(link, html="/on/the/worker/report/index.html", **others):
    asked(link, "report").answer({"report": {**REPORT, **others}, "html": html, "page": "<p>dépôt</p>"})


def answerDecision(link, verb, active, *versions, message=None):
    """The worker has decided, and says anew which versions and which models there are."""
    asked(link, verb).answer(message or {"active": active, "needs_confirmation": False, "message": ""})
    asked(link, "store").answer({"active": active, "versions": list(versions)})
    known = [{"folder": version["folder"], "manifest": version["manifest"]} for version in versions]
    asked(link, "models").answer({"models": [GENERAL, *known]})


def cellOf(panel, row, column):
    return panel.ui.scoreTable.item(row, column)


def colorOf(panel, row, column):
    color = unwrap(cellOf(panel, row, column)).foreground().color()
    return color.red(), color.green(), color.blue()


def testBeforeAndAfterAreShownWorstFirst(panel):
    assert rowTexts(panel.ui.scoreTable) == [
        ["left kidney", "0.90", "0.86", "▼ −4.0", "1.2 mm"],
        ["spleen", "0.91", "0.91", "≈", "1.2 mm"],
        ["liver", "0.93", "0.95", "▲ +2.0", "1.2 mm"],
        ["gallbladder", "–", "0.81", "new", "1.2 mm"],
    ]
    assert rowTexts(panel.ui.agreementTable) == [["right kidney", "0.97", "3 old"], ["spleen", "0.98", "8 new"]]


def testBetterAndWorseDifferInColorAndTheUnchangedHasNone(panel):
    red, green, _ = colorOf(panel, 0, 3)
    assert red > green
    red, green, _ = colorOf(panel, 2, 3)
    assert green > red
    assert colorOf(panel, 1, 3) == colorOf(panel, 1, 0)


def testScoresOfEachCaseAreInTheToolTip(panel):
    assert "Case 4: 0.90 before, 0.86 after" in cellOf(panel, 0, 0).toolTip()


def testTheReportIsSummedUpAndItsWarningsAreSaid(panel):
    text = panel.ui.summaryLabel.text
    assert "Taught gallbladder, liver on 6 cases in 10 min." in text
    assert "Checked on 2 cases." in text
    assert panel.ui.warningsLabel.text == "⚠ left kidney lost 4.0 points on 2 cases"


def testAReportWithoutValidationSaysSoAndHasNoEmptyTables(teach, node, link):
    openStore(teach, node, link, "1", aVersion("1"), aVersion("3", "proposed"))
    answerReport(
        link, validated=False, why_not_validated="There are fewer than 2 cases.", scores=[], agreement=[], warnings=[]
    )
    ui = teach.reportPanel.ui
    assert "Not checked: There are fewer than 2 cases." in ui.summaryLabel.text
    assert not (ui.scoreTable.visible or ui.agreementTable.visible or ui.warningsLabel.visible)


def testStructuresOfSeveralSourcesAreToldApart(teach, node, link):
    openStore(teach, node, link, "1", aVersion("1"), aVersion("3", "proposed"))
    answerReport(link, scores=[aScore("liver", 0.9, 0.9), aScore("liver", 0.8, 0.7, source="mr-t2 cases")])
    names = [row[0] for row in rowTexts(teach.reportPanel.ui.scoreTable)]
    assert names == ["liver (mr-t2 cases)", "liver (ct cases)"]


def testAcceptingAVersionThatFellAsksASecondTime(panel, node, link, user):
    click(panel.ui.acceptButton)
    assert asked(link, "accept").message == {"store": STORE, "version": "3", "confirmed": False}
    asked(link, "accept").answer({"needs_confirmation": True, "message": "Old structures fell by more than 2 points."})
    assert "Old structures fell by more than 2 points. Accept version 3 all the same?" in user.asked
    assert asked(link, "accept").message["confirmed"] is True
    answerDecision(link, "accept", "3", aVersion("1"), aVersion("2"), aVersion("3"))
    assert node.model == f"{STORE}/versions/3"
    assert "Version 3 is used from now on" in panel.ui.messageLabel.text
    assert panel.ui.versionComboBox.currentText == "3, in use"
    assert not panel.ui.acceptButton.enabled


def testSayingNoToTheSecondQuestionAcceptsNothing(panel, node, link, user):
    user.agrees = False
    click(panel.ui.acceptButton)
    asked(link, "accept").answer({"needs_confirmation": True, "message": "Old structures fell."})
    assert not isAsked(link, "accept")
    assert node.model == ""
    assert "still waits" in panel.ui.messageLabel.text
    assert panel.ui.acceptButton.enabled


def testAcceptingAVersionThatForgotNothingAsksOnce(panel, node, link, user, teach):
    click(panel.ui.acceptButton)
    answerDecision(link, "accept", "3", aVersion("2"), aVersion("3"))
    assert user.asked == []
    assert node.model == f"{STORE}/versions/3"
    assert teach.teaching.session.modelAt(node.model).version == "3"
    assert ModelFolders(qt.QSettings()).paths == [STORE], "the store is looked in after the next start, too"


def testAnAcceptedVersionIsUsedAlsoWhenTheModuleWasLeftMeanwhile(panel, node, link, teach):
    click(panel.ui.acceptButton)
    teach.setParameterNode(None)
    answerDecision(link, "accept", "3", aVersion("2"), aVersion("3"))
    assert node.model == f"{STORE}/versions/3"


def testARejectedVersionIsKeptAndCanStillBeAccepted(panel, node, link):
    click(panel.ui.rejectButton)
    assert asked(link, "reject").message == {"store": STORE, "version": "3"}
    answerDecision(link, "reject", "2", aVersion("1"), aVersion("2"), aVersion("3", "rejected"))
    assert "rejected" in panel.ui.messageLabel.text
    assert panel.ui.versionComboBox.currentText == "3, rejected"
    assert panel.ui.acceptButton.enabled
    assert not panel.ui.rejectButton.enabled
    assert node.model == ""


def testRollingBackUsesTheVersionBeforeWhenTheUserMeansIt(panel, node, link, user):
    user.agrees = False
    click(panel.ui.rollBackButton)
    assert not isAsked(link, "rollback")
    user.agrees = True
    click(panel.ui.rollBackButton)
    assert asked(link, "rollback").message == {"store": STORE}
    answerDecision(link, "rollback", "1", aVersion("1"), aVersion("2"), aVersion("3", "proposed"))
    assert node.model == f"{STORE}/versions/1"
    assert "Version 1 is used again" in panel.ui.messageLabel.text


def testNothingToRollBackToIsSaid(panel, node, link):
    click(panel.ui.rollBackButton)
    asked(link, "rollback").refuse("No version was active before version 2.")
    assert panel.ui.messageLabel.text == "No version was active before version 2."
    assert panel.ui.rollBackButton.enabled


def testASceneWithAVersionThatMadeRoomWorksWithTheOneInUse(panel, node, link, teach):
    click(panel.ui.acceptButton)
    asked(link, "accept").answer({"needs_confirmation": False, "message": ""})
    asked(link, "store").answer({"active": "3", "versions": [aVersion("2"), aVersion("3")]})
    inUse = aVersion("3")
    asked(link, "models").answer({"models": [GENERAL, {"folder": inUse["folder"], "manifest": inUse["manifest"]}]})
    session = teach.teaching.session
    assert session.modelAt(f"{STORE}/versions/2") is session.modelAt(f"{STORE}/versions/3")
    assert session.modelAt("/elsewhere/versions/2") is None


def testAnyVersionCanBeReadAndTheImportedOneHasNoReport(panel, link):
    panel.ui.versionComboBox.setCurrentIndex(panel.ui.versionComboBox.findData("1"))
    assert not isAsked(link, "report")
    assert "as it was brought here" in panel.ui.summaryLabel.text
    assert rowTexts(panel.ui.scoreTable) == []
    panel.ui.versionComboBox.setCurrentIndex(panel.ui.versionComboBox.findData("2"))
    assert asked(link, "report").message["version"] == "2"


def testAReportThatComesTooLateIsNotShownForAnotherVersion(panel, link):
    panel.ui.versionComboBox.setCurrentIndex(panel.ui.versionComboBox.findData("2"))
    late = asked(link, "report")
    panel.ui.versionComboBox.setCurrentIndex(panel.ui.versionComboBox.findData("1"))
    late.answer({"report": {**REPORT, "version": "2"}, "html": ""})
    assert rowTexts(panel.ui.scoreTable) == []


def testThePageIsOpenedWhereItLies(panel, link, user, tmp_path):
    page = tmp_path / "index.html"
    page.write_text("<p>report</p>", encoding="utf-8")
    panel.ui.versionComboBox.setCurrentIndex(panel.ui.versionComboBox.findData("2"))
    assert not panel.ui.openButton.enabled
    answerReport(link, html=str(page), version="2")
    click(panel.ui.openButton)
    assert user.opened == [str(page)]


def testThePageOfAWorkerElsewhereIsOpenedAsACopy(panel, user):
    click(panel.ui.openButton)
    (opened,) = user.opened
    assert Path(opened).read_text(encoding="utf-8") == "<p>dépôt</p>"


def testAVersionThatIsDamagedIsSaidAndHidesNoOther(teach, node, link):
    node.storeFolder = STORE
    teach.updatePanel.setParameterNode(node)
    damaged = [{"version": "2", "message": "The manifest of version 2 is not valid JSON."}]
    asked(link, "store").answer({"active": "1", "versions": [aVersion("1")], "damaged": damaged})
    assert teach.reportPanel.ui.messageLabel.text == "The manifest of version 2 is not valid JSON."
    assert teach.reportPanel.ui.versionComboBox.currentText == "1, in use"


def testADamagedReportIsSaid(teach, node, link):
    openStore(teach, node, link, "1", aVersion("1"), aVersion("3", "proposed"))
    asked(link, "report").refuse("The report of version 3 is damaged.")
    assert teach.reportPanel.ui.messageLabel.text == "The report of version 3 is damaged."


def testBeforeTheFirstUpdateThereIsNothingToDecide(teach, node, link):
    openStore(teach, node, link)
    ui = teach.reportPanel.ui
    assert "No version yet" in ui.summaryLabel.text
    assert not (ui.acceptButton.enabled or ui.rejectButton.enabled or ui.rollBackButton.enabled)
