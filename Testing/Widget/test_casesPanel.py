"""The cases panel on a real session; the worker's answers are given by the test."""

import numpy as np
import pytest
import slicer
import vtk
from CFSegmenterUI import maps, segmentations, taughtCase
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from CFSegmenterLib.structures import Vocabulary
from Testing.Host.proxies import unwrap
from Testing.Widget.answeredWorker import click, clickRow, enter, manifest, newParameterNode, rowTexts
from Testing.Widget.teachFixtures import (
    CASES,
    GENERAL,
    SHAPE,
    aCase,
    asked,
    box,
    isAsked,
    link,
    newPanels,
    node,
    openCases,
    paint,
    segmentation,
    session,
    teach,
    user,
    volume,
)

__all__ = ["link", "node", "segmentation", "session", "teach", "user", "volume"]

LIVER, DUCT = box((0, 0, 0), (4, 5, 6)), box((5, 0, 0), (7, 3, 3))
VOCABULARY = Vocabulary.load()


@pytest.fixture
def panel(teach, node, link):
    openCases(teach, node, link)
    node.caseSegmentation = None
    panel = teach.casesPanel
    panel.ui.modalityComboBox.setEditText("ct")
    return panel


def show(panel, node, segmentation):
    node.caseSegmentation = segmentation


def nameCell(panel, row):
    return panel.ui.mappingTable.cellWidget(row, 1)


def mapping(panel):
    """What each row says: segment, structure, checked, complete, new."""
    table = panel.ui.mappingTable
    return [
        (
            table.item(row, 0).text(),
            nameCell(panel, row).text,
            *(table.item(row, column).checkState() == 2 for column in (0, 2)),
            table.item(row, 3).text(),
        )
        for row in range(table.rowCount)
    ]


def setCheck(panel, row, column, on):
    panel.ui.mappingTable.item(row, column).setCheckState(2 if on else 0)


def testCasesSayWhatTheyTeachWhatIsNewAndWhatTheyAreFor(teach, node, link):
    gallbladder = aCase(2, ["liver", "gallbladder"], "validation", annotated=["gallbladder"])
    openCases(teach, node, link, aCase(1), gallbladder)
    assert rowTexts(teach.casesPanel.ui.caseTable) == [
        ["1", "CT", "liver ✓", "training"],
        ["2", "CT", "liver, gallbladder ✓ (new)", "validation"],
    ]
    assert "2 cases: 1 to learn from, 1 to check with" in teach.casesPanel.ui.casesLabel.text


def testFolderIsOfferedAgainInTheNextScene(panel, teach, link, scene):
    teach.setParameterNode(None)
    scene.Clear(0)
    node = newParameterNode()
    assert node.caseFolder == ""
    teach.setParameterNode(node)
    assert node.caseFolder == CASES
    assert panel.ui.caseFolderLineEdit.text == CASES


def testFolderThatIsChosenIsReadOnceAndKept(teach, node, link, user):
    user.folder = "/data/more cases"
    click(teach.casesPanel.ui.caseFolderButton)
    assert asked(link, "cases").message == {"folder": "/data/more cases"}
    assert node.caseFolder == "/data/more cases"
    asked(link, "cases").answer({"cases": []})
    assert "add the first one" in teach.casesPanel.ui.casesLabel.text
    teach.setParameterNode(node)
    assert not isAsked(link, "cases")


def testFolderThatIsTypedIsReadWhenItIsWhole(teach, node, link):
    enter(teach.casesPanel.ui.caseFolderLineEdit, "/typed")
    assert [q.message["folder"] for q in link.questions if q.verb == "cases"] == ["/typed"]


def testFolderOfSomethingElseIsRefusedInASentence(teach, node, link):
    node.caseFolder = "/pictures"
    teach.setParameterNode(node)
    asked(link, "cases").refuse("/pictures holds something else than cases; choose another folder.")
    assert "something else" in teach.casesPanel.ui.messageLabel.text


