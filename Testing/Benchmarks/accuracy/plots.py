"""Plots of the two reports, as SVG files that are the same bytes for the same numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt

STYLE = {"svg.hashsalt": "accuracy", "font.size": 8, "axes.spines.top": False, "axes.spines.right": False}

TICK_WIDTH = 14
"""Letters of a step's name in a line."""


def lines(path: Path, values: Mapping[str, Sequence[float]], ticks: Sequence[str], label: str) -> None:
    """A line a method, over steps."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(6, 3))
        for name, along in values.items():
            axes.plot(range(len(along)), along, marker="o", markersize=3, linewidth=1, label=name)
        axes.set_xticks(range(len(ticks)), [fill(f"after {tick}", TICK_WIDTH) for tick in ticks])
        axes.set_ylim(0, 1)
        axes.set_ylabel(label)
        axes.legend(frameon=False)
        _save(figure, path)


def bars(path: Path, groups: Sequence[str], values: Mapping[str, Sequence[float | None]], label: str) -> None:
    """A group of bars a scenario, a bar a method; what is not known has no bar."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(max(4.0, 1.4 * len(groups) + 2), 3))
        width = 0.8 / max(1, len(values))
        for number, (name, heights) in enumerate(values.items()):
            at = np.arange(len(groups)) - 0.4 + width * (number + 0.5)
            axes.bar(at, [np.nan if h is None else h for h in heights], width, label=name)
        axes.set_xticks(range(len(groups)), [group.replace("-", "-\n", 1) for group in groups])
        axes.axhline(0, color="black", linewidth=0.5)
        axes.set_ylabel(label)
        axes.legend(frameon=False)
        _save(figure, path)


def matrices(path: Path, values: Mapping[str, tuple[Sequence[str], Sequence[str], np.ndarray]]) -> None:
    """Similarity matrices side by side: mean features in rows, prototypes in columns."""
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(
            1, len(values), figsize=(3.2 * len(values) + 1.5, 4), squeeze=False, layout="constrained"
        )
        before = None
        for place, (name, (rows, columns, matrix)) in zip(axes[0], values.items(), strict=True):
            shown = place.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
            place.set_xticks(range(len(columns)), columns, rotation=90, fontsize=6)
            place.set_yticks(range(len(rows)), rows if rows != before else [""] * len(rows), fontsize=6)
            place.set_title(name)
            before = rows
        if values:
            figure.colorbar(shown, ax=axes, shrink=0.6, label="similarity")
        _save(figure, path)


def maps(
    path: Path,
    image: np.ndarray,
    outlines: Mapping[str, np.ndarray],
    found: Mapping[str, Mapping[str, np.ndarray]],
    title: str,
) -> None:
    """Slices as a radiologist sees them: a row a structure, first the scan, then a similarity map of each method.

    Args:
        image: (Y, X) of the scan.
        outlines: structure -> (Y, X) bool, what is drawn around it in its whole row.
        found: method -> structure -> (Y, X) similarities.
        title: of the scan.
    """
    with plt.rc_context(STYLE):
        size = (1.7 * (len(found) + 1) + 0.8, 1.85 * len(outlines) + 0.3)
        figure, axes = plt.subplots(len(outlines), len(found) + 1, figsize=size, squeeze=False, layout="constrained")
        for place, name in zip(axes[0], (title, *found), strict=True):
            place.set_title(name)
        for row, (structure, mask) in zip(axes, outlines.items(), strict=True):
            for place, values in zip(row, (image, *(each[structure] for each in found.values())), strict=True):
                is_scan = values is image
                looks = {"cmap": "gray"} if is_scan else {"vmin": -1, "vmax": 1, "cmap": "RdBu_r"}
                drawn = place.imshow(values[::-1, ::-1], **looks)
                place.contour(mask[::-1, ::-1], [0.5], colors="yellow" if is_scan else "black", linewidths=0.6)
                place.set_xticks([])
                place.set_yticks([])
                place.spines[:].set_visible(False)
            row[0].set_ylabel(structure)
        figure.colorbar(drawn, ax=axes, shrink=0.7, label="similarity")
        _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {"Date": None} if path.suffix == ".svg" else {"Software": None}
    figure.savefig(path, bbox_inches="tight", metadata=plain, dpi=80)
    plt.close(figure)
