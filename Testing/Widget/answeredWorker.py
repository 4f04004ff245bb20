"""A worker whose answers the test gives, word for word, and panels as the module opens them."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from CFSegmenterLib.worker.framing import Frame
from Testing.Host.proxies import unwrap

RESOURCES = Path(__file__).parents[2] / "CFSegmenter" / "Resources"


def manifest(name: str = "general", version: str = "1", **others) -> dict:
    """What the worker says of a small model."""
    names = ("background", "liver", "spleen", "left kidney", "right kidney")
    return {
        "name": name,
        "version": version,
        "created": "2026-11-20",
        "licence": "CC BY 4.0",
        "parent": None,
        "prototypes": [{"name": each} for each in names],
        "protocols": [{"name": "abdomen CT", "modality": "ct", "spacing": [2.0, 2.0, 2.0], "patch": [96, 96, 96]}],
        "backbone": {"features": 32},
        "sources": [],
        "scores": {},
        "training": {},
        **others,
    }


class Question:
    """A request that waits for the test to answer it."""

    def __init__(self, verb, message, arrays, callbacks):
        self.verb, self.message, self.arrays, self.callbacks = verb, message, arrays, callbacks
        self.isActive, self.isCancelled = True, False

    def answer(self, message=None, arrays=None):
        self.isActive = False
        self.callbacks["done"](Frame(message or {}, arrays or {}))

    def refuse(self, text, gone=False):
        self.isActive = False
        self.callbacks["failed"](text, gone)

    def tell(self, done, total, what, secondsLeft=None):
        self.callbacks["progress"](done, total, what, secondsLeft)

    def cancel(self):
        self.isCancelled = True

    def giveUp(self):
        self.isActive = False
        self.callbacks["cancelled"]()


class Link:
    """Takes the place of WorkerLink."""

    def __init__(self):
        self.machine = None
        self.isRunning = True
        self.questions: list[Question] = []
        self.stops = self.gentleStops = 0

    def addListener(self, callback):
        pass

    def stop(self, gently=False):
        self.stops += 1
        self.gentleStops += gently

    def request(self, verb, message=None, arrays=None, **callbacks):
        self.questions.append(Question(verb, message or {}, arrays or {}, callbacks))
        return self.questions[-1]

    @property
    def verbs(self):
        return [question.verb for question in self.questions]

    @property
    def last(self):
        return self.questions[-1]

    def lastOf(self, verb):
        return [question for question in self.questions if question.verb == verb][-1]


def openPanel(panelClass, session, resourcePath=None, **others):
    """The panel of a class in a window 420 pixels wide, as the module's panel is."""
    import qt
    import slicer

    parent = slicer.qMRMLWidget()
    parent.setLayout(qt.QVBoxLayout())
    panel = panelClass(parent, session, resourcePath or (lambda name: str(RESOURCES / name)), **others)
    panel.parent = parent  # keeps it alive as the module's widget does
    parent.resize(420, 700)
    parent.show()
    return panel


def newParameterNode():
    """The choices of an empty scene."""
    from CFSegmenterUI.parameters import CFSegmenterParameterNode
    from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

    return CFSegmenterParameterNode(ScriptedLoadableModuleLogic().getParameterNode())


def click(widget):
    """With the left mouse button, in the middle; a widget that is disabled or hidden cannot be clicked."""
    assert widget.enabled
    assert widget.visible
    QTest.mouseClick(unwrap(widget), Qt.MouseButton.LeftButton)


def enter(widget, text):
    """Replace the text of a line edit by typing, and press Enter."""
    unwrap(widget).selectAll()
    QTest.keyClick(unwrap(widget), Qt.Key.Key_Delete)
    QTest.keyClicks(unwrap(widget), text)
    QTest.keyClick(unwrap(widget), Qt.Key.Key_Return)


def clickRow(view, row, double=False):
    """On a row of a list, a tree or a table."""
    real = unwrap(view)
    index = real.model().index(row, 0)
    real.scrollTo(index)
    spot = real.visualRect(index).center()
    QTest.mouseClick(real.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    if double:
        QTest.mouseDClick(real.viewport(), Qt.MouseButton.LeftButton, pos=spot)


def rowTexts(table):
    """Texts of a table's rows."""
    rows, columns = range(table.rowCount), range(table.columnCount)
    return [[item.text() if (item := table.item(row, column)) else "" for column in columns] for row in rows]