def testSegmentsAreMappedByNameAndMarkedWhereNew(panel, node, volume, segmentation):
    paint(segmentation, volume, "LKidney", LIVER)
    paint(segmentation, volume, "My duct", DUCT)
    paint(segmentation, volume, "Segment_3", box((0, 6, 0), (1, 7, 1)))
    segmentation.GetSegmentation().AddEmptySegment("", "spleen")
    show(panel, node, segmentation)
    assert mapping(panel) == [
        ("LKidney", "left kidney", True, True, ""),
        ("My duct", "my duct", True, True, "new"),
        ("Segment_3", "", True, True, ""),
        ("spleen", "spleen", False, True, ""),
    ]
    assert panel.ui.mappingLabel.text == "New to the model: my duct."


def testAddedCaseHasTheVoxelsTheNamesAndWhatIsComplete(panel, node, link, volume, segmentation):
    paint(segmentation, volume, "liver", LIVER)
    duct = paint(segmentation, volume, "My duct", DUCT)
    segmentation.GetSegmentation().GetSegment(duct).SetColor(1, 0, 0)
    show(panel, node, segmentation)
    setCheck(panel, 0, 2, False)
    click(panel.ui.addCaseButton)
    question = asked(link, "case_add")
    assert question.message == {
        "folder": CASES,
        "modality": "ct",
        "affine": segmentations.ijkToRas(volume).tolist(),
        "values": {"1": "liver", "2": "my duct"},
        "annotated": ["my duct"],
        "own_structures": [{"name": "my duct", "color": [255, 0, 0]}],
        "split": None,
        "subject": None,
    }
    np.testing.assert_array_equal(question.arrays["image"], np.arange(np.prod(SHAPE)).reshape(SHAPE[::-1]).T)
    np.testing.assert_array_equal(question.arrays["labels"], LIVER + 2 * DUCT.astype(np.uint8))
    assert not panel.ui.addCaseButton.enabled
    question.answer({"number": 4, "split": "validation"})
    assert "case 4, for validation" in panel.ui.messageLabel.text
    asked(link, "cases").answer({"cases": [aCase(4, ["liver", "my duct"], "validation")]})
    assert rowTexts(panel.ui.caseTable)[0][0] == "4"
    assert taughtCase.caseNumberOf(volume, CASES) == 4
    assert not [q for q in link.questions if q.verb == "update_start"], "adding is not training"


def testUncheckedSegmentsAndOtherChoicesAreHeeded(panel, node, link, volume, segmentation):
    paint(segmentation, volume, "liver", LIVER)
    paint(segmentation, volume, "My duct", DUCT)
    show(panel, node, segmentation)
    setCheck(panel, 1, 0, False)
    panel.ui.splitComboBox.setCurrentIndex(panel.ui.splitComboBox.findData("validation"))
    panel.ui.subjectLineEdit.text = " person 7 "
    panel.ui.modalityComboBox.setEditText("MR T1")
    click(panel.ui.addCaseButton)
    said = asked(link, "case_add").message
    assert (said["values"], said["split"], said["subject"]) == ({"1": "liver"}, "validation", "person 7")
    assert said["modality"] == "mr-t1"


def testASegmentIsNamedByAnyNameOfAStructureOrByANewOne(panel, node, volume, segmentation):
    paint(segmentation, volume, "Segment_1", LIVER)
    show(panel, node, segmentation)
    enter(nameCell(panel, 0), "Kidney, Right")
    assert mapping(panel)[0][1:] == ("right kidney", True, True, "")
    enter(nameCell(panel, 0), "Odd  Thing")
    assert mapping(panel)[0][1:] == ("odd thing", True, True, "new")


def testASegmentWithoutNameIsAskedForInASentence(panel, node, link, volume, segmentation):
    paint(segmentation, volume, "Segment_1", LIVER)
    show(panel, node, segmentation)
    click(panel.ui.addCaseButton)
    assert 'what "Segment_1" is' in panel.ui.messageLabel.text
    assert not isAsked(link, "case_add")


