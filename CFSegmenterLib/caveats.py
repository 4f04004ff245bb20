"""Caveats: what a person should know before trusting what a model answers for a scan."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .grid import ModelGrid
from .model import Manifest
from .protocols import Protocol
from .repertoire import Repertoire

UNLIKE = 2.0
"""Factor of size along an axis from which a scan is unlike those that its protocol was learned from."""

MOST_NAMED = 6
"""Structures that a sentence names one by one."""


def caveats(
    manifest: Manifest, protocol: Protocol, grid: ModelGrid, repertoire: Repertoire, names: Sequence[str]
) -> tuple[str, ...]:
    """Sentences on an answer; none where scan and structures are of the kind that was taught.

    Args:
        protocol: that the scan was read with.
        grid: between the scan and the model.
        names: of what is asked, resolved.
    """
    return (*_of_guests(manifest, protocol, repertoire, names), *_of_size(protocol, grid))


def _of_guests(manifest: Manifest, protocol: Protocol, repertoire: Repertoire, names: Sequence[str]) -> tuple[str, ...]:
    guests = set(manifest.guests(protocol.modality))
    strange = [name for name in names if guests.issuperset(repertoire.members(name))]
    if not strange:
        return ()
    taught = {member for name in strange for member in repertoire.members(name)}
    homes = dict.fromkeys(each.modality for each in manifest.sources if taught.intersection(each.structures))
    *others, last = (home.replace("-", " ").upper() for home in homes)
    kinds = f"{', '.join(others)} and {last}" if others else last
    listed = ", ".join(strange) if len(strange) <= MOST_NAMED else f"{len(strange)} of the {len(names)} structures"
    return (
        f"{listed[0].upper()}{listed[1:]}: learned in {kinds} scans only, while this scan is read as "
        f"'{protocol.name}'; what is found may be wrong, and what is not found may be there.",
    )


def _of_size(protocol: Protocol, grid: ModelGrid) -> tuple[str, ...]:
    extent = np.linalg.norm(grid.affine[:3, :3], axis=0) * grid.shape
    factor = extent / protocol.typical_extent
    if np.all((factor > 1 / UNLIKE) & (factor < UNLIKE)):
        return ()
    here, usual = (" x ".join(f"{length:.0f}" for length in size) for size in (extent, protocol.typical_extent))
    return (
        f"The scan measures {here} mm, and those that '{protocol.name}' was learned from about {usual} mm; see whether "
        "it shows the same part of the body.",
    )
