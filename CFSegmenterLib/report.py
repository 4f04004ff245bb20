"""The report: one page that shows a person what was segmented, how sure the model is, and by which model.

It says nothing of the patient: no file name, no date, no header of the image; only the title is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from . import __version__, page
from .encoding import Encoding, Segmentation
from .errors import UserError
from .evaluation import dice
from .files.writing import write_atomically, write_text
from .pictures import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Outline,
    Plane,
    Viewer,
    choose_slices,
    draw_margin,
    draw_overview,
    draw_similarity,
    draw_slice,
    spread_slices,
)
from .progress import Progress, advance, silent
from .protocols import Protocol
from .results import Color, color_of
from .structures import Code
from .volume import Volume

PAGE, OVERVIEW = "index.html", "overview.png"
"""What a report consists of."""

SLICES = {AXIAL: 3, CORONAL: 2, SAGITTAL: 2}
"""The most slices of each plane that are shown."""
SLICES_OF_STACK = {AXIAL: 6, CORONAL: 1, SAGITTAL: 1}
"""The same of a stack of thick slices, of which little is to be seen from the side."""
MAPS = 6
"""The most similarity maps that are shown where the caller names none."""
THICK = 4.0
"""Height of a voxel, in its shortest side, from which on an image counts as a stack of thick slices."""


@dataclass(frozen=True)
class Row:
    """A structure's line in the table.

    Attributes:
        name: of the structure.
        color: red, green, blue of 0 to 255.
        voxels: how many were found.
        volume_ml: their volume.
        similarity: mean cosine of these voxels with the structure; None where there are none.
        cut_off: the structure reaches the edge of the image.
        dice: with the truth; None where there is none to compare with.
        codes: type and modifier, empty for a name of the user's own.
    """

    name: str
    color: Color
    voxels: int
    volume_ml: float
    similarity: float | None
    cut_off: bool
    dice: float | None
    codes: tuple[Code, ...]


def write_report(
    folder: str | Path,
    encoding: Encoding,
    segmentation: Segmentation,
    volume: Volume,
    *,
    title: str,
    seconds: float,
    similarity_structures: Sequence[str] | None = None,
    truth: Mapping[str, np.ndarray] | None = None,
    progress: Progress = silent,
) -> Path:
    """Write `index.html` and, for slides and read-me files, `overview.png` into a folder.

    Args:
        folder: made where it does not exist; what else lies in it stays.
        encoding: of `volume`.
        segmentation: what the encoding answered.
        title: heading of the report; the only text in it that could name a patient.
        seconds: that the segmentation took.
        similarity_structures: whose similarity maps are shown, the first of them on the overview, too; None takes the
            largest, one of each pair of sides.
        truth: structure -> (I, J, K) mask; adds Dice and dashed outlines.

    Returns:
        The path of `index.html`.

    Raises:
        UserError: the folder cannot be written, or a structure is unknown to the encoding.
        Cancelled: as `progress` asked.
    """
    folder = Path(folder)
    report = _Report(encoding, segmentation, volume, truth or {})
    mapped = report.main_structures() if similarity_structures is None else report.resolved(similarity_structures)
    steps = len(segmentation.names) + len([n for n in mapped if n not in segmentation.names]) + 2
    cuts: dict[str, tuple[int, np.ndarray]] = {}
    means: dict[str, float | None] = {}
    overview_map: tuple[str, np.ndarray] | None = None
    overview_name = report.largest_on_overview(mapped) if similarity_structures is None else next(iter(mapped), None)
    overview_index = report.overview_slice(AXIAL, overview_name)
    for done, name in enumerate(dict.fromkeys((*segmentation.names, *mapped))):
        advance(progress, done, steps, f"measuring {name}")
        similarity = encoding.similarity(name)
        means[name] = report.mean_inside(name, similarity)
        if name == overview_name:
            overview_map = name, report.viewer.cut(similarity, AXIAL, overview_index).copy()
        if name in mapped:
            index = report.best_axial(name, similarity)
            cuts[name] = index, report.viewer.cut(similarity, AXIAL, index).copy()
    advance(progress, steps - 2, steps, "measuring margins")
    margin = encoding.margin()
    advance(progress, steps - 1, steps, "drawing")
    html = page.document(
        title,
        [
            _summary(encoding, volume, segmentation, seconds),
            _table(report.rows(means), bool(truth)),
            *(_slices(report, plane) for plane in SLICES),
            _maps(report, {name: cuts[name] for name in mapped}),
            _margins(report, margin),
            _about_model(encoding),
        ],
    )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"The folder {folder} for the report cannot be made: {error.strerror}; name another."
        ) from error
    with write_atomically(folder / OVERVIEW) as partial:
        partial.write_bytes(report.overview(overview_index, overview_map))
    path = folder / PAGE
    write_text(path, html)
    advance(progress, steps, steps, "report written")
    return path


class _Report:
    """What the sections of a report have in common: where each structure lies and how it is shown."""

    def __init__(self, encoding: Encoding, segmentation: Segmentation, volume: Volume, truth: Mapping[str, np.ndarray]):
        self.encoding = encoding
        self.segmentation = segmentation
        self.volume = volume
        self.viewer = Viewer(volume, encoding.protocol.modality)
        self.names = segmentation.names
        self.colors = {n: color_of(n, i, encoding.repertoire.vocabulary) for i, n in enumerate(self.names)}
        self.truth = {self.resolved([name])[0]: np.asarray(mask).astype(bool) for name, mask in truth.items()}
        self.areas = {plane: self._areas(plane) for plane in SLICES}
        self.voxels = dict(zip(self.names, self.areas[AXIAL].sum(axis=0).tolist(), strict=True))
        self.is_stack = bool(self.viewer.spacing[AXIAL.normal] >= THICK * self.viewer.spacing.min())
        counts = SLICES_OF_STACK if self.is_stack else SLICES
        self.slices = {plane: choose_slices(self.areas[plane], count) for plane, count in counts.items()}
        self.slices[AXIAL] = spread_slices(self.areas[AXIAL], self.slices[AXIAL], counts[AXIAL])
        self.viewer = self.viewer.closer([self._occupied(plane) for plane in (SAGITTAL, CORONAL, AXIAL)])

    def resolved(self, names: Sequence[str]) -> list[str]:
        """The names under which the segmentation holds them."""
        found = (self.encoding.repertoire.vocabulary.get(name) for name in names)
        return [f.name if f and n not in self.names else n for f, n in zip(found, names, strict=True)]

    def main_structures(self) -> list[str]:
        """The largest that were found, one of each pair of sides."""
        chosen: list[str] = []
        for name in sorted(self.names, key=lambda n: -self.voxels[n]):
            twin = self.encoding.repertoire.vocabulary.twin(name)
            if self.voxels[name] and len(chosen) < MAPS and (twin is None or twin.name not in chosen):
                chosen.append(name)
        return chosen or list(self.names[:1])

    def mean_inside(self, name: str, similarity: np.ndarray) -> float | None:
        """Mean of a similarity map where the structure was found."""
        if name not in self.names or not self.voxels[name]:
            return None
        return float(similarity[self.segmentation.mask(name)].mean(dtype=np.float64))

    def best_axial(self, name: str, similarity: np.ndarray) -> int:
        """The axial slice that shows most of a structure; where it was not found, that of the highest similarity."""
        if name in self.names and self.voxels[name]:
            return int(self.areas[AXIAL][:, self.names.index(name)].argmax())
        best = [self.viewer.cut(similarity, AXIAL, i).max() for i in range(self.viewer.count(AXIAL))]
        return int(np.argmax(best))

    def outlines(self, plane: Plane, index: int, only: str | None = None) -> list[Outline]:
        """The outlines on a slice: answers first, so that the truth is drawn over them."""
        truths = [
            Outline(self.viewer.cut(mask, plane, index), (255, 255, 255), dashed=True)
            for n, mask in self.truth.items()
            if only in (None, n)
        ]
        return self._answers(plane, index, only) + truths

    def visible(self, plane: Plane, index: int) -> list[str]:
        """The structures on a slice, the largest first."""
        areas = dict(zip(self.names, self.areas[plane][index].tolist(), strict=True))
        return sorted((n for n in self.names if areas[n]), key=lambda n: -areas[n])

    def rows(self, means: Mapping[str, float | None]) -> list[Row]:
        """The table, in the order in which the structures were asked for."""
        rows = []
        for name in self.names:
            known = self.encoding.repertoire.vocabulary.get(name)
            codes = tuple(c for c in (known.type, known.modifier) if c is not None) if known else ()
            truth = self.truth.get(name)
            rows.append(
                Row(
                    name=name,
                    color=self.colors[name],
                    voxels=self.voxels[name],
                    volume_ml=self.voxels[name] * self.volume.voxel_volume_ml,
                    similarity=means[name],
                    cut_off=self._is_cut_off(name),
                    dice=None if truth is None else dice(truth, self.segmentation.mask(name)),
                    codes=codes,
                )
            )
        return rows

    def overview_slice(self, plane: Plane, name: str | None = None) -> int:
        """The one slice of a plane that shows most, among those that show much of one structure."""
        areas = self.areas[plane]
        if name not in self.names or not self.voxels[name]:
            return choose_slices(areas, 1)[0]
        own = areas[:, self.names.index(name)]
        return choose_slices(np.where(own[:, None] >= own.max() / 2, areas, 0), 1)[0]

    def largest_on_overview(self, names: Sequence[str]) -> str | None:
        """Of `names` the one that fills most of the overview's axial slice."""
        areas = dict(zip(self.names, self.areas[AXIAL][self.overview_slice(AXIAL)].tolist(), strict=True))
        return max(names, key=lambda name: areas.get(name, 0), default=None)

    def overview(self, index: int, mapped: tuple[str, np.ndarray] | None) -> bytes:
        """An axial and a coronal slice with all outlines, and a structure's similarity map on the axial one."""
        slices = [(AXIAL, index, self._answers(AXIAL, index))]
        if not self.is_stack:
            across = self.overview_slice(CORONAL)
            slices.append((CORONAL, across, self._answers(CORONAL, across)))
        if mapped is None:
            return draw_overview(self.viewer, slices)
        name, values = mapped
        return draw_overview(self.viewer, slices, (AXIAL, name, values, self._answers(AXIAL, index, name)))

    def _answers(self, plane: Plane, index: int, only: str | None = None) -> list[Outline]:
        return [
            Outline(self.viewer.cut(self._layer(n), plane, index) == self.segmentation.places[n][1], self.colors[n])
            for n in self.names
            if only in (None, n)
        ]

    def _layer(self, name: str) -> np.ndarray:
        return self.segmentation.layers[self.segmentation.places[name][0]]

    def _areas(self, plane: Plane) -> np.ndarray:
        """(slices, structures) voxels of each structure in each slice; one pass over each label map."""
        areas = np.zeros((self.viewer.count(plane), len(self.names)), dtype=np.int64)
        for number, layer in enumerate(self.segmentation.layers):
            here = [i for i, n in enumerate(self.names) if self.segmentation.places[n][0] == number]
            values = [self.segmentation.places[self.names[i]][1] for i in here]
            areas[:, here] = self.viewer.areas(layer, plane, values)
        return areas

    def _occupied(self, plane: Plane) -> np.ndarray:
        """(slices,) bool: which slices hold a structure, found or true."""
        truths = [self.viewer.areas(mask.astype(np.uint8), plane, [1])[:, 0] for mask in self.truth.values()]
        return np.any([self.areas[plane].any(axis=1), *truths], axis=0)

    def _is_cut_off(self, name: str) -> bool:
        position = self.names.index(name)
        return any(bool(areas[end, position]) for areas in self.areas.values() for end in (0, -1))


