"""The worker's memory: encodings under names, bounded by bytes; the one least recently asked for goes first."""

from __future__ import annotations

from collections import OrderedDict

from ..encoding import Encoding
from ..errors import UserError


class EncodingGone(UserError):  # noqa: N818 - named after what the user is told
    """The encoding was dropped, or never was; encode the volume again."""


class EncodingCache:
    """An EncodingCache keeps encodings as long as they fit."""

    def __init__(self, limit_bytes: int):
        self.limit = limit_bytes
        self._kept: OrderedDict[str, Encoding] = OrderedDict()

    def put(self, key: str, encoding: Encoding) -> None:
        """Keep an encoding; it stays even if it is larger than the limit, being the one at work."""
        self._kept.pop(key, None)
        self._kept[key] = encoding
        self._make_room()

    def get(self, key: str) -> Encoding:
        """The encoding under `key`.

        Raises:
            EncodingGone: it is not here any more.
        """
        if key not in self._kept:
            raise EncodingGone("The encoding of this volume is no longer in memory; encode the volume again.")
        self._kept.move_to_end(key)
        self._make_room()  # answers to earlier questions are kept, too
        return self._kept[key]

    def __contains__(self, key: str) -> bool:
        return key in self._kept

    def clear(self) -> None:
        """Forget all, as when another model is loaded."""
        self._kept.clear()

    @property
    def bytes(self) -> int:
        """Memory that the encodings take."""
        return sum(encoding.nbytes for encoding in self._kept.values())

    def _make_room(self) -> None:
        while len(self._kept) > 1 and self.bytes > self.limit:
            self._kept.popitem(last=False)
