"""Which patch comes next: structure, then modality, then source, then case, then a voxel of that structure.

Every draw is a function of the seed and the patch's number alone, so a training that was killed goes on with exactly
the patches that it would have seen, and any number of processes share one sequence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .cases import Case
from .errors import UserError


@dataclass(frozen=True)
class Draw:
    """What a patch is to show: a structure, in the case at this index; None where nothing is annotated there."""

    structure: str | None
    case: int


class HierarchicalSampler:
    """A HierarchicalSampler draws rare structures as often as common ones, and small sources as often as large ones.

    A case counts for the structures that it declares as annotated, whether or not its image holds them.
    """

    def __init__(self, cases: Sequence[Case], shares: Mapping[str, float] | None = None):
        """
        Args:
            cases: of the training split.
            shares: source -> weight of its structures, 1 where it is not listed.

        Raises:
            UserError: no case annotates anything.
        """
        shares = shares or {}
        self._tree: dict[str, dict[str, dict[str, list[int]]]] = {}
        for index, case in enumerate(cases):
            for structure in case.annotated:
                by_source = self._tree.setdefault(structure, {}).setdefault(case.modality, {})
                by_source.setdefault(case.source, []).append(index)
        if not self._tree:
            raise UserError("No training case annotates a structure; there is nothing to learn from.")
        self._structures = sorted(self._tree)
        weights = np.array([self._weight(name, shares) for name in self._structures])
        self._probabilities = weights / weights.sum()
        self._shares = shares
        self._unannotated = [index for index, case in enumerate(cases) if not case.annotated]

    @property
    def has_unannotated(self) -> bool:
        """Whether there are cases without any annotation."""
        return bool(self._unannotated)

    def draw_unannotated(self, random: np.random.Generator) -> Draw:
        """Draw a case without any annotation."""
        return Draw(None, self._unannotated[int(random.integers(len(self._unannotated)))])

    def draw(self, random: np.random.Generator) -> Draw:
        """Draw a structure and a case that annotates it."""
        structure = self._structures[random.choice(len(self._structures), p=self._probabilities)]
        modalities = self._tree[structure]
        sources = modalities[_pick(sorted(modalities), random)]
        names = sorted(sources)
        weights = np.array([self._shares.get(name, 1.0) for name in names])
        cases = sources[names[random.choice(len(names), p=weights / weights.sum())]]
        return Draw(structure, int(cases[random.integers(len(cases))]))

    def _weight(self, structure: str, shares: Mapping[str, float]) -> float:
        sources = {source for by_source in self._tree[structure].values() for source in by_source}
        return float(np.mean([shares.get(source, 1.0) for source in sources]))


def _pick(options: Sequence[str], random: np.random.Generator) -> str:
    return options[int(random.integers(len(options)))]
