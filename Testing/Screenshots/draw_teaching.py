"""Draws the README's picture of teaching: four drawn cases with a gallbladder, an update of a tiny model, its report.

    python -m Testing.Screenshots.draw_teaching [--model FOLDER] [--out FOLDER]

Without a model a tiny one is trained first, on drawn abdomens without a gallbladder. Update and report are real; the
panel is rendered outside the application, whose style it does not show.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from PIL import Image

from Testing.Host import startApplication

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "Resources" / "Screenshots"
WIDTH, GAP = 440, 12
"""Pixels: of the panel, and between its two halves."""
PATIENCE = 3600
"""Seconds for the update of a tiny model on a busy machine."""
SPLITS = ("training", "training", "training", "validation")
UPDATE = {"iterations": 120, "learning_rate": 0.003, "warmup": 5, "average": 0.9}


def draw(
    model: Annotated[Path | None, typer.Option(help="A model of drawn abdomens; without it one is trained.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the picture.")] = SCREENSHOTS,
) -> None:
    """Draw update-panel.png."""
    sys.path.insert(0, str(ROOT / "CFSegmenter"))
    application = startApplication()
    from CFSegmenterUI.updatePanel import UpdatePanel

    from Testing.Library.conftest import train_small, write_small_source

    UpdatePanel._settings = lambda panel: UPDATE  # the tiny model learns faster than one of patients
    with tempfile.TemporaryDirectory() as folder:
        source = write_small_source(Path(folder) / "source")
        taught = model or train_small(source, Path(folder) / "training")
        visit = Teaching(application, taught, source.parent / "images", Path(folder))
        try:
            picture = visit.picture()
        finally:
            visit.end()
    out.mkdir(parents=True, exist_ok=True)
    path = out / "update-panel.png"
    Image.fromarray(picture).quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    typer.echo(f"{path}  {path.stat().st_size / 1000:.0f} kB")


class Teaching:
    """A Teaching opens the module, adds the cases, and has the model updated."""

    def __init__(self, application: Any, model: Path, oldScans: Path, folder: Path):
        """Args: the stand-in application, the model to teach, scans of what it knows, where cases and versions go."""
        from Testing.Host.modules import ScriptedModule
        from Testing.Widget.teachFixtures import drawScan, paintScan

        self._application = application
        self._module = ScriptedModule(ROOT / "CFSegmenter" / "CFSegmenter.py").load()
        self._panel = self._module.widgetRepresentation()
        self._panel.resize(WIDTH, 1000)
        self._panel.show()
        self._module.enter()
        self.widget = self._module.widget()
        session, teach = self.widget.logic.session, self.widget.teachPanels
        self._wait(lambda: session.models)
        for name in ("setup", "segment", "inspect", "models"):
            getattr(self.widget, f"{name}Section").collapsed = True
        self.widget.teachSection.collapsed = False
        teach.nextPanel.ui.nextCollapsibleButton.collapsed = False
        session._modelFolders = lambda: [str(model)]
        session.wait(session.refreshModels())
        node = self.widget.logic.getParameterNode()
        node.model = str(model)
        node.caseFolder, node.storeFolder = str(folder / "cases"), str(folder / "versions")
        node.unlabelledFolder = str(oldScans)
        self.widget.setParameterNode(node)
        cases = teach.casesPanel.ui
        for number, split in enumerate(SPLITS):
            phantom, volume = drawScan(600 + number)
            node.inputVolume, node.caseSegmentation = volume, paintScan(phantom, volume, "liver", "gallbladder")
            cases.modalityComboBox.setEditText("mr-t2")
            cases.splitComboBox.setCurrentIndex(cases.splitComboBox.findData(split))
            cases.addCaseButton.click()
            self._wait(lambda count=number + 1: len(teach.teaching.cases) == count)
        teach.updatePanel.ui.updateButton.click()
        self._wait(lambda: teach.reportPanel.ui.scoreTable.visible)
        for number in range(3):
            drawScan(700 + number)
        self._wait(lambda: teach.nextPanel.ui.rankButton.enabled)
        teach.nextPanel.ui.rankButton.click()
        self._wait(lambda: session.busy is None and teach.nextPanel.ui.nextTable.rowCount == 3)
        # Not the temporary ones of this run.
        node.caseFolder, node.storeFolder = "/home/me/gallbladders", "/home/me/taught model"
        node.unlabelledFolder = "/home/me/old scans"
        self._wait(lambda: True)

    def picture(self) -> np.ndarray:
        """(rows, columns, RGB), uint8: the upper half of the section beside the lower one."""
        from PySide6.QtCore import QPoint

        from Testing.Host.proxies import unwrap
        from Testing.Screenshots.visit import arrayOf

        teach, section = self.widget.teachPanels, unwrap(self.widget.teachSection)
        top = unwrap(self._panel)
        top.resize(WIDTH, top.sizeHint().height())
        self._wait(lambda: True)
        whole = arrayOf(section.grab().toImage())
        report = unwrap(teach.reportPanel.ui.reportCollapsibleButton)
        cut = report.mapTo(section, QPoint(0, 0)).y()
        halves = [whole[:cut], whole[cut:]]
        height = max(map(len, halves))
        ground = whole[cut - 1, 2]
        filled = [np.concatenate([half, np.full((height - len(half), half.shape[1], 3), ground)]) for half in halves]
        gap = np.full((height, GAP, 3), ground)
        return np.concatenate([filled[0], gap, filled[1]], axis=1).astype(np.uint8)

    def end(self) -> None:
        """Leave the module, and end its worker."""
        self._module.exit()
        self.widget.cleanup()

    def _wait(self, until: Any) -> None:
        end = time.monotonic() + PATIENCE
        self._application.processEvents()
        while not until():
            if time.monotonic() > end:
                raise TimeoutError("The worker did not answer.")
            self._application.processEvents()
            time.sleep(0.01)


if __name__ == "__main__":
    typer.run(draw)
