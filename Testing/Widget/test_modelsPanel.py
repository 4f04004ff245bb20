"""The models panel on a real session; the worker's answers are given by the test."""

import pytest
import qt
from CFSegmenterUI.modelFolders import ModelFolders
from CFSegmenterUI.modelsPanel import ModelsPanel
from CFSegmenterUI.session import Session

from CFSegmenterLib.structures import Vocabulary
from Testing.Widget.answeredWorker import Link, click, clickRow, manifest, newParameterNode, openPanel, rowTexts

SHIPPED = {
    "folder": "/slicer/Models/general",
    "manifest": manifest(
        sources=[
            {
                "name": "abdomen_ct",
                "modality": "ct",
                "licence": "CC BY 4.0",
                "structures": ["liver", "spleen"],
                "training_cases": 24,
                "validation_cases": 6,
            }
        ],
        scores={"structures": [{"structure": "liver", "source": "abdomen_ct", "dice": 0.913, "distance_mm": None}]},
        training={"command": "cfsegmenter train settings.json"},
    ),
}
DAMAGED = {
    "folder": "/home/me/broken",
    "message": "The manifest of the model /home/me/broken is not valid JSON.",
}
OWN = {"folder": "/home/me/models/liver2", "manifest": manifest("liver", "2", parent="1", created="2026-12-01")}


class User:
    """Answers the panel's folder dialog, and sees which folder the desktop shows."""

    def __init__(self):
        self.chosen, self.shown = "", []

    def chooseFolder(self):
        return self.chosen


@pytest.fixture
def link():
    return Link()


@pytest.fixture
def user():
    return User()


@pytest.fixture
def folders(application):
    return ModelFolders(qt.QSettings())


@pytest.fixture
def panel(scene, link, user, folders):
    session = Session(scene, link, Vocabulary.load(), lambda: folders.paths)
    panel = openPanel(ModelsPanel, session, chooseFolder=user.chooseFolder, openFolder=user.shown.append)
    panel.session = session
    panel.setParameterNode(newParameterNode())
    yield panel
    panel.cleanup()


def refresh(panel, link, *models, damaged=()):
    click(panel.ui.refreshButton)
    link.last.answer({"models": list(models), "damaged": list(damaged)})


def rows(panel):
    tree = panel.ui.modelTree
    items = [tree.topLevelItem(row) for row in range(tree.topLevelItemCount)]
    return [[item.text(column) for column in range(tree.columnCount)] for item in items]


def testListsEveryModelAndMarksTheActiveOne(panel, link):
    assert not panel.ui.detailsCollapsibleButton.visible
    refresh(panel, link, SHIPPED, OWN)
    assert rows(panel) == [
        ["✓", "general", "1", "2026-11-20", "4", "CT"],
        ["", "liver", "2", "2026-12-01", "4", "CT"],
    ]
    assert not panel.ui.messageLabel.visible


def testShowsWhatIsKnownOfTheSelectedModel(panel, link):
    refresh(panel, link, SHIPPED, OWN)
    ui = panel.ui
    assert ui.structuresLabel.text == "liver, spleen, left kidney, right kidney"
    assert ui.commandLabel.text == "cfsegmenter train settings.json"
    assert rowTexts(ui.sourcesTable) == [["abdomen_ct", "CT", "2", "24 + 6", "CC BY 4.0"]]
    assert rowTexts(ui.scoresTable) == [["liver", "abdomen_ct", "0.91", "–"]]
    clickRow(ui.modelTree, 1)
    assert ui.parentLabel.text == "1"
    assert rowTexts(ui.sourcesTable) == []
    assert not ui.scoresTable.visible
    assert "Not measured" in ui.scoresLabel.text


def testUseMakesTheSelectedModelTheActiveOne(panel, link):
    refresh(panel, link, SHIPPED, OWN)
    node = newParameterNode()
    assert not panel.ui.useButton.enabled  # it is the active one
    clickRow(panel.ui.modelTree, 1)
    click(panel.ui.useButton)
    assert node.model == OWN["folder"]
    assert [row[0] for row in rows(panel)] == ["", "✓"]
    assert not panel.ui.useButton.enabled
    clickRow(panel.ui.modelTree, 0, double=True)
    assert node.model == ""  # the shipped one, wherever it lies on another computer
    assert [row[0] for row in rows(panel)] == ["✓", ""]


