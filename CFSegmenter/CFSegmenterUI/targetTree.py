"""The target tree: the structures that a model can segment, by body region, to be searched and checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import qt
from slicer.i18n import tr as _

from CFSegmenterLib.spelling import name_key
from CFSegmenterLib.structures import Structure, Vocabulary

NAME, CODE = 0, 1
FEW = 20
"""Up to so many structures are all in sight at once; more are folded into their regions."""


class TargetTree:
    """A TargetTree shows structures with check boxes, and finds them by any of their names."""

    def __init__(
        self, tree: qt.QTreeWidget, searchBox: qt.QLineEdit, vocabulary: Vocabulary, changed: Callable[[], None]
    ):
        """Args: the widgets to fill and to listen to; `changed` is called when the user checks or unchecks."""
        self._tree = tree
        self._searchBox = searchBox
        self._vocabulary = vocabulary
        self._changed = changed
        # Qt owns the rows; these references only name them, and are dropped before the tree is cleared.
        self._rows: dict[str, Any] = {}
        self._regions: dict[str, Any] = {}
        self._words: dict[str, frozenset[str]] = {}
        self._unfolded: set[str] | None = None
        self._isFilling = False
        tree.header().setSectionResizeMode(NAME, qt.QHeaderView.Stretch)
        tree.header().setSectionResizeMode(CODE, qt.QHeaderView.ResizeToContents)
        tree.connect("itemChanged(QTreeWidgetItem*,int)", self._onItemChanged)
        searchBox.connect("textChanged(QString)", self._onSearch)

    @property
    def structures(self) -> tuple[str, ...]:
        """All that can be checked, in the order shown."""
        return tuple(self._rows)

    def setStructures(self, names: Sequence[str], vocabulary: Vocabulary | None = None) -> None:
        """Show these and nothing else; what was checked and is still there stays checked.

        Args:
            vocabulary: with the model's own structures; None keeps the one that there is.
        """
        kept = self.checked()
        self._vocabulary = vocabulary or self._vocabulary
        known = [structure for structure in self._vocabulary if structure.name in set(names)]
        inVocabulary = {structure.name for structure in known}
        others = [name for name in names if name not in inVocabulary]
        with self._filling():
            self._rows, self._regions, self._words = {}, {}, {}
            self._tree.clear()
            for structure in known:
                self._addRow(structure.name, structure.region or _("named by the model"), structure)
            for name in others:
                self._addRow(name, _("named by the model"), None)
        self._unfolded = None
        self.setChecked(kept)
        for region in self._regions.values():
            region.setExpanded(len(self._rows) <= FEW or region.checkState(NAME) != qt.Qt.Unchecked)
        self._onSearch(self._searchBox.text)

    def checked(self) -> list[str]:
        """What is checked, in the order shown."""
        return [name for name, row in self._rows.items() if row.checkState(NAME) == qt.Qt.Checked]

    def setChecked(self, names: Iterable[str]) -> None:
        """Check exactly these; names that are not shown are passed over. `changed` is not called."""
        wanted = set(names)
        with self._filling():
            for name, row in self._rows.items():
                row.setCheckState(NAME, qt.Qt.Checked if name in wanted else qt.Qt.Unchecked)
            self._countRegions()

    def check(self, names: Iterable[str]) -> None:
        """Check exactly these, as the user would have done."""
        self.setChecked(names)
        self._changed()

    def add(self, text: str) -> str:
        """Check the structure that `text` is a name of and bring it in sight; returns why that cannot be, or ""."""
        structure = self._vocabulary.get(text)
        key = name_key(text)
        name = structure.name if structure else next((n for n in self._rows if key and name_key(n) == key), None)
        if name in self._rows:
            self._searchBox.text = ""
            row = self._rows[name]
            row.parent().setExpanded(True)
            row.setCheckState(NAME, qt.Qt.Checked)
            self._tree.scrollToItem(row)
            return ""
        near = self._nearest(text, 3)
        if structure:
            reason = _('This model was not taught "{name}".').format(name=structure.name)
        else:
            reason = _('"{name}" is not the name of a structure.').format(name=text.strip())
        if not near:
            return reason + " " + _("Search the list above for what it knows.")
        return reason + " " + _("The nearest that it knows: {names}.").format(names=", ".join(near))

    # Rows

    def _addRow(self, name: str, region: str, structure: Structure | None) -> None:
        row = qt.QTreeWidgetItem()
        row.setText(NAME, name)
        row.setData(NAME, qt.Qt.UserRole, name)
        row.setCheckState(NAME, qt.Qt.Unchecked)
        self._regionRow(region).addChild(row)
        names = [name, region]
        if structure is not None:
            row.setData(NAME, qt.Qt.DecorationRole, qt.QColor(*structure.color))
            code = structure.type.value if structure.type else ""
            row.setText(CODE, code)
            row.setToolTip(CODE, _meaning(structure))
            if structure.synonyms:
                row.setToolTip(NAME, _("Also called {names}").format(names=", ".join(structure.synonyms)))
            names += [*structure.synonyms, code]
        self._rows[name] = row
        self._words[name] = frozenset(word for each in names for word in (*name_key(each), *_plainWords(each)))

    def _regionRow(self, region: str) -> Any:
        row = self._regions.get(region)
        if row is None:
            row = qt.QTreeWidgetItem()
            row.setText(NAME, region)
            row.setCheckState(NAME, qt.Qt.Unchecked)
            self._tree.addTopLevelItem(row)
            self._regions[region] = row
        return row

    def _countRegions(self) -> None:
        """Let every region say how many of its structures are checked."""
        for region in self._regions.values():
            rows = _children(region)
            checked = sum(row.checkState(NAME) == qt.Qt.Checked for row in rows)
            partly = qt.Qt.PartiallyChecked if checked < len(rows) else qt.Qt.Checked
            region.setCheckState(NAME, partly if checked else qt.Qt.Unchecked)
            region.setText(CODE, _("{checked} of {total}").format(checked=checked, total=len(rows)))

    def _onItemChanged(self, item: Any, column: int) -> None:
        if self._isFilling or column != NAME:
            return
        with self._filling():
            if item.parent() is None:
                # What a search has hidden is not meant. A box that is half checked because of hidden rows asks to be
                # checked on every click: what is in sight then alternates.
                shown = [row for row in _children(item) if not row.isHidden()]
                isFull = all(row.checkState(NAME) == qt.Qt.Checked for row in shown)
                check = item.checkState(NAME) == qt.Qt.Checked and not isFull
                for row in shown:
                    row.setCheckState(NAME, qt.Qt.Checked if check else qt.Qt.Unchecked)
            self._countRegions()
        self._changed()

    # Search

    def _onSearch(self, text: str) -> None:
        """Show only what `text` may mean, and all regions as they were once it is gone."""
        wanted = _wantedWords(text)
        if wanted and self._unfolded is None:
            self._unfolded = {name for name, row in self._regions.items() if row.isExpanded()}
        found = [name for name in self._rows if _matches(wanted, self._words[name])]
        found = set(found or self._nearest(text, 5))
        for name, row in self._rows.items():
            row.setHidden(name not in found)
        for name, region in self._regions.items():
            region.setHidden(all(row.isHidden() for row in _children(region)))
            if wanted:
                region.setExpanded(True)
            elif self._unfolded is not None:
                region.setExpanded(name in self._unfolded or region.checkState(NAME) != qt.Qt.Unchecked)
        if not wanted:
            self._unfolded = None

    def _nearest(self, text: str, count: int) -> list[str]:
        """Of the structures shown, those whose names look most like `text`."""
        return [name for name in self._vocabulary.nearest(text, len(self._vocabulary)) if name in self._rows][:count]

    @contextmanager
    def _filling(self) -> Iterator[None]:
        """Changes are ours, not the user's."""
        before, self._isFilling = self._isFilling, True
        try:
            yield
        finally:
            self._isFilling = before


def _children(region: Any) -> list[Any]:
    return [region.child(number) for number in range(region.childCount())]


def _meaning(structure: Structure) -> str:
    """The coded meaning of a structure, as its segment will carry it."""
    codes = [structure.type, structure.modifier, structure.anatomic_region, structure.anatomic_region_modifier]
    return "; ".join(f"{code.meaning} ({code.scheme} {code.value})" for code in codes if code is not None)


def _plainWords(text: str) -> list[str]:
    return [word for word in re.split(r"[\W_]+", text.casefold()) if word]


def _wantedWords(text: str) -> list[frozenset[str]]:
    """For each word that was typed, the beginnings of words that it may stand for."""
    words = _plainWords(text)
    # "the" and its like say nothing, but the last word may be the beginning of another: "in" of "inferior".
    return [name_key(word) | {word} for at, word in enumerate(words, 1) if name_key(word) or at == len(words)]


def _matches(wanted: Sequence[frozenset[str]], words: frozenset[str]) -> bool:
    return all(any(word.startswith(tuple(beginnings)) for word in words) for beginnings in wanted)
