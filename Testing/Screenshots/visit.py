"""A visit to the module on the stand-in host: what a user does there, and what there is to see of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from CFSegmenterUI import segmentations, volumes
from PySide6.QtGui import QImage

from Testing.Host.modules import ScriptedModule
from Testing.Host.proxies import unwrap
from Testing.Host.views import LayoutManager

MODULE = Path(__file__).resolve().parents[2] / "CFSegmenter" / "CFSegmenter.py"
MARGIN = 12
"""Empty rows below a panel."""
PATIENCE = 600
"""Seconds for a pass of the network on a busy machine."""


class Visit:
    """A Visit opens the module beside three slice views and a 3D view, and uses it as its panels offer it."""

    def __init__(self, viewPixels: int, panelWidth: int):
        """Args: side of each view, and width of the panel."""
        self.layout = LayoutManager((viewPixels, viewPixels))
        self._module = ScriptedModule(MODULE).load()
        self._panel = self._module.widgetRepresentation()
        self._width = panelWidth
        self._panel.resize(panelWidth, 1000)
        self._panel.show()
        self._module.enter()
        self.widget = self._module.widget()
        self._session = self.widget.logic.session
        self.volume: Any = None
        self.wait(lambda: self._session.models)

    def load(self, image: Path, modality: str = "") -> None:
        """Load a scan, choose it, and show it in all slice views; `modality` as DICOM would tell it."""
        self.volume = slicer.util.loadVolume(str(image))
        if modality:
            _tellModality(self.volume, modality)
        self.choices.inputVolume = self.volume
        self.wait()
        for view in self.layout.slices.values():
            view.show(self.volume)

    @property
    def choices(self) -> Any:
        """The parameter node."""
        return self.widget.logic.getParameterNode()

    def segment(self, structures: Sequence[str]) -> None:
        """Check structures, press Apply, and wait for the segments."""
        self.widget.segmentPanel.ui.noneButton.click()
        for name in structures:
            self.widget.segmentPanel.ui.addLineEdit.text = name
            self.widget.segmentPanel.ui.addButton.click()
        self.press(self.widget.segmentPanel.ui.applyButton)

    def showMap(self, structure: str) -> None:
        """Show a similarity map over the volume."""
        classes = self.widget.inspectPanel.ui.classComboBox
        classes.setCurrentIndex(classes.findText(structure))
        self.press(self.widget.inspectPanel.ui.showMapButton)

    def probe(self, ras: Sequence[float]) -> None:
        """Place the probe point."""
        inspect = self.widget.inspectPanel
        inspect.ui.placeButton.click()
        self.choices.probePoint.AddControlPoint(*ras)
        slicer.mrmlScene.GetNodeByID("vtkMRMLInteractionNodeSingleton").SetCurrentInteractionMode(2)
        self.wait(lambda: inspect.ui.rankingTable.rowCount)

    def press(self, button: Any) -> None:
        """Press a button that asks the worker, and wait for the answer."""
        button.click()
        self.wait(lambda: self._session.busy is None)

    def centerOf(self, structure: str) -> tuple[float, ...]:
        """The voxel of a structure's segment that lies deepest in the slice with most of it, in mm RAS."""
        from scipy import ndimage

        node = self.choices.outputSegmentation
        mask = segmentations.maskOf(node, segmentations.ownSegments(node)[structure], self.volume)
        layer = int(mask.sum(axis=(0, 1)).argmax())
        depth = ndimage.distance_transform_edt(mask[..., layer])
        i, j = np.unravel_index(depth.argmax(), depth.shape)
        return tuple((volumes.ijkToRas(self.volume) @ [i, j, layer, 1.0])[:3])

    def lookAt(self, ras: Sequence[float]) -> None:
        """Let all slice views show the slice through a point."""
        for view in self.layout.slices.values():
            view.node.JumpSlice(*ras)

    def showSurfaces(self) -> None:
        """Show the segmentation in 3D, seen from the front, on a plain ground and without the box around it."""
        self.widget.segmentPanel.ui.show3DButton.click()
        for view in self.layout.threeDViews:
            view.node.SetBoxVisible(False)
            view.node.SetAxisLabelsVisible(False)
            view.renderer.SetGradientBackground(False)
        self.layout.resetThreeDViews()

    def pictureOfSlice(self, name: str = "Red") -> np.ndarray:
        """(rows, columns, RGB), uint8."""
        return self.layout.slices[name].picture()

    def pictureOfSurfaces(self) -> np.ndarray:
        """(rows, columns, RGB), uint8."""
        return self.layout.threeDViews[0].picture()

    def pictureOfPanel(self, section: Any) -> np.ndarray:
        """(rows, columns, RGB), uint8: the panel with one of its sections open, as high as it needs to be."""
        for each in self.sections:
            each.collapsed = each is not section
        self.wait()
        widget = unwrap(self._panel)
        widget.resize(self._width, max(widget.heightForWidth(self._width), widget.sizeHint().height()))
        self.wait()
        return trimmed(arrayOf(widget.grab().toImage()))

    @property
    def sections(self) -> tuple[Any, ...]:
        """The panel's collapsible sections, from the top."""
        widget = self.widget
        found = [value for name, value in vars(widget).items() if name.endswith("Section")]
        return tuple(found)

    def wait(self, until: Callable[[], Any] = lambda: True) -> None:
        """Let events happen until a condition is true.

        Raises:
            TimeoutError: it never is.
        """
        end = time.monotonic() + PATIENCE
        slicer.app.processEvents()
        while not until():
            if time.monotonic() > end:
                raise TimeoutError("The worker did not answer.")
            slicer.app.processEvents()
            time.sleep(0.01)

    def end(self) -> None:
        """Leave the module, and end its worker."""
        self._module.exit()
        self.widget.cleanup()
        self.layout.close()


def trimmed(picture: np.ndarray) -> np.ndarray:
    """A picture without most of the empty rows at its lower end."""
    filled = np.flatnonzero((picture != picture[-1]).any(axis=(1, 2)))
    return picture[: filled[-1] + MARGIN] if filled.size else picture


def arrayOf(image: QImage) -> np.ndarray:
    """(rows, columns, RGB), uint8."""
    image = image.convertToFormat(QImage.Format.Format_RGB888)
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).copy()


def _tellModality(volume: Any, modality: str) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volume) or hierarchy.CreateItem(hierarchy.GetSceneItemID(), volume)
    name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    hierarchy.SetItemAttribute(item, name, modality)