def testACodeIsChosenFromTheTermThatTheSegmentHas(panel, node, user, volume, segmentation):
    segmentID = paint(segmentation, volume, "thing", LIVER)
    segment = segmentation.GetSegmentation().GetSegment(segmentID)
    segment.SetTag(segment.GetTerminologyEntryTagName(), "x~SCT^1^a~SCT^2^b~^^~~^^~^^")
    show(panel, node, segmentation)
    assert not panel.ui.termButton.enabled
    clickRow(panel.ui.mappingTable, 0)
    user.term = VOCABULARY.find("gallbladder").terminology_entry("x")
    click(panel.ui.termButton)
    assert user.termsShown == ["x~SCT^1^a~SCT^2^b~^^~~^^~^^"]
    assert mapping(panel)[0][1] == "gallbladder"
    value = vtk.reference("")
    segment.GetTag(segment.GetTerminologyEntryTagName(), value)
    assert str(value).startswith("x~SCT^1"), "the user's segment stays as it is"


def testACodeChosenForANewStructureGoesWithItsCaseWhateverItIsCalled(panel, node, link, user, volume, segmentation):
    paint(segmentation, volume, "Segment_1", LIVER)
    show(panel, node, segmentation)
    clickRow(panel.ui.mappingTable, 0)
    user.term = "A list~SCT^1^Body~SCT^999^Stapedius Muscle~SCT^7771000^Left~~^^~^^"
    click(panel.ui.termButton)
    assert mapping(panel)[0][1:] == ("left stapedius muscle", True, True, "new")
    enter(nameCell(panel, 0), "my muscle")
    clickRow(panel.ui.mappingTable, 0)
    user.term, chosen = "", user.term
    click(panel.ui.termButton)
    assert user.termsShown[1] == chosen
    click(panel.ui.addCaseButton)
    question = asked(link, "case_add")
    (own,) = question.message["own_structures"]
    assert (own["name"], own["type"], own["context"]) == ("my muscle", ["999", "SCT", "Stapedius Muscle"], "A list")
    question.answer({"number": 1, "split": "training", "passed_over": ["My muscle keeps the code SCT 1."]})
    assert panel.ui.messageLabel.text.endswith("The scene may be closed. My muscle keeps the code SCT 1.")


def testWhatWasSaidOfASegmentStaysWhenAnotherIsAdded(panel, node, volume, segmentation):
    paint(segmentation, volume, "Segment_1", LIVER)
    show(panel, node, segmentation)
    enter(nameCell(panel, 0), "liver")
    setCheck(panel, 0, 2, False)
    paint(segmentation, volume, "spleen", DUCT)
    assert mapping(panel) == [("Segment_1", "liver", True, False, ""), ("spleen", "spleen", True, True, "")]
    segmentation.GetSegmentation().RemoveSegment(segmentation.GetSegmentation().GetNthSegmentID(0))
    assert mapping(panel) == [("spleen", "spleen", True, True, "")]


def testOverlapIsRefusedInASentenceAndNothingIsSent(panel, node, link, volume, segmentation):
    paint(segmentation, volume, "liver", LIVER)
    paint(segmentation, volume, "spleen", box((3, 0, 0), (6, 1, 1)))
    show(panel, node, segmentation)
    click(panel.ui.addCaseButton)
    assert "overlap in 1 voxels" in panel.ui.messageLabel.text
    assert not isAsked(link, "case_add")


def testASecondCaseOfOneVolumeIsNeverUsedToCheckTheFirst(panel, node, link, volume, segmentation):
    paint(segmentation, volume, "liver", LIVER)
    show(panel, node, segmentation)
    click(panel.ui.addCaseButton)
    asked(link, "case_add").answer({"number": 3, "split": "training"})
    asked(link, "cases").answer({"cases": [aCase(3)]})
    assert "case 3 already" in panel.ui.mappingLabel.text
    assert not panel.ui.splitComboBox.enabled
    click(panel.ui.addCaseButton)
    assert asked(link, "case_add").message["split"] == "training"


