"""The table in which the user says which structure each segment is, and whether all of it was painted."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import qt
from slicer.i18n import tr as _

from CFSegmenterLib.structures import Vocabulary

from .segmentMeaning import isEmpty, meaningOf, nameOfTerm, termOf
from .tables import fitHeight
from .taughtCase import MappedSegment

SEGMENT, STRUCTURE, COMPLETE, NEW = range(4)
"""Columns of the table."""
EDIT_MARGIN = 10
"""Pixels that a row is higher than its text, which can be edited."""


@dataclass(frozen=True)
class _Choice:
    """What the user has said of a segment; None, and "" for its term, where the segment speaks for itself."""

    structure: str | None = None
    isChecked: bool | None = None
    isComplete: bool = True
    term: str = ""


class StructureMapping:
    """A StructureMapping shows the segments of one segmentation, and keeps what was said of them while it changes."""

    def __init__(self, table: qt.QTableWidget, vocabulary: Vocabulary, changed: Callable[[], None]):
        """Args: a table of four columns; `changed` is called when the user has changed something."""
        self._table = table
        self._vocabulary = vocabulary
        self._changed = changed
        self._node: Any = None
        self._known: Collection[str] | None = None
        self._choices: dict[str, _Choice] = {}
        self._painted: set[str] = set()
        self._segmentIDs: tuple[str, ...] = ()
        self._isFilling = False
        header = table.horizontalHeader()
        for column in (SEGMENT, COMPLETE, NEW):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        header.setSectionResizeMode(STRUCTURE, qt.QHeaderView.Stretch)
        table.connect("cellChanged(int,int)", self._onCellChanged)

    def show(self, segmentationNode: Any, known: Collection[str] | None, vocabulary: Vocabulary) -> None:
        """Show the segments of a segmentation. What was said before of a segment that is still there stays.

        Args:
            segmentationNode: None shows none.
            known: what the model was taught; None says of nothing that it is new.
            vocabulary: with the model's own structures.
        """
        self._vocabulary = vocabulary
        if segmentationNode is not self._node:
            self._node, self._choices, self._painted = segmentationNode, {}, set()
        self._known = known
        segments = self._segments()
        for segmentID, segment in segments.items():
            self._choices.setdefault(segmentID, _Choice())
            if segmentID not in self._painted and not isEmpty(segment):
                self._painted.add(segmentID)
        with self._filling():
            if tuple(segments) != self._segmentIDs or self._table.rowCount != len(segments):
                self._segmentIDs = tuple(segments)
                self._table.setRowCount(0)
                for row, segmentID in enumerate(segments):
                    self._addRow(row, segmentID)
                fitHeight(self._table, 3, 10, EDIT_MARGIN)
            for row, segment in enumerate(segments.values()):
                self._showRow(row, segment)

    def mapped(self) -> list[MappedSegment]:
        """The segments that are checked."""
        return [
            MappedSegment(
                segmentID, segment.GetName(), self._structure(segmentID, segment), choice.isComplete, choice.term
            )
            for segmentID, segment in self._segments().items()
            if (choice := self._choices.get(segmentID)) is not None and self._isChecked(segmentID)
        ]

    def newStructures(self) -> list[str]:
        """What is checked and the model does not know."""
        return list(dict.fromkeys(m.structure for m in self.mapped() if m.structure and self._isNew(m.structure)))

    @property
    def selectedSegment(self) -> str:
        """ID of the segment whose row is selected, "" where none is."""
        row = self._table.currentRow()
        return self._segmentIDs[row] if 0 <= row < len(self._segmentIDs) else ""

    def setTerm(self, segmentID: str, entry: str) -> None:
        """Say what a segment is by a serialized terminology entry; another name for it may still be given."""
        self._choices[segmentID] = replace(self._choices[segmentID], term=entry)
        self.setStructure(segmentID, nameOfTerm(entry, self._vocabulary))

    def termOf(self, segmentID: str) -> str:
        """The terminology entry that was chosen for a segment, else its own."""
        return self._choices[segmentID].term or termOf(self._segments()[segmentID])

    def setStructure(self, segmentID: str, text: str) -> None:
        """Say what a segment is, by any name of a structure or by a new one."""
        known = self._vocabulary.get(text)
        name = known.name if known else " ".join(text.lower().split())
        self._choices[segmentID] = replace(self._choices[segmentID], structure=name, isChecked=True)
        row = self._segmentIDs.index(segmentID)
        with self._filling():
            self._showRow(row, self._segments()[segmentID])
        self._changed()

    def _structure(self, segmentID: str, segment: Any) -> str:
        said = self._choices[segmentID].structure
        return meaningOf(segment, self._vocabulary) if said is None else said

    def _isChecked(self, segmentID: str) -> bool:
        said = self._choices[segmentID].isChecked
        return segmentID in self._painted if said is None else said

    # Rows

    def _segments(self) -> dict[str, Any]:
        if self._node is None:
            return {}
        segmentation = self._node.GetSegmentation()
        numbers = range(segmentation.GetNumberOfSegments())
        return {segmentation.GetNthSegmentID(number): segmentation.GetNthSegment(number) for number in numbers}

    def _addRow(self, row: int, segmentID: str) -> None:
        self._table.insertRow(row)
        for column in (SEGMENT, COMPLETE):
            item = qt.QTableWidgetItem()
            item.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
            self._table.setItem(row, column, item)
        self._table.setItem(row, NEW, qt.QTableWidgetItem())
        edit = qt.QLineEdit(self._table)
        completer = self._newCompleter(edit)
        completer.connect("activated(QString)", lambda name: self._onChosen(segmentID, edit, name))
        edit.setCompleter(completer)
        edit.frame = False
        edit.placeholderText = _("Name of a structure")
        edit.connect("editingFinished()", lambda: self._onNamed(segmentID, edit))
        self._table.setCellWidget(row, STRUCTURE, edit)

    def _newCompleter(self, edit: qt.QLineEdit) -> qt.QCompleter:
        """Each row has its own: one that several share outlives the row whose list of names is open."""
        completer = qt.QCompleter(list(self._vocabulary.names()), edit)
        completer.caseSensitivity = qt.Qt.CaseInsensitive
        completer.filterMode = qt.Qt.MatchContains
        return completer

    def _showRow(self, row: int, segment: Any) -> None:
        segmentID = self._segmentIDs[row]
        structure, isChecked = self._structure(segmentID, segment), self._isChecked(segmentID)
        item, edit = self._table.item(row, SEGMENT), self._table.cellWidget(row, STRUCTURE)
        item.setText(segment.GetName())
        item.setData(qt.Qt.DecorationRole, qt.QColor(*(round(255 * value) for value in segment.GetColor())))
        item.setCheckState(qt.Qt.Checked if isChecked else qt.Qt.Unchecked)
        complete = self._table.item(row, COMPLETE)
        complete.setCheckState(qt.Qt.Checked if self._choices[segmentID].isComplete else qt.Qt.Unchecked)
        complete.setToolTip(
            _(
                "All of the structure that the scan shows was painted. Uncheck it for a part: what was painted counts, "
                "and what was not is left open."
            )
        )
        if edit.text != structure and not edit.modified:  # else the user is typing
            edit.text = structure
        edit.enabled = isChecked
        isNew = bool(structure) and isChecked and self._isNew(structure)
        self._table.item(row, NEW).setText(_("new") if isNew else "")
        self._table.item(row, NEW).setToolTip(self._adviceOn(structure) if isNew else "")

    def _adviceOn(self, structure: str) -> str:
        if structure in self._vocabulary:
            return _("The model does not know it yet and will learn it.")
        near = self._vocabulary.nearest(structure)
        said = _("CFSegmenter has no such name, and takes it as that of a structure of your own.")
        return said + " " + _("Similar names: {names}.").format(names=", ".join(near)) if near else said

    def _isNew(self, structure: str) -> bool:
        return self._known is not None and structure not in self._known

    def _onChosen(self, segmentID: str, edit: qt.QLineEdit, name: str) -> None:
        edit.text = name  # Qt itself does so before or after this
        self._onNamed(segmentID, edit)

    def _onNamed(self, segmentID: str, edit: qt.QLineEdit) -> None:
        segment = self._segments().get(segmentID)
        if self._isFilling or segment is None:
            return
        edit.modified = False  # a name from the completer's list is no modification to Qt, but one to us
        if edit.text != self._structure(segmentID, segment):
            self.setStructure(segmentID, edit.text)

    def _onCellChanged(self, row: int, column: int) -> None:
        if self._isFilling or column not in (SEGMENT, COMPLETE):
            return
        segmentID = self._segmentIDs[row]
        isChecked = self._table.item(row, column).checkState() == qt.Qt.Checked
        change = {"isChecked": isChecked} if column == SEGMENT else {"isComplete": isChecked}
        self._choices[segmentID] = replace(self._choices[segmentID], **change)
        with self._filling():
            self._showRow(row, self._segments()[segmentID])
        self._changed()

    @contextmanager
    def _filling(self) -> Iterator[None]:
        """Changes are ours, not the user's."""
        before, self._isFilling = self._isFilling, True
        try:
            yield
        finally:
            self._isFilling = before
