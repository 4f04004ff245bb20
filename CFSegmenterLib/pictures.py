"""Pictures: slices as a radiologist looks at them, outlines of structures, similarity and margin maps.

Every picture is drawn on a figure of its own and comes back as the bytes of a PNG file; nothing in it is global.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass

import numpy as np

from .grid import ModelGrid
from .volume import Volume

CT_SOFT_TISSUE = (-160.0, 240.0)
SLICE_SIDE, MAP_SIDE = 620, 420
"""Pixels of the longer side of a slice that stands alone, and of one beside others."""
SURROUNDINGS_MM, LEAST_MM = 30.0, 120.0
"""What is shown around the structures, and the smallest part of an image that is shown alone."""
MOST = 2 / 3
"""Of an image's width, height or depth that is shown alone; where it would be more, all of it is shown."""
BACKGROUND = "#101214"
FOREGROUND = "#e8eaed"
DPI = 100
BAR_PIXELS = 108
TITLE_PIXELS = 34
GAP_PIXELS = 10
HEADROOM = 0.1
"""How far the window of MR goes beyond its brightest tissue, so that outlines show on it."""
TINT = 0.2
"""How opaque a structure is filled within its outline."""


@dataclass(frozen=True)
class Plane:
    """A Plane is a way to cut a body.

    Attributes:
        name: "axial", "coronal" or "sagittal".
        normal: the axis that is cut across, 0, 1 or 2 for R, A and S.
        marks: what lies at the left, right, upper and lower edge of the picture: the patient's left is on the
            viewer's right, and the patient of a sagittal picture looks to the left.
    """

    name: str
    normal: int
    marks: tuple[str, str, str, str]


AXIAL = Plane("axial", 2, ("R", "L", "A", "P"))
CORONAL = Plane("coronal", 1, ("R", "L", "S", "I"))
SAGITTAL = Plane("sagittal", 0, ("A", "P", "S", "I"))


@dataclass(frozen=True, eq=False)
class Outline:
    """A structure's border on one slice.

    Attributes:
        mask: (rows, columns) bool, as `Viewer.cut` gives it.
        color: red, green, blue of 0 to 255.
        dashed: how the truth is drawn over an answer.
    """

    mask: np.ndarray
    color: tuple[int, int, int]
    dashed: bool = False


class Viewer:
    """A Viewer cuts arrays on one volume's grid into slices, the right way round and with their size in mm.

    The cuts run along the volume's own axes; an oblique volume is not rotated, so nothing is interpolated.
    """

    def __init__(self, volume: Volume, modality: str | None = None):
        """`modality`: decides the window where the volume does not say what it is."""
        # A grid of the volume's own spacing says in which order and direction its axes run, and where they lie.
        spacing = volume.spacing[list(ModelGrid.fit(volume.shape, volume.affine, (1.0, 1.0, 1.0)).order)]
        self._grid = ModelGrid.fit(volume.shape, volume.affine, tuple(spacing))
        self.spacing = spacing
        self.array = volume.array
        self.window = gray_window(volume.array, volume.modality or modality)
        self._shown = (slice(None), slice(None), slice(None))

    @property
    def shows_all(self) -> bool:
        """Whether the slices show the whole width and height of the image."""
        return all(shown == slice(None) for shown in self._shown)

    def closer(self, occupied: Sequence[np.ndarray]) -> Viewer:
        """A viewer of the same slices, with the same numbers, that shows their part around what is looked at.

        Args:
            occupied: for R, A and S, which slices across that axis hold some of it; nowhere any shows all.
        """
        viewer = copy(self)
        viewer._shown = tuple(_around(o, s) for o, s in zip(occupied, self.spacing, strict=True))
        return viewer

    def count(self, plane: Plane) -> int:
        """Number of slices."""
        return self._grid.ordered_shape[plane.normal]

    def size(self, plane: Plane) -> tuple[float, float]:
        """Width and height of a slice in mm."""
        across, up = (a for a in range(3) if a != plane.normal)
        return self._length(across), self._length(up)

    def cut(self, array: np.ndarray, plane: Plane, index: int) -> np.ndarray:
        """Slice `index` of an (I, J, K) array on the volume's grid: (rows, columns) from the top left; a view."""
        chosen = tuple(index if a == plane.normal else shown for a, shown in enumerate(self._shown))
        # All that is left runs towards R, A or S, which are at the left, at the left or top, and at the top.
        return self._grid.reorder(array)[chosen].T[::-1, ::-1]

    def areas(self, layer: np.ndarray, plane: Plane, values: Sequence[int]) -> np.ndarray:
        """(slices, values) int64: voxels of each label value in each slice of a label map."""
        turned = np.moveaxis(self._grid.reorder(layer), plane.normal, 0)
        most = max(values) + 1
        counted = [np.bincount(each.ravel(), minlength=most)[list(values)] for each in turned]
        return np.array(counted).reshape(len(turned), len(values))

    def _length(self, axis: int) -> float:
        """What is shown along R, A or S, in mm."""
        return float(len(range(self._grid.ordered_shape[axis])[self._shown[axis]]) * self.spacing[axis])