def testRefusedCaseSaysWhyAndCanBeAddedAgain(panel, node, link, volume, segmentation):
    paint(segmentation, volume, "liver", LIVER)
    show(panel, node, segmentation)
    click(panel.ui.addCaseButton)
    asked(link, "case_add").refuse("The case folder cannot be written to; free some space.")
    assert panel.ui.messageLabel.text == "The case folder cannot be written to; free some space."
    assert panel.ui.addCaseButton.enabled
    assert taughtCase.caseNumberOf(volume, CASES) is None


def testWhatIsMissingIsSaidBeforeTheButtonCanBeClicked(teach, node, link, volume, segmentation):
    ui = teach.casesPanel.ui
    assert "No folder is chosen" in ui.reasonLabel.text
    openCases(teach, node, link)
    assert "what made the scan" in ui.reasonLabel.text
    ui.modalityComboBox.setEditText("ct")
    assert "No segment is checked" in ui.reasonLabel.text
    paint(segmentation, volume, "liver", LIVER)
    assert not ui.reasonLabel.visible
    setCheck(teach.casesPanel, 0, 2, False)
    assert "parts alone" in ui.reasonLabel.text
    node.inputVolume = None
    assert "No volume is chosen" in ui.reasonLabel.text
    assert not ui.addCaseButton.enabled


def testKindOfScanIsThatOfTheVolumeAndOfTheCaseBefore(panel, node, link, scene, volume, segmentation):
    paint(segmentation, volume, "liver", LIVER)
    show(panel, node, segmentation)
    panel.ui.modalityComboBox.setEditText("mr-t2")
    click(panel.ui.addCaseButton)
    asked(link, "case_add").answer({"number": 1, "split": "training"})
    node.inputVolume = slicer.util.addVolumeFromArray(np.zeros((3, 3, 3), np.int16), name="next")
    assert panel.ui.modalityComboBox.currentText == "mr-t2"
    hounsfield = slicer.util.addVolumeFromArray(np.zeros((3, 3, 3), np.int16), name="in HU")
    hounsfield.SetVoxelValueUnits(slicer.vtkCodedEntry())
    hounsfield.GetVoxelValueUnits().SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    node.inputVolume = hounsfield
    assert panel.ui.modalityComboBox.currentText == "ct"


def testKindOfScanIsReadAgainWhereASceneSaysItAfterTheScanWasAdded(panel, node, link, scene, volume, segmentation):
    def kind():
        return panel.ui.modalityComboBox.currentText

    node.inputVolume = slicer.util.addVolumeFromArray(np.zeros((3, 3, 3), np.int16), name="next")
    panel.ui.modalityComboBox.setEditText("mr-t2")
    node.caseSegmentation = segmentation
    assert kind() == "mr-t2"
    node.inputVolume.SetVoxelValueUnits(slicer.vtkCodedEntry())
    node.inputVolume.GetVoxelValueUnits().SetValueSchemeMeaning("[hnsf'U]", "UCUM", "Hounsfield unit")
    paint(segmentation, volume, "liver", LIVER)
    assert kind() == "ct"


def testACaseIsWithdrawnWhenTheUserMeansIt(teach, node, link, user):
    openCases(teach, node, link, aCase(1), aCase(5))
    panel = teach.casesPanel
    assert not panel.ui.withdrawButton.enabled
    clickRow(panel.ui.caseTable, 1)
    user.agrees = False
    click(panel.ui.withdrawButton)
    assert "case 5" in user.asked[0]
    assert not isAsked(link, "case_withdraw")
    user.agrees = True
    click(panel.ui.withdrawButton)
    question = asked(link, "case_withdraw")
    assert question.message == {"folder": CASES, "number": 5}
    question.answer({})
    asked(link, "cases").answer({"cases": [aCase(1)]})
    assert [row[0] for row in rowTexts(panel.ui.caseTable)] == ["1"]


def testNothingIsAskedOfAWorkerBeforeThereIsAModel(scene, session, link, user):
    panels = newPanels(session, user)
    node = newParameterNode()
    node.caseFolder = CASES
    panels.setParameterNode(node)
    assert link.questions == []
    assert "No model is loaded" in panels.casesPanel.ui.reasonLabel.text
    panels.cleanup()


