"""Frames: one line of JSON, then the raw bytes of the arrays that it announces. Needs nothing but numpy.

    {"id": 3, "verb": "encode", "arrays": [{"name": "image", "dtype": "<i2", "shape": [512, 512, 90], "order": "F"}]}
    <512 * 512 * 90 * 2 bytes, little endian, the first axis running fastest ("F") or the last ("C")>

Both directions use the same frames, over pipes, a QProcess or ssh alike.
"""

from __future__ import annotations

import json
import math
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

PROTOCOL = 1
"""Of frames and requests together; both sides must have the same."""
LINE_LIMIT = 1 << 24
"""Bytes of a line; whoever sends more does not speak this protocol."""
ARRAY_LIMIT = 1 << 36
DTYPES = frozenset({"|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8"})


class FramingError(ValueError):
    """What came over the stream is not a frame; nothing after it can be trusted."""


@dataclass(frozen=True)
class Frame:
    """A Frame is a message and its arrays."""

    message: dict[str, Any]
    arrays: dict[str, np.ndarray] = field(default_factory=dict)


def encode_frame(
    message: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None
) -> list[bytes | memoryview]:
    """The bytes of a frame, in pieces that are to be written one after another.

    The pieces of arrays are views where they can be: an array must not change before it is written.
    """
    pieces: list[bytes | memoryview] = []
    announced = []
    for name, array in (arrays or {}).items():
        array = np.asarray(array)
        # Slicer's volumes have their first axis running fastest; turning a large one around would halt the screen.
        order = "F" if array.flags.f_contiguous and not array.flags.c_contiguous else "C"
        straight = array.T if order == "F" else array
        plain = np.ascontiguousarray(straight, dtype=array.dtype.newbyteorder("<"))
        announced.append({"name": name, "dtype": plain.dtype.str, "shape": list(array.shape), "order": order})
        pieces.append(memoryview(plain.reshape(-1).view(np.uint8)))
    line = json.dumps({**message, "arrays": announced} if announced else dict(message), allow_nan=False)
    return [line.encode() + b"\n", *pieces]


class FrameDecoder:
    """A FrameDecoder takes bytes as they come, in any portions, and gives back whole frames.

    Each byte is copied once, to where it stays: portions of a large array cost the same however small they are.
    """

    def __init__(self) -> None:
        self._line = bytearray()
        self._message: dict[str, Any] | None = None
        self._arrays: dict[str, np.ndarray] = {}
        self._unfilled: deque[memoryview] = deque()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take `data` and yield the frames that it completes.

        Raises:
            FramingError: the bytes are not frames.
        """
        start = 0
        while start < len(data):
            take = self._read_line if self._message is None else self._fill
            start = take(data, start)
            if self._message is not None and not self._unfilled:
                frame = Frame(self._message, self._arrays)
                self._message, self._arrays = None, {}
                yield frame

    def _read_line(self, data: bytes, start: int) -> int:
        """Take the rest of a line, or what there is of it; returns where what follows begins."""
        end = data.find(b"\n", start)
        stop = len(data) if end < 0 else end
        if len(self._line) + stop - start > LINE_LIMIT:
            raise FramingError(f"A message of over {LINE_LIMIT >> 20} megabytes came.")
        self._line += memoryview(data)[start:stop]
        if end < 0:
            return stop
        line, self._line = bytes(self._line), bytearray()
        try:
            message = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise FramingError(f"A line came that is not JSON: {line[:200]!r}.") from error
        if not isinstance(message, dict):
            raise FramingError(f"A line came that is not a JSON object: {line[:200]!r}.")
        announced = message.pop("arrays", [])
        if not isinstance(announced, list):
            raise FramingError("Arrays were announced that are no list.")
        for each in announced:
            self._expect(each)
        self._message = message
        return end + 1

    def _expect(self, announced: Any) -> None:
        """Make room for an announced array."""
        try:
            name, dtype, shape = announced["name"], announced["dtype"], announced["shape"]
        except (TypeError, KeyError) as error:
            raise FramingError("An array was announced without name, dtype or shape.") from error
        order = announced.get("order", "C")
        sound = isinstance(name, str) and dtype in DTYPES and isinstance(shape, list) and order in ("C", "F")
        if not sound or not all(isinstance(n, int) and n >= 0 for n in shape):
            raise FramingError(f"An array was announced that cannot be: {announced!r}.")
        length = math.prod(shape) * np.dtype(dtype).itemsize
        if length > ARRAY_LIMIT:
            raise FramingError(f"An array of {length} bytes was announced.")
        try:
            flat = np.empty(math.prod(shape), dtype=dtype)
        except MemoryError as error:
            raise FramingError(f"An array of {length} bytes was announced, for which there is no memory.") from error
        if length:
            self._unfilled.append(memoryview(flat.view(np.uint8)))
        self._arrays[name] = flat.reshape(shape, order=order)

    def _fill(self, data: bytes, start: int) -> int:
        """Put bytes where they belong in the first array that waits for some; returns where what follows begins."""
        room = self._unfilled.popleft()
        stop = min(len(data), start + len(room))
        room[: stop - start] = memoryview(data)[start:stop]
        if stop - start < len(room):
            self._unfilled.appendleft(room[stop - start :])
        return stop
