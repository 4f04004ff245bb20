"""An afternoon of teaching, from three annotated cases to a decision and back: the whole module, a real worker, a tiny
model that really learns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import qt
import slicer
from CFSegmenterUI import segmentations
from CFSegmenterUI.modelFolders import ModelFolders

from CFSegmenterLib.phantom import draw_small
from Testing.Host.modules import ScriptedModule
from Testing.Library.conftest import UPDATE_SETTINGS, a_model_folder, a_small_source
from Testing.Widget.answeredWorker import click, enter, rowTexts
from Testing.Widget.teachFixtures import User, drawScan, maskIn, paintScan

__all__ = ["a_model_folder", "a_small_source"]

ROOT = Path(__file__).parents[2]
PATIENCE = 300
"""Seconds for what takes a few on a machine that has nothing else to do."""
SETTINGS = {name: value for name, value in UPDATE_SETTINGS.items() if name != "budget_seconds"}
"""Of an update of few steps: how good it gets must not depend on how busy the machine is."""


@pytest.fixture
def module(application, scene, a_model_folder):
    """The module as Slicer loads it, opened, with the tiny model beside the shipped ones."""
    ModelFolders(qt.QSettings()).add(str(a_model_folder))
    module = ScriptedModule(ROOT / "CFSegmenter" / "CFSegmenter.py").load()
    module.widgetRepresentation().resize(480, 1600)
    module.widgetRepresentation().show()
    module.widget().teachSection.collapsed = False
    module.enter()
    yield module
    module.exit()
    module.widget().cleanup()


def dice(first, second):
    return 2 * np.count_nonzero(first & second) / (np.count_nonzero(first) + np.count_nonzero(second))


def test_teach_read_decide_use_and_go_back(module, scene, layout, process, tmp_path, monkeypatch, a_model_folder):
    widget, user = module.widget(), User()
    teach, session = widget.teachPanels, widget.logic.session
    cases, update, report = teach.casesPanel, teach.updatePanel, teach.reportPanel
    monkeypatch.setattr(update, "_settings", lambda: SETTINGS)
    monkeypatch.setattr(report, "_confirm", user.confirm)
    monkeypatch.setattr(report, "_openFile", user.opened.append)
    process(lambda: session.models, PATIENCE)
    node = widget.logic.getParameterNode()
    node.model = str(a_model_folder)

    # Three cases, the third of them in another scene.
    enter(cases.ui.caseFolderLineEdit, str(tmp_path / "cases"))
    enter(update.ui.storeFolderLineEdit, str(tmp_path / "versions"))
    for number, split in enumerate(("training", "training", "validation"), 1):
        if number == 3:
            scene.Clear(0)
            node = widget.logic.getParameterNode()
            node.model = str(a_model_folder)
        phantom, volume = drawScan(500 + number)
        node.inputVolume, node.caseSegmentation = volume, paintScan(phantom, volume, "gallbladder")
        cases.ui.modalityComboBox.setEditText("mr-t2")
        cases.ui.splitComboBox.setCurrentIndex(cases.ui.splitComboBox.findData(split))
        assert "New to the model: gallbladder" in cases.ui.mappingLabel.text
        click(cases.ui.addCaseButton)
        process(lambda: f"case {number}," in cases.ui.messageLabel.text, PATIENCE)  # noqa: B023 - called here
    process(lambda: len(teach.teaching.cases) == 3, PATIENCE)
    assert rowTexts(cases.ui.caseTable) == [
        ["1", "MR-T2", "gallbladder ✓ (new)", "training"],
        ["2", "MR-T2", "gallbladder ✓ (new)", "training"],
        ["3", "MR-T2", "gallbladder ✓ (new)", "validation"],
    ]
    assert not (tmp_path / "versions").exists(), "adding cases is not training"

    # The update, while a scan is segmented.
    update.ui.budgetComboBox.setEditText("10 min")
    click(update.ui.updateButton)
    process(lambda: update.ui.statusLabel.text.startswith(("Preparing", "Learning")), PATIENCE)
    assert update.ui.updateButton.text == "Cancel"
    enter(widget.segmentPanel.ui.addLineEdit, "liver")
    click(widget.segmentPanel.ui.applyButton)
    process(lambda: session.busy is None and node.outputSegmentation is not None, PATIENCE)
    process(lambda: report.ui.scoreTable.visible, PATIENCE)
    assert "Version 2 is ready" in update.ui.statusLabel.text
    click(update.ui.plotButton)
    chart = scene.GetFirstNodeByClass("vtkMRMLPlotChartNode")
    losses = chart.GetNthPlotSeriesNode(0).GetTableNode().GetTable()
    assert losses.GetValue(losses.GetNumberOfRows() - 1, 0).ToInt() == SETTINGS["iterations"]

    # The report.
    assert "New: gallbladder." in report.ui.summaryLabel.text
    assert "Checked on 1 case." in report.ui.summaryLabel.text
    (new,) = [row for row in rowTexts(report.ui.scoreTable) if row[0] == "gallbladder"]
    assert new[1] == "–"
    assert float(new[2]) > 0.5
    assert {row[0] for row in rowTexts(report.ui.agreementTable)} >= {"liver", "spleen"}
    click(report.ui.openButton)
    assert "gallbladder" in Path(user.opened[0]).read_text(encoding="utf-8")

    # Accepting; whether it asks a second time depends on what the few steps have cost.
    click(report.ui.acceptButton)
    process(lambda: report.ui.messageLabel.text.startswith("Version 2 is used"), PATIENCE)
    assert node.model == str(tmp_path / "versions" / "versions" / "2")
    assert widget.segmentPanel.ui.modelLabel.text == "tiny 2"

    # The new structure is segmented in a scan that was no case.
    phantom, fresh = drawScan(777)
    node.inputVolume, node.outputSegmentation = fresh, None
    node.targets = ["gallbladder"]
    click(widget.segmentPanel.ui.applyButton)
    process(lambda: session.busy is None and node.outputSegmentation is not None, PATIENCE)
    found = segmentations.ownSegments(node.outputSegmentation)
    mask = segmentations.maskOf(node.outputSegmentation, found["gallbladder"], fresh)
    assert dice(mask, maskIn(phantom, "gallbladder")) > 0.4

    # And back.
    click(report.ui.rollBackButton)
    process(lambda: report.ui.messageLabel.text.startswith("Version 1 is used again"), PATIENCE)
    assert node.model == str(tmp_path / "versions" / "versions" / "1")
    assert "gallbladder" not in session.modelAt(node.model).structures
    assert report.ui.versionComboBox.findText("1, in use") >= 0
    assert (tmp_path / "versions" / "versions" / "2" / "weights.safetensors").is_file(), "nothing is ever deleted"


def test_of_the_loaded_scans_the_one_that_is_least_sure_is_to_be_annotated_next(module, scene, process, a_model_folder):
    widget = module.widget()
    panel, session = widget.teachPanels.nextPanel, widget.logic.session
    process(lambda: session.models, PATIENCE)
    node = widget.logic.getParameterNode()
    node.model = str(a_model_folder)
    known = draw_small(778)
    affine = slicer.util.vtkMatrixFromArray(known.affine)
    noise = np.random.default_rng(0).permutation(known.image.ravel()).reshape(known.image.shape)
    slicer.util.addVolumeFromArray(known.image.T, affine, "like those it learned from")
    slicer.util.addVolumeFromArray(noise.T, affine, "noise")
    panel.ui.nextCollapsibleButton.collapsed = False
    process()
    click(panel.ui.rankButton)
    process(lambda: panel.ui.rankButton.text == "Rank volumes", PATIENCE)
    names = [row[0] for row in rowTexts(panel.ui.nextTable)]
    assert names == ["noise", "like those it learned from"], panel.ui.statusLabel.text
