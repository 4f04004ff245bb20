"""`qt`, `ctk` and Slicer's widgets behave as PythonQt shows them in Slicer."""

from __future__ import annotations

import os

import ctk
import pytest
import qt
import slicer

from Testing.Host import slotErrors


def test_a_property_is_a_value_and_has_its_setter():
    button = qt.QPushButton("first")
    assert (button.text, button.enabled, button.name) == ("first", True, "")
    button.setText("second")
    assert button.text == "second"
    button.text = "third"
    button.name = "apply"
    button.setEnabled(False)
    assert (button.text, button.objectName, button.enabled, button.isEnabled()) == ("third", "apply", False, False)
    with pytest.raises(TypeError):
        button.text()


def test_a_property_takes_no_value_of_another_type():
    label = qt.QLabel()
    with pytest.raises(AttributeError, match="QString"):
        label.text = 3


def test_a_misspelt_attribute_is_refused_in_reading_and_writing():
    button = qt.QPushButton()
    for read in (lambda: button.enabld, lambda: button.size.widht):
        with pytest.raises(AttributeError):
            read()
    with pytest.raises(AttributeError):
        button.enabld = False
    with pytest.raises(AttributeError, match="overwritten"):
        button.click = None


def test_the_class_name_is_the_one_of_the_cpp_class():
    assert qt.QPushButton().className() == "QPushButton"
    assert qt.QPushButton().inherits("QAbstractButton")
    assert slicer.qMRMLNodeComboBox().className() == "qMRMLNodeComboBox"
    assert type("Panel", (qt.QWidget,), {})().className() == "QWidget"


def test_both_ways_to_connect_hand_over_as_many_arguments_as_the_slot_takes():
    got = []

    class Receiver:
        def none(self):
            got.append("method")

        def one(self, checked=None):
            got.append(("method", checked))

    receiver = Receiver()
    button = qt.QPushButton()
    button.checkable = True
    button.connect("clicked(bool)", lambda checked: got.append(("string", checked)))
    button.connect("clicked()", lambda: got.append("string"))
    button.clicked.connect(lambda: got.append("attribute"))
    button.connect("clicked(bool)", receiver.none)
    button.connect("toggled(bool)", receiver.one)
    button.click()
    assert set(got) == {("string", True), "string", "attribute", "method", ("method", True)}
    assert len(got) == 5


def test_a_slot_that_was_disconnected_is_not_called_any_more():
    got = []
    button = qt.QPushButton()
    first, second = (lambda: got.append(1)), (lambda: got.append(2))
    button.connect("clicked()", first)
    button.connect("clicked()", second)
    assert button.disconnect("clicked()", first)
    button.click()
    assert got == [2]
    assert not button.disconnect("clicked()", first)


def test_a_receiver_and_the_signature_of_its_slot_can_be_connected():
    spinBox, edit = qt.QSpinBox(), qt.QLineEdit("text")
    spinBox.connect("valueChanged(int)", edit, "clear()")
    spinBox.value = 8
    assert edit.text == ""
    assert spinBox.disconnect("valueChanged(int)", edit, "clear()")


def test_a_signal_that_does_not_exist_is_refused():
    for widget, signature in (
        (qt.QPushButton(), "pushed()"),
        (slicer.qMRMLNodeComboBox(), "currentNodeChanged(vtkMRMLVolumeNode*)"),
    ):
        with pytest.raises(ValueError, match="no signal"):
            widget.connect(signature, lambda: None)


def test_an_exception_in_a_slot_is_recorded_and_does_not_come_back():
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert [type(error) for _, error in slotErrors] == [ZeroDivisionError]
    slotErrors.clear()


def test_enumerators_are_numbers_and_numbers_are_taken_for_them():
    assert (qt.Qt.Checked, qt.QSizePolicy.Expanding) == (2, 7)
    label = qt.QLabel("a")
    label.alignment = qt.Qt.AlignRight | qt.Qt.AlignVCenter
    assert label.alignment == 0x82
    box = qt.QCheckBox()
    box.setCheckState(2)
    assert box.checkState() == qt.Qt.Checked


def test_a_list_comes_back_as_a_tuple():
    box = slicer.qMRMLNodeComboBox()
    box.nodeTypes = ["vtkMRMLModelNode"]
    assert box.nodeTypes == ("vtkMRMLModelNode",)


