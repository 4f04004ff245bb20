"""The tree of structures: what it shows, how it is searched, and how boxes hang together."""

import ctk
import pytest
import qt
from CFSegmenterUI.targetTree import TargetTree
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from CFSegmenterLib.own_structures import own_structure
from CFSegmenterLib.structures import Vocabulary
from Testing.Host.proxies import unwrap

ABDOMEN = ["liver", "spleen", "gallbladder", "left kidney", "right kidney", "esophagus"]
KNOWN = [*ABDOMEN, "heart", "mystery organ"]


@pytest.fixture
def widgets():
    tree, box = qt.QTreeWidget(), ctk.ctkSearchBox()
    tree.setColumnCount(2)
    return tree, box


@pytest.fixture
def changes():
    return []


@pytest.fixture
def targets(widgets, changes):
    targets = TargetTree(*widgets, Vocabulary.load(), lambda: changes.append(targets.checked()))
    targets.setStructures(KNOWN)
    return targets


def regions(tree):
    return [tree.topLevelItem(number) for number in range(tree.topLevelItemCount)]


def rows(region):
    return [region.child(number) for number in range(region.childCount())]


def rowOf(tree, name):
    return next(row for region in regions(tree) for row in rows(region) if row.text(0) == name)


def regionOf(tree, name):
    return next(region for region in regions(tree) if region.text(0) == name)


def inSight(tree):
    return {row.text(0) for region in regions(tree) for row in rows(region) if not row.isHidden()}


def search(box, text):
    box.text = ""
    QTest.keyClicks(unwrap(box), text)


def pressSpace(tree, item):
    """Toggle the box of a row as the keyboard does."""
    tree.setCurrentItem(item)
    QTest.keyClick(unwrap(tree), Qt.Key.Key_Space)


def testStructuresStandUnderTheirRegionWithColorAndCode(targets, widgets):
    tree, _ = widgets
    assert {region.text(0): region.text(1) for region in regions(tree)} == {
        "abdomen": "0 of 5",
        "thorax": "0 of 1",
        "heart": "0 of 1",
        "named by the model": "0 of 1",
    }
    kidney = rowOf(tree, "left kidney")
    assert kidney.text(1) == "64033007"
    assert kidney.toolTip(1) == "Kidney (SCT 64033007); Left (SCT 7771000)"
    assert kidney.data(0, Qt.ItemDataRole.DecorationRole.value).red() == 185
    assert rowOf(tree, "mystery organ").text(1) == ""


def testTheModelTellsColorCodeAndRegionOfWhatOnlyItKnows(targets, widgets):
    tree, box = widgets
    code = {"category": ["1", "SCT", "Body"], "type": ["999", "SCT", "Odd Organ"]}
    own = [{"name": "mystery organ", "color": [1, 2, 3], "region": "abdomen", **code}, {"name": "odd duct"}]
    targets.setStructures([*KNOWN, "odd duct"], Vocabulary.load().knowing(map(own_structure, own)))
    organ = rowOf(tree, "mystery organ")
    assert (organ.parent().text(0), organ.text(1), organ.toolTip(1)) == ("abdomen", "999", "Odd Organ (SCT 999)")
    assert organ.data(0, Qt.ItemDataRole.DecorationRole.value).blue() == 3
    duct = rowOf(tree, "odd duct")
    assert (duct.parent().text(0), duct.text(1)) == ("named by the model", "")
    search(box, "999")
    assert inSight(tree) == {"mystery organ"}
    assert targets.add("Mystery  Organ") == ""
    assert targets.checked() == ["mystery organ"]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("KIDNEY left", {"left kidney"}),
        ("r kidneys", {"right kidney"}),
        ("oesophagus", {"esophagus"}),
        ("esoph", {"esophagus"}),
        ("gullet", {"esophagus"}),
        ("64033007", {"left kidney", "right kidney"}),
        ("abdomen gall", {"gallbladder"}),
        ("mystery", {"mystery organ"}),
        ("splen", {"spleen"}),
    ],
)
def testSearchFindsByAnyNameInAnyOrderAndForgivesMisspelling(targets, widgets, text, found):
    tree, box = widgets
    search(box, text)
    assert inSight(tree) == found
    empty = [region for region in regions(tree) if all(row.isHidden() for row in rows(region))]
    assert [region.text(0) for region in regions(tree) if region.isHidden()] == [region.text(0) for region in empty]


def testRegionsFoldAgainAfterASearch(targets, widgets):
    tree, box = widgets
    regionOf(tree, "heart").setExpanded(False)
    search(box, "heart")
    assert regionOf(tree, "heart").isExpanded()
    search(box, "")
    assert not regionOf(tree, "heart").isExpanded()
    assert regionOf(tree, "abdomen").isExpanded()
    assert inSight(tree) == set(KNOWN)


def testCheckingARegionChecksAllInItAndAPartShowsAsPart(targets, widgets, changes):
    tree, _ = widgets
    abdomen = regionOf(tree, "abdomen")
    pressSpace(tree, abdomen)
    assert set(targets.checked()) == {row.text(0) for row in rows(abdomen)}
    assert len(changes) == 1, "one change for the user, not one for each row"
    pressSpace(tree, rowOf(tree, "spleen"))
    assert abdomen.checkState(0) == Qt.CheckState.PartiallyChecked.value
    assert abdomen.text(1) == "4 of 5"
    pressSpace(tree, abdomen)
    pressSpace(tree, abdomen)
    assert targets.checked() == []
    assert abdomen.checkState(0) == Qt.CheckState.Unchecked.value


def testCheckingARegionDuringASearchLeavesWhatIsHiddenAlone(targets, widgets):
    tree, box = widgets
    search(box, "kidney")
    pressSpace(tree, regionOf(tree, "abdomen"))
    assert set(targets.checked()) == {"left kidney", "right kidney"}
    assert regionOf(tree, "abdomen").checkState(0) == Qt.CheckState.PartiallyChecked.value
    pressSpace(tree, regionOf(tree, "abdomen"))
    assert targets.checked() == []


def testAnotherModelKeepsWhatItKnowsToo(targets, widgets):
    tree, _ = widgets
    targets.setChecked(["liver", "heart"])
    targets.setStructures(["liver", "spleen"])
    assert inSight(tree) == {"liver", "spleen"}
    assert targets.checked() == ["liver"]
    assert regionOf(tree, "abdomen").text(1) == "1 of 2"


def testANameChecksItsStructureAndBringsItInSight(targets, widgets, changes):
    tree, box = widgets
    search(box, "liver")
    assert targets.add("Kidney, LEFT") == ""
    assert targets.checked() == ["left kidney"] and changes == [["left kidney"]]
    assert not rowOf(tree, "left kidney").isHidden()
    assert targets.add("Mystery ORGAN") == ""
    assert "mystery organ" in targets.checked()


def testANameThatTheModelDoesNotKnowIsAnsweredWithTheNearest(targets, changes):
    misspelt = targets.add("left kidny")
    assert misspelt.startswith('"left kidny" is not the name of a structure.') and "left kidney" in misspelt
    untaught = targets.add("pancreas")
    assert untaught.startswith('This model was not taught "pancreas".')
    assert targets.checked() == [] and changes == []


def testManyStructuresAreFoldedAndCheckedOnesAreNot(targets, widgets):
    tree, _ = widgets
    targets.setChecked(["liver"])
    targets.setStructures([structure.name for structure in Vocabulary.load()])
    assert regionOf(tree, "abdomen").isExpanded()
    assert not regionOf(tree, "brain").isExpanded()