def _summary(encoding: Encoding, volume: Volume, segmentation: Segmentation, seconds: float) -> str:
    manifest, protocol = encoding.model.manifest, encoding.protocol
    shape = _together(" × ".join(str(n) for n in volume.shape), "voxels")
    spacing = _together(" × ".join(f"{s:.3g}" for s in volume.spacing), "mm")
    asked = len(segmentation.names)
    facts = (
        ("Model", f"{manifest.name}, version {manifest.version}"),
        ("Read as", _called(protocol)),
        ("Image", f"{shape} of {spacing}"),
        ("Asked for", f"{asked} structure{'s' if asked != 1 else ''}, {_together('answered in', _duration(seconds))}"),
    )
    notice = (
        '<p class="notice"><strong>For research only.</strong> This is not a medical device; '
        "nothing here may be used for diagnosis or treatment.</p>"
    )
    return page.facts(facts) + notice


def _together(*words: str) -> str:
    """Words that stay on one line."""
    return " ".join(words).replace(" ", "\N{NO-BREAK SPACE}")


def _called(protocol: Protocol) -> str:
    """A protocol's name, with its modality where the name does not say it."""
    said = protocol.modality.replace("-", " ").casefold() in protocol.name.casefold()
    return protocol.name if said else f"{protocol.name} ({protocol.modality.upper()})"