def testFollowsTheParameterNodeUntilItIsLetGo(panel, link):
    refresh(panel, link, SHIPPED, OWN)
    node = newParameterNode()
    node.model = OWN["folder"]
    assert [row[0] for row in rows(panel)] == ["", "✓"]
    panel.setParameterNode(None)
    clickRow(panel.ui.modelTree, 0)
    assert not panel.ui.useButton.enabled
    assert node.model == OWN["folder"]


def testImportedFolderIsRememberedAndItsModelSelected(panel, link, user, folders):
    refresh(panel, link, SHIPPED)
    user.chosen = "/home/me/models"
    click(panel.ui.importButton)
    assert link.last.message == {"folder": "/home/me/models"}
    assert "Looking" in panel.ui.messageLabel.text
    link.last.answer({"models": [SHIPPED, OWN]})
    assert "liver 2" in panel.ui.messageLabel.text
    assert panel.ui.modelTree.selectedItems()[0].text(1) == "liver"
    assert [row[0] for row in rows(panel)] == ["✓", ""]  # importing is not choosing
    assert folders.paths == ["/home/me/models"]


def testFolderWithoutModelIsAnsweredWithASentenceAndForgotten(panel, link, user, folders):
    refresh(panel, link, SHIPPED)
    user.chosen = "/home/me/pictures"
    click(panel.ui.importButton)
    link.last.answer({"models": [SHIPPED]})
    assert "/home/me/pictures holds no model" in panel.ui.messageLabel.text
    assert folders.paths == []


def testDamagedModelIsNotImported(panel, link, user, folders):
    user.chosen = "/home/me/broken"
    click(panel.ui.importButton)
    link.last.answer({"models": [SHIPPED], "damaged": [DAMAGED]})
    assert panel.ui.messageLabel.text == DAMAGED["message"]
    assert folders.paths == []
    assert len(rows(panel)) == 1


def testDamagedModelBesidesOthersIsNamedAndTheOthersAreUsed(panel, link, user, folders):
    refresh(panel, link, SHIPPED, OWN, damaged=[DAMAGED])
    assert [row[1] for row in rows(panel)] == ["general", "liver"]
    assert panel.ui.messageLabel.text == DAMAGED["message"]
    user.chosen = "/home/me"
    click(panel.ui.importButton)
    link.last.answer({"models": [SHIPPED, OWN], "damaged": [DAMAGED]})
    assert panel.ui.messageLabel.text.splitlines() == [
        "Imported: liver 2. Press Use to work with it.",
        DAMAGED["message"],
    ]
    assert folders.paths == ["/home/me"]
    refresh(panel, link, SHIPPED, OWN)
    assert not panel.ui.messageLabel.visible


def testImportThatTheWorkerCannotAnswerIsNotRemembered(panel, link, user, folders):
    user.chosen = "/home/me/models"
    for end in (lambda: link.last.refuse("The worker could not be started."), lambda: link.last.giveUp()):
        click(panel.ui.importButton)
        end()
        assert "Looking" not in panel.ui.messageLabel.text
        assert folders.paths == []


def testClosingTheFolderDialogDoesNothing(panel, link):
    click(panel.ui.importButton)
    assert link.questions == []
    assert not panel.ui.messageLabel.visible


def testOpensTheFolderOfAModelOnThisComputer(panel, link, user, tmp_path):
    refresh(panel, link, SHIPPED, {**OWN, "folder": str(tmp_path)})
    assert not panel.ui.openButton.enabled  # where the worker runs is no such folder here
    clickRow(panel.ui.modelTree, 1)
    click(panel.ui.openButton)
    assert user.shown == [str(tmp_path)]


def testListStaysWhatItWasWhenTheWorkerCannotAnswer(panel, link):
    refresh(panel, link, SHIPPED)
    click(panel.ui.refreshButton)
    link.last.refuse("The worker could not be started.")
    assert panel.ui.messageLabel.text == "The worker could not be started."
    assert len(rows(panel)) == 1


@pytest.mark.parametrize("written", ["not JSON", '{"a": 1}', '[1, "/models"]'])
def testSettingsEditedByHandDoNoHarm(folders, written):
    qt.QSettings().setValue("CFSegmenter/ModelFolders", written)
    assert folders.paths in ([], ["/models"])