def testMapsAreNotOfferedToBeCases(panel, node, volume):
    maps.writeMap(volume, np.zeros(SHAPE, np.float32), "liver", "similarity")
    assert panel.ui.inputVolumeSelector.nodeCount() == 1


def testAChosenModelThatIsNotThereAnyMoreIsNamed(panel, teach, node):
    node.model = "/gone"
    assert "/gone" in panel.ui.reasonLabel.text
    assert "/gone" in teach.updatePanel.ui.planLabel.text
    assert "/gone" in teach.nextPanel.ui.rankButton.toolTip


def testAnswerThatComesAfterTheSceneWasClosedIsStillTold(panel, teach, node, link, scene, volume, segmentation):
    paint(segmentation, volume, "liver", LIVER)
    show(panel, node, segmentation)
    click(panel.ui.addCaseButton)
    assert teach.needsWorker
    teach.setParameterNode(None)
    scene.Clear(0)
    asked(link, "case_add").answer({"number": 1, "split": "training"})
    assert "case 1" in panel.ui.messageLabel.text
    assert not teach.needsWorker


def testTableOfStructuresOffersTheNamesThatBeginWithWhatIsTyped(panel, node, volume, segmentation):
    paint(segmentation, volume, "Segment_1", LIVER)
    show(panel, node, segmentation)
    completer = unwrap(nameCell(panel, 0)).completer()
    completer.setCompletionPrefix("GALLBL")
    assert completer.currentCompletion() == "gallbladder"


@pytest.mark.parametrize("how", ["mouse", "keys"])
def testAStructureThatIsChosenFromTheListIsTheSegmentS(panel, node, process, volume, segmentation, how):
    paint(segmentation, volume, "kidney", LIVER)
    show(panel, node, segmentation)
    edit = unwrap(nameCell(panel, 0))
    edit.window().show()
    edit.window().activateWindow()
    QTest.mouseClick(edit, Qt.MouseButton.LeftButton)
    edit.selectAll()
    QTest.keyClicks(edit, "left kid")
    names = edit.completer().popup()
    if how == "mouse":
        place = names.visualRect(names.model().index(0, 0)).center()
        QTest.mouseClick(names.viewport(), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, place)
    else:
        QTest.keyClick(names, Qt.Key.Key_Down)
        QTest.keyClick(names, Qt.Key.Key_Return)
    process()
    assert [mapped.structure for mapped in panel._mapping.mapped()] == ["left kidney"]
    assert mapping(panel)[0][1] == "left kidney"


def testRowsMayGoWhileTheirListOfNamesIsOpen(panel, node, process, volume, segmentation):
    paint(segmentation, volume, "Segment_1", LIVER)
    show(panel, node, segmentation)
    edit = nameCell(panel, 0)
    QTest.mouseClick(unwrap(edit), Qt.MouseButton.LeftButton)
    QTest.keyClicks(unwrap(edit), "gall")
    assert unwrap(edit).completer().popup().isVisible()
    node.caseSegmentation = None
    process()
    assert mapping(panel) == []


def testASegmentThatIsRenamedInSlicerIsRenamedHereUntilTheUserSaysOtherwise(panel, node, volume, segmentation):
    segment = segmentation.GetSegmentation().GetSegment(paint(segmentation, volume, "Segment_1", LIVER))
    show(panel, node, segmentation)
    segment.SetName("liver")
    assert mapping(panel)[0][1] == "liver"
    enter(nameCell(panel, 0), "spleen")
    segment.SetName("pancreas")
    assert mapping(panel)[0][:2] == ("pancreas", "spleen")


def testWhatIsNewDependsOnTheModelThatIsChosen(panel, teach, node, link, session, volume, segmentation):
    paint(segmentation, volume, "gallbladder", LIVER)
    show(panel, node, segmentation)
    assert mapping(panel)[0][4] == "new"
    taught = manifest("other", prototypes=[{"name": "background"}, {"name": "gallbladder"}])
    other = {"folder": "/models/other", "manifest": taught}
    session.refreshModels()
    asked(link, "models").answer({"models": [GENERAL, other]})
    node.model = "/models/other"
    assert mapping(panel)[0][4] == ""
