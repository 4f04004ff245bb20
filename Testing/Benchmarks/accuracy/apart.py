"""What stands in RESULTS.md beside the tables of accuracy: what a class costs, and a picture of twins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from Testing.Benchmarks.measure import markdown_table

from .methods import ALL

TIME_LIMIT, MEMORY_LIMIT = 1 / 20, 1 / 50
"""What our head may cost of CLIP-Driven's at 104 structures."""

ABOUT_TWINS = """\
Similarity maps of the two kidneys in a drawn abdomen that no training saw, after the same training on drawn abdomens:
mean similarity of a kidney's voxels with its own prototype and with its twin's, and Dice over the four organs."""


@dataclass(frozen=True)
class Apart:
    """Results that are no cell of a table.

    Attributes:
        costs: of the heads; None where they have not been measured.
        twins: similarities of the kidneys; None where they have not been measured.
        picture: of their similarity maps.
    """

    costs: Mapping[str, Any] | None
    twins: Mapping[str, Any] | None
    picture: Path


def sentence_on_cost(costs: Mapping[str, Any] | None) -> str:
    """Whether our head is as cheap as it should be, with numbers."""
    if costs is None:
        return "Cost of a class: not measured yet."
    most = max(row["structures"] for row in costs["rows"])
    at = {row["head"]: row for row in costs["rows"] if row["structures"] == most}
    time, memory = (at["ours"][key] / at["clip-driven"][key] for key in ("cpu_seconds", "bytes"))
    kept = "within" if time <= TIME_LIMIT and memory <= MEMORY_LIMIT else "**above**"
    return (
        f"Head at {most} structures: 1/{1 / time:.0f} of the time and 1/{1 / memory:.0f} of the memory of "
        f"CLIP-Driven's, {kept} the targets that were set before (1/20 and 1/50)."
    )


def cost_table(costs: Mapping[str, Any]) -> str:
    """A row a head and number of structures."""
    most = {row["structures"]: row for row in costs["rows"] if row["head"] == "ours"}
    rows = []
    for row in costs["rows"]:
        ours = most[row["structures"]]
        rows.append(
            [
                ALL.get(row["head"], ALL["ours"]).title,
                str(row["structures"]),
                f"{row['parameters']:,}",
                f"{row['cpu_seconds'] / ours['cpu_seconds']:.2f}",
                f"{row['bytes'] / ours['bytes']:.1f}",
                f"{row['bytes'] / 1e6:,.0f}",
            ]
        )
    shape = " x ".join(map(str, costs["shape"]))
    table = markdown_table(["head", "structures", "parameters", "time / ours", "memory / ours", "MB"], rows)
    return (
        f"From the backbone's features of {shape} voxels to a label for each, one thread, every head in a process of "
        f"its own, all in one run. Our {most[max(most)]['parameters']:,} parameters are the projection; a structure "
        f"adds a prototype, which is not trained.\n\n{table}"
    )


def twins_table(said: Mapping[str, Any]) -> str:
    """A row a kind of prototype."""
    rows = [
        [
            "random code" if name == "ours" else ALL[name].title,
            f"{row['own']:.3f}",
            f"{row['twin']:.3f}",
            "" if row["dice"] is None else f"{row['dice']:.3f}",
        ]
        for name, row in said["rows"].items()
    ]
    return markdown_table(["prototypes", "own", "twin's", "Dice"], rows)