def _duration(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 60 else f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _table(rows: Sequence[Row], compared: bool) -> str:
    head = ["Structure", "Volume", "Mean similarity inside"] + (["Dice"] if compared else []) + ["Code"]
    numbers = {"Volume", "Mean similarity inside", "Dice"}
    cells = "".join(f'<th scope="col"{_number_class(h in numbers)}>{h}</th>' for h in head)
    body = "".join(_table_row(row, compared) for row in rows)
    notes = []
    if any(row.cut_off for row in rows):
        notes.append("† reaches the edge of the image, so the volume may be of a part only.")
    if compared:
        notes.append("Dice: overlap with the reference segmentation, 0 to 1.")
    note = f'<p class="note">{" ".join(notes)}</p>' if notes else ""
    return page.section(
        "Structures",
        f'<div class="scroll"><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>{note}',
    )


def _table_row(row: Row, compared: bool) -> str:
    found = row.voxels > 0
    volume = f"{_milliliters(row.volume_ml)} ml{'†' if row.cut_off else ''}" if found else "not found"
    similarity = "–" if row.similarity is None else f"{row.similarity:.2f}"
    codes = "<br>".join(f"<code>{escape(c.scheme)} {escape(c.value)}</code> {escape(c.meaning)}" for c in row.codes)
    cells = [
        f'<th scope="row">{page.swatch(row.color)}{escape(row.name)}</th>',
        f'<td class="number">{volume}</td>',
        f'<td class="number">{similarity}</td>',
    ]
    if compared:
        cells.append(f'<td class="number">{"–" if row.dice is None else f"{row.dice:.3f}"}</td>')
    cells.append(f'<td class="codes">{codes or "–"}</td>')
    start = "<tr>" if found else '<tr class="absent">'
    return f"{start}{''.join(cells)}</tr>"


def _milliliters(volume: float) -> str:
    """Three figures, as far as a decimal of a milliliter says something."""
    return f"{volume:.0f}" if volume >= 100 else f"{volume:.1f}" if volume >= 1 else f"{volume:.2f}"


def _slices(report: _Report, plane: Plane) -> str:
    figures = []
    kind = "third" if len(report.slices[plane]) > 2 else ""
    for index in report.slices[plane]:
        png = draw_slice(report.viewer, plane, index, report.outlines(plane, index))
        names = report.visible(plane, index)
        position = f"slice {index + 1} of {report.viewer.count(plane)}"
        caption = f"{position}{': ' if names else ''}{_legend(report, names)}"
        shown = ", ".join(names) or "no structure"
        figures.append(page.figure(png, f"{plane.name} {position} with the outlines of {shown}", caption, kind))
    said = ["Dashed: the reference."] if report.truth else []
    if not report.viewer.shows_all:
        said.append("The pictures show the part of the image around the structures.")
    note = " ".join(said) if plane is next(iter(SLICES)) else ""
    return page.section(plane.name.capitalize(), page.row(figures), note)


def _maps(report: _Report, cuts: Mapping[str, tuple[int, np.ndarray]]) -> str:
    figures = []
    for name, (index, values) in cuts.items():
        outlines = report.outlines(AXIAL, index, only=name)
        png = draw_similarity(report.viewer, AXIAL, index, values, name, outlines)
        figures.append(page.figure(png, f"similarity of an axial slice with {name}", _legend(report, [name]), "half"))
    said = (
        "The cosine between each voxel's feature and the structure's prototype: red resembles it, white has nothing "
        "to do with it, blue is its opposite. The line is the structure's outline."
    )
    return page.section("Similarity maps", page.row(figures), said)


def _margins(report: _Report, margin: np.ndarray) -> str:
    figures = []
    for plane in (AXIAL, CORONAL):
        index = report.overview_slice(plane)
        values = report.viewer.cut(margin, plane, index)
        png = draw_margin(report.viewer, plane, index, values, report.outlines(plane, index))
        figures.append(page.figure(png, f"{plane.name} margin map", "", "half"))
    said = "How far the best structure leads over the second: where it is bright the model is unsure; look there first."
    return page.section("Margin", page.row(figures), said)


def _about_model(encoding: Encoding) -> str:
    manifest = encoding.model.manifest
    from_text = sum(entry["source"] == "text" for entry in manifest.prototypes)
    facts = [
        ("Name", f"{manifest.name}, version {manifest.version}"),
        ("Made on", manifest.created),
        ("Licence of the weights", manifest.licence),
        ("Reads", "; ".join(map(_called, manifest.protocols))),
        ("Knows", f"{len(manifest.structures)} structures"),
        ("Prototypes", f"{from_text} from text, {len(manifest.prototypes) - from_text} code directions"),
        ("Weights (SHA-256)", manifest.weights_sha256[:16] or "not stated"),
        ("Made with", f"CFSegmenter {__version__}"),
    ]
    if manifest.parent:
        facts.insert(1, ("Updated from", f"version {manifest.parent}"))
    sources = "".join(
        f"<li>{escape(s.name)}: {s.training_cases} training cases, {escape(s.modality.upper())}, "
        f"{escape(s.licence)}</li>"
        for s in manifest.sources
    )
    learned = f"<h3>Learned from</h3><ul>{sources}</ul>" if sources else ""
    return page.section("The model", page.facts(facts, "small") + learned)


def _legend(report: _Report, names: Sequence[str]) -> str:
    """The names with their colors; the two sides of a structure share an entry, as they share a color."""
    entries = {name: name for name in names}
    for name in names:
        other = f"right {name.removeprefix('left ')}"
        if name.startswith("left ") and other in names and report.colors.get(name) == report.colors.get(other):
            entries[name] = f"left and {entries.pop(other)}"
    return " ".join(
        f'<span class="entry">{page.swatch(report.colors[n]) if n in report.colors else ""}{escape(called)}</span>'
        for n, called in entries.items()
    )


def _number_class(is_number: bool) -> str:
    return ' class="number"' if is_number else ""
