"""Stand-ins that behave like the real widgets, where a module relies on their behaviour."""

from __future__ import annotations

from PySide6.QtCore import Property, QRect, QSize, Qt, Signal
from PySide6.QtWidgets import (
    QAbstractButton,
    QDoubleSpinBox,
    QHBoxLayout,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionButton,
    QStylePainter,
    QWidget,
)

SLIDER_STEPS = 1000
"""Positions of the slider in a ctkSliderWidget."""


class qMRMLWidget(QWidget):
    """A widget that hands a scene on to the widgets inside it."""

    mrmlSceneChanged = Signal(object)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene):
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel of a scripted module."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self.entered = False
        self.python = None
        self.newPython = None

    def self(this):
        """The Python object behind the panel."""
        return this.python

    def reload(self):
        """Make the Python object anew and set it up; a module that is entered already is not entered again."""
        self.python = self.newPython()
        self.python.setup()

    isEntered = Property(bool, lambda self: self.entered)


class ctkCollapsibleButton(QAbstractButton):
    """A header with widgets below it, which a click hides."""

    contentsCollapsed = Signal(bool)

    HEADER = 24
    """Height of the header in pixels."""

    def __init__(self, text="", parent=None):
        if isinstance(text, QWidget):
            text, parent = "", text
        super().__init__(parent)
        self._collapsed = False
        self._folded = []
        self.setText(text)
        self.setCheckable(True)
        self.setChecked(True)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Minimum)
        self.setContentsMargins(2, self.HEADER + 2, 2, 2)
        self.toggled.connect(lambda on: self.setCollapsed(not on))

    def isCollapsed(self):
        return self._collapsed

    def setCollapsed(self, collapsed):
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self.setChecked(not collapsed)
        if collapsed:
            self._fold()
        else:
            self._unfold()
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    collapsed = Property(bool, isCollapsed, setCollapsed)

    def _fold(self):
        """Hide what is shown, and remember it: what somebody else hid stays hidden when the header is opened."""
        children = self.findChildren(QWidget, options=Qt.FindChildOption.FindDirectChildrenOnly)
        shown = [one for one in children if not one.isHidden()]
        for one in shown:
            one.setVisible(False)
        self._folded += shown

    def _unfold(self):
        for one in self._folded:
            one.setVisible(True)
        self._folded = []

    def showEvent(self, event):
        """Fold what a .ui file put in after it said `collapsed`."""
        if self._collapsed:
            self._fold()
        super().showEvent(event)

    def sizeHint(self):
        layout = self.layout()
        if self._collapsed or layout is None:
            return QSize(160, self.HEADER + 4)
        return layout.totalSizeHint().expandedTo(QSize(160, self.HEADER + 4))

    def minimumSizeHint(self):
        layout = self.layout()
        if self._collapsed or layout is None:
            return self.sizeHint()
        return layout.totalMinimumSize().expandedTo(QSize(160, self.HEADER + 4))

    def hasHeightForWidth(self):
        layout = self.layout()
        return not self._collapsed and layout is not None and layout.hasHeightForWidth()

    def heightForWidth(self, width):
        return self.layout().totalHeightForWidth(width)

    def hitButton(self, position):
        return position.y() <= self.HEADER

    def paintEvent(self, event):
        painter = QStylePainter(self)
        option = QStyleOptionButton()
        option.initFrom(self)
        option.rect = QRect(0, 0, self.width(), self.HEADER)
        option.text = ("▸ " if self._collapsed else "▾ ") + self.text()
        painter.drawControl(QStyle.ControlElement.CE_PushButton, option)
        if not self._collapsed:
            painter.setPen(self.palette().mid().color())
            painter.drawRect(0, self.HEADER, self.width() - 1, self.height() - self.HEADER - 1)


class ctkSliderWidget(QWidget):
    """A slider and a spin box that show the same number."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._value = 0.0
        self._minimum, self._maximum = 0.0, 99.0
        self._slider = QSlider(Qt.Orientation.Horizontal, self)
        self._slider.setRange(0, SLIDER_STEPS)
        self._spinBox = QDoubleSpinBox(self)
        self._spinBox.setRange(self._minimum, self._maximum)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._spinBox)
        self._slider.valueChanged.connect(self._onSliderMoved)
        self._spinBox.valueChanged.connect(self.setValue)

    def getValue(self):
        return self._value

    def setValue(self, value):
        value = round(min(max(float(value), self._minimum), self._maximum), self._spinBox.decimals())
        if value == self._value:
            return
        self._value = value
        self._show()
        self.valueChanged.emit(value)

    value = Property(float, getValue, setValue, user=True)

    def setRange(self, minimum, maximum):
        self._minimum, self._maximum = minimum, maximum
        self._spinBox.blockSignals(True)
        self._spinBox.setRange(minimum, maximum)
        self._spinBox.blockSignals(False)
        self.setValue(self._value)
        self._show()

    minimum = Property(
        float, lambda self: self._minimum, lambda self, value: self.setRange(value, max(value, self._maximum))
    )
    maximum = Property(
        float, lambda self: self._maximum, lambda self, value: self.setRange(min(value, self._minimum), value)
    )
    singleStep = Property(
        float, lambda self: self._spinBox.singleStep(), lambda self, step: self._spinBox.setSingleStep(step)
    )
    decimals = Property(int, lambda self: self._spinBox.decimals(), lambda self, n: self._spinBox.setDecimals(n))
    prefix = Property(str, lambda self: self._spinBox.prefix(), lambda self, text: self._spinBox.setPrefix(text))
    suffix = Property(str, lambda self: self._spinBox.suffix(), lambda self, text: self._spinBox.setSuffix(text))

    def _onSliderMoved(self, position):
        self.setValue(self._minimum + (self._maximum - self._minimum) * position / SLIDER_STEPS)

    def _show(self):
        position = (self._value - self._minimum) / ((self._maximum - self._minimum) or 1) * SLIDER_STEPS
        for widget, number in ((self._slider, round(position)), (self._spinBox, self._value)):
            widget.blockSignals(True)
            widget.setValue(number)
            widget.blockSignals(False)
