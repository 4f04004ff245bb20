"""What a model can be asked for, by any of its names, before any image is read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property

from .errors import UserError
from .hierarchy import complete_divisions
from .structures import Vocabulary


class Repertoire:
    """A Repertoire knows what was taught, and which wholes are the union of taught parts."""

    def __init__(self, taught: Sequence[str], vocabulary: Vocabulary, model: str = "model"):
        """Args: names of the taught structures, in the bank's order; `model` is what it is called in a sentence."""
        self.taught = tuple(taught)
        self.vocabulary = vocabulary
        self.model = model

    @cached_property
    def structures(self) -> tuple[str, ...]:
        """What can be asked for by name: the taught structures, and wholes of which all the parts were taught."""
        parents = (self.vocabulary.get(name) for name in self.taught)
        wholes = dict.fromkeys(s.part_of for s in parents if s is not None and s.part_of)
        return (*self.taught, *(w for w in wholes if w not in self.taught and self._parts(w)))

    def resolve(self, name: str) -> str:
        """The name under which the model answers for `name`.

        Raises:
            UserError: it was not taught that structure; the nearest ones are named.
        """
        found = self.vocabulary.get(name)
        for candidate in (found.name if found else None, " ".join(str(name).lower().split())):
            if candidate and (candidate in self.taught or self._parts(candidate)):
                return candidate
        near = [n for n in self.vocabulary.nearest(name, 5) if n in self.structures] if found is None else []
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UserError(
            f"The model '{self.model}' was not taught '{name}'; {hint}it knows {', '.join(self.structures)}."
        )

    def resolve_all(self, names: Iterable[str] | None) -> tuple[str, ...]:
        """`resolve` each, once; None asks for all that was taught, and a single text for one structure.

        Raises:
            UserError: as `resolve`.
        """
        names = [names] if isinstance(names, str) else names
        return tuple(dict.fromkeys(self.resolve(name) for name in (self.taught if names is None else names)))

    def members(self, name: str) -> tuple[str, ...]:
        """The taught structures whose union is `name`, a resolved one."""
        own = (name,) if name in self.taught else ()
        return (*own, *self._parts(name))

    def _parts(self, whole: str) -> tuple[str, ...]:
        """The taught parts of a structure; empty where no division of it was taught completely.

        The structure itself being taught, any taught part counts: what is in a part is in the whole.
        """
        if whole in self.taught:
            return tuple(n for n in self.taught if n != whole and self.vocabulary.contains(whole, n))
        complete = [parts for parts in complete_divisions(whole, self.vocabulary) if set(parts) <= set(self.taught)]
        return tuple(name for parts in complete for name in parts)