def test_the_same_object_has_the_same_proxy():
    widget = qt.QWidget()
    layout = qt.QFormLayout(widget)
    edit = qt.QLineEdit()
    layout.addRow("name", edit)
    edit.name = "edit"
    assert widget.layout() is layout
    assert edit.parent() == widget
    assert widget.findChild(qt.QLineEdit, "edit") is edit
    assert widget.edit is edit
    assert slicer.util.findChild(widget, "edit") is edit


def test_an_object_that_nobody_holds_is_destroyed():
    destroyed = []
    timer = qt.QTimer()
    timer.connect("timeout()", lambda: None)
    timer.connect("destroyed()", lambda: destroyed.append(True))
    del timer
    assert destroyed == [True]


def test_a_destroyed_object_says_so():
    label = qt.QLabel()
    label.delete()
    with pytest.raises(ValueError, match="destroyed"):
        label.text  # noqa: B018


def test_qt_calls_the_virtual_methods_of_a_python_subclass(application):
    class Dialog(qt.QDialog):
        def __init__(self, parent=None):
            qt.QDialog.__init__(self, parent)
            self.closings = 0

        def closeEvent(self, event):
            self.closings += 1
            qt.QDialog.closeEvent(self, event)

    dialog = Dialog()
    dialog.windowTitle = "title"
    dialog.show()
    application.processEvents()
    dialog.close()
    assert (dialog.closings, dialog.windowTitle, dialog.visible) == (1, "title", False)


def test_an_event_filter_sees_the_events(application):
    seen = []

    class Filter(qt.QObject):
        def eventFilter(self, watched, event):
            if event.type() == qt.QEvent.Show:
                seen.append(watched)
            return False

    events, widget = Filter(), qt.QWidget()
    widget.installEventFilter(events)
    widget.show()
    assert seen == [widget]


def test_timers_run_with_the_events(process):
    got = []
    qt.QTimer.singleShot(0, lambda: got.append("once"))
    timer = qt.QTimer()
    timer.setInterval(1)
    timer.connect("timeout()", lambda: got.append("again"))
    timer.start()
    process(until=lambda: {"once", "again"} <= set(got))
    timer.stop()
    assert not timer.active


def test_a_process_carries_bytes_both_ways(process):
    received, ended = [], []
    child = qt.QProcess()
    child.connect("readyReadStandardOutput()", lambda: received.append(child.readAllStandardOutput().data()))
    child.connect("finished(int,QProcess::ExitStatus)", lambda code, status: ended.append((code, status)))
    child.start("cat", [])
    assert child.write(qt.QByteArray(b"a\0b")) == 3
    child.closeWriteChannel()
    process(until=lambda: ended)
    assert (b"".join(received), ended) == (b"a\0b", [(0, qt.QProcess.NormalExit)])


def test_what_slicer_util_makes_of_qt_works():
    qt.QSettings().setValue("Host/number", "5")
    assert slicer.util.settingsValue("Host/number", 0, converter=int) == 5
    with slicer.util.WaitCursor():
        pass
    progress = slicer.util.createProgressDialog(value=0, maximum=10, windowTitle="title")
    progress.value = 4
    assert (progress.value, progress.wasCanceled) == (4, False)
    progress.close()
    assert os.path.isdir(slicer.util.tempDirectory())
    slicer.util.delayDisplay("text", 10)
    assert slicer.util.mainWindow() is None


def test_only_the_api_of_the_real_widgets_can_be_reached():
    button = ctk.ctkCollapsibleButton()
    button.text = "title"
    button.collapsed = True
    assert button.collapsed
    with pytest.raises(AttributeError):
        button.setColapsed(True)
    with pytest.raises(AttributeError):
        ctk.ctkNoSuchThing  # noqa: B018
    with pytest.raises(AttributeError):
        slicer.qMRMLNoSuchThing  # noqa: B018
    with pytest.raises(AttributeError):
        qt.Signal  # noqa: B018
    with pytest.raises(NotImplementedError):
        slicer.qMRMLSegmentEditorWidget().setActiveEffectByName("Paint")


def test_a_widget_made_from_the_index_keeps_its_state_and_announces_it():
    got = []
    edit = ctk.ctkPathLineEdit()
    edit.connect("currentPathChanged(QString)", got.append)
    edit.currentPath = "/a"
    assert (edit.currentPath, got) == ("/a", ["/a"])