def _around(occupied: np.ndarray, spacing: float) -> slice:
    """The slices that are occupied, with their surroundings."""
    places = np.flatnonzero(occupied)
    if not len(places):
        return slice(None)
    margin = max(SURROUNDINGS_MM, (LEAST_MM - len(places) * spacing) / 2) / spacing
    first, last = max(0, int(places[0] - margin)), min(len(occupied), int(np.ceil(places[-1] + 1 + margin)))
    return slice(first, last) if last - first <= MOST * len(occupied) else slice(None)


def gray_window(array: np.ndarray, modality: str | None) -> tuple[float, float]:
    """The values shown as black and white: the soft-tissue window for CT, else what spares noise and bright spots."""
    if (modality or "").startswith("ct"):
        return CT_SOFT_TISSUE
    step = max(1, round((array.size / 2_000_000) ** (1 / 3)))
    seen = array[::step, ::step, ::step].astype(np.float32)
    low, high = (float(v) for v in np.percentile(seen, (1, 99.5)))
    bright = seen[seen > low + 0.1 * (high - low)]
    high = float(np.percentile(bright, 99.7)) if bright.size else high
    high += HEADROOM * (high - low)
    return (low, high) if high > low else (float(seen.min()), float(seen.min()) + 1.0)


def choose_slices(areas: np.ndarray, count: int) -> list[int]:
    """Choose up to `count` slices that together show every structure as large as possible, in ascending order.

    Args:
        areas: (slices, structures) voxels of each structure in each slice.

    Each further slice is the one that adds most; one that adds less than a third of a structure is not taken. Where
    there is no structure at all the middle slice is taken.
    """
    largest = areas.max(axis=0, initial=0)
    if not largest.any():
        return [len(areas) // 2]
    shown = areas[:, largest > 0] / largest[largest > 0]
    chosen: list[int] = []
    best = np.zeros(shown.shape[1])
    while len(chosen) < count:
        gains = np.maximum(shown - best, 0).sum(axis=1)
        # Among equals the middle one: its structures are seldom cut at their ends.
        equals = np.flatnonzero(gains >= gains.max() - 1e-9)
        index = int(equals[len(equals) // 2])
        if chosen and gains[index] < 1 / 3:
            break
        chosen.append(index)
        best = np.maximum(best, shown[index])
    return sorted(chosen)


def spread_slices(areas: np.ndarray, chosen: Sequence[int], count: int) -> list[int]:
    """Add to chosen slices until there are `count`, each time the one farthest from all others, in ascending order.

    Args:
        areas: as in `choose_slices`; a slice that shows less than a tenth of every structure is not added.
    """
    shown = areas / np.maximum(areas.max(axis=0, initial=0), 1)
    spread = set(chosen)
    left = set(np.flatnonzero(shown.max(axis=1, initial=0) >= 0.1).tolist()) - spread
    while left and len(spread) < count:
        farthest = max(sorted(left), key=lambda index: min(abs(index - each) for each in spread))
        left.remove(farthest)
        spread.add(farthest)
    return sorted(spread)


def draw_slice(viewer: Viewer, plane: Plane, index: int, outlines: Sequence[Outline] = ()) -> bytes:
    """A slice in gray with outlines: PNG."""
    canvas = _Canvas([viewer.size(plane)], side=SLICE_SIDE)
    axes = canvas.panel()
    _show_gray(axes, viewer, plane, index)
    _show_outlines(axes, viewer, plane, outlines)
    _show_marks(axes, plane)
    return canvas.png()


def draw_similarity(
    viewer: Viewer, plane: Plane, index: int, similarity: np.ndarray, name: str, outlines: Sequence[Outline] = ()
) -> bytes:
    """A slice, and beside it the similarity of each of its voxels with a structure, on a scale of -1 to 1: PNG.

    Args:
        similarity: (rows, columns) of the same slice.
        name: the structure's, for the title.
    """
    canvas = _Canvas([viewer.size(plane)] * 2, bar=True, titled=True)
    axes = canvas.panel(f"{name}: outline")
    _show_gray(axes, viewer, plane, index)
    _show_outlines(axes, viewer, plane, outlines)
    _show_marks(axes, plane)
    axes = canvas.panel("similarity")
    shown = _show_map(axes, viewer, plane, similarity, "RdBu_r", (-1, 1))
    _show_black_outlines(axes, viewer, plane, outlines)
    canvas.color_bar(shown, [-1, -0.5, 0, 0.5, 1], "cosine with the prototype")
    return canvas.png()


def draw_margin(
    viewer: Viewer, plane: Plane, index: int, margin: np.ndarray, outlines: Sequence[Outline] = ()
) -> bytes:
    """A slice, and beside it the lead of each voxel's best structure over its second, on a scale of 0 to 1: PNG."""
    canvas = _Canvas([viewer.size(plane)] * 2, bar=True, titled=True)
    axes = canvas.panel(f"{plane.name}: outlines")
    _show_gray(axes, viewer, plane, index)
    _show_outlines(axes, viewer, plane, outlines)
    _show_marks(axes, plane)
    shown = _show_map(canvas.panel("margin"), viewer, plane, margin, "inferno_r", (0, 1))
    canvas.color_bar(shown, [0, 0.5, 1], "best minus second cosine")
    return canvas.png()


def draw_overview(
    viewer: Viewer,
    slices: Sequence[tuple[Plane, int, Sequence[Outline]]],
    similarity: tuple[Plane, str, np.ndarray, Sequence[Outline]] | None = None,
) -> bytes:
    """Slices with outlines in one row, and at its end one similarity map: PNG."""
    shown = [plane for plane, _, _ in slices] + ([similarity[0]] if similarity else [])
    canvas = _Canvas([viewer.size(plane) for plane in shown], bar=similarity is not None, titled=True)
    for plane, index, outlines in slices:
        axes = canvas.panel(plane.name)
        _show_gray(axes, viewer, plane, index)
        _show_outlines(axes, viewer, plane, outlines)
        _show_marks(axes, plane)
    if similarity:
        plane, name, values, outlines = similarity
        axes = canvas.panel(name)
        drawn = _show_map(axes, viewer, plane, values, "RdBu_r", (-1, 1))
        _show_black_outlines(axes, viewer, plane, outlines)
        canvas.color_bar(drawn, [-1, -0.5, 0, 0.5, 1], "similarity")
    return canvas.png()


class _Canvas:
    """A row of panels of one scale, with room for titles above and a color bar at the end."""

    def __init__(
        self, sizes: Sequence[tuple[float, float]], bar: bool = False, titled: bool = False, side: int = MAP_SIDE
    ):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        scale = side / max(max(size) for size in sizes)
        self._sizes = [(w * scale, h * scale) for w, h in sizes]
        self._above = TITLE_PIXELS if titled else 0
        self._width = sum(w for w, _ in self._sizes) + GAP_PIXELS * (len(sizes) - 1) + (BAR_PIXELS if bar else 0)
        self._height = max(h for _, h in self._sizes)
        self._left = 0.0
        inches = (self._width / DPI, (self._height + self._above) / DPI)
        self._figure = Figure(figsize=inches, dpi=DPI, facecolor=BACKGROUND)
        self._agg = FigureCanvasAgg(self._figure)

    def panel(self, title: str = ""):
        """The next axes of the row, in mm, the origin in the upper left corner."""
        width, height = self._sizes.pop(0)
        axes = self._axes(self._left, (self._height - height) / 2, width, height)
        axes.set_axis_off()
        if title:
            self._write_title(title, self._left, width)
        self._left += width + GAP_PIXELS
        return axes

    def color_bar(self, shown, ticks: Sequence[float], label: str) -> None:
        """The scale of a map, right of the last panel."""
        length = self._height * 0.9
        axes = self._axes(self._left + 4, (self._height - length) / 2, 16, length)
        bar = self._figure.colorbar(shown, cax=axes, ticks=list(ticks))
        bar.outline.set_visible(False)
        bar.ax.tick_params(colors=FOREGROUND, labelsize=12, length=3)
        bar.set_label(label, color=FOREGROUND, size=12)

    def png(self) -> bytes:
        out = io.BytesIO()
        # Without the software's name and the date the same picture is the same bytes.
        self._figure.savefig(out, format="png", facecolor=BACKGROUND, metadata={"Software": None})
        return out.getvalue()

    def _axes(self, left: float, bottom: float, width: float, height: float):
        whole = self._height + self._above
        return self._figure.add_axes((left / self._width, bottom / whole, width / self._width, height / whole))

    def _write_title(self, title: str, left: float, width: float) -> None:
        whole = self._height + self._above
        self._figure.text(
            (left + width / 2) / self._width,
            1 - self._above / 2 / whole,
            _fitted(title, width),
            color=FOREGROUND,
            size=13,
            ha="center",
            va="center",
        )


def _fitted(title: str, width: float) -> str:
    """A title shortened to what fits above a panel of `width` pixels."""
    most = max(4, int(width / 10))
    return title if len(title) <= most else title[: most - 1] + "…"


def _extent(viewer: Viewer, plane: Plane) -> tuple[float, float, float, float]:
    width, height = viewer.size(plane)
    return 0.0, width, height, 0.0


def _show_gray(axes, viewer: Viewer, plane: Plane, index: int) -> None:
    low, high = viewer.window
    image = viewer.cut(viewer.array, plane, index).astype(np.float32)
    axes.imshow(image, cmap="gray", vmin=low, vmax=high, extent=_extent(viewer, plane), interpolation="bilinear")


def _show_map(axes, viewer: Viewer, plane: Plane, values: np.ndarray, colors: str, limits: tuple[float, float]):
    low, high = limits
    # No smoothing: the map's own voxels are what a threshold would cut.
    return axes.imshow(values, cmap=colors, vmin=low, vmax=high, extent=_extent(viewer, plane), interpolation="nearest")


def _show_outlines(axes, viewer: Viewer, plane: Plane, outlines: Sequence[Outline], *, thin: bool = False) -> None:
    from matplotlib.patheffects import Normal, Stroke

    width, height = viewer.size(plane)
    for outline in outlines:
        if not outline.mask.any():
            continue
        rows, columns = outline.mask.shape
        # A frame of empty voxels closes the outline where the structure reaches the edge of the image.
        padded = np.pad(outline.mask.astype(np.float32), 1)
        x = np.clip((np.arange(-1, columns + 1) + 0.5) * width / columns, 0.3, width - 0.3)
        y = np.clip((np.arange(-1, rows + 1) + 0.5) * height / rows, 0.3, height - 0.3)
        color = tuple(c / 255 for c in outline.color)
        if not outline.dashed and not thin:
            tint = np.zeros((rows, columns, 4), dtype=np.float32)
            tint[outline.mask] = (*color, TINT)
            axes.imshow(tint, extent=_extent(viewer, plane), interpolation="nearest")
        if outline.dashed:
            # Black between the white dashes: visible on bright and on dark tissue, and unlike any structure's color.
            axes.contour(x, y, padded, levels=[0.5], colors=["black"], linewidths=1.0)
            axes.contour(x, y, padded, levels=[0.5], colors=["white"], linewidths=1.0, linestyles=[(0, (4, 3))])
            continue
        lines = axes.contour(x, y, padded, levels=[0.5], colors=[color], linewidths=1.0 if thin else 1.7)
        if not thin:
            lines.set_path_effects([Stroke(linewidth=3.2, foreground=(0, 0, 0, 0.55)), Normal()])
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)


def _show_black_outlines(axes, viewer: Viewer, plane: Plane, outlines: Sequence[Outline]) -> None:
    """Thin outlines without the truth's, for a map whose colors mean something themselves."""
    _show_outlines(axes, viewer, plane, [Outline(o.mask, (0, 0, 0)) for o in outlines if not o.dashed], thin=True)


def _show_marks(axes, plane: Plane) -> None:
    from matplotlib.patheffects import Normal, Stroke

    left, right, top, bottom = plane.marks
    placed = (
        (0.015, 0.5, left, "left", "center"),
        (0.985, 0.5, right, "right", "center"),
        (0.5, 0.985, top, "center", "top"),
        (0.5, 0.015, bottom, "center", "bottom"),
    )
    for x, y, text, across, up in placed:
        written = axes.text(
            x, y, text, transform=axes.transAxes, color=FOREGROUND, size=14, ha=across, va=up, clip_on=True
        )
        written.set_path_effects([Stroke(linewidth=2.5, foreground=(0, 0, 0, 0.7)), Normal()])
