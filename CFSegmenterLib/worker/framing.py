"""Frames: one line of JSON, then the raw bytes of the arrays that it announces. Needs nothing but numpy.

    {"id": 3, "verb": "encode", "arrays": [{"name": "image", "dtype": "<i2", "shape": [512, 512, 90]}]}
    <512 * 512 * 90 * 2 bytes, C order, little endian>

Both directions use the same frames, over pipes, a QProcess or ssh alike.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LINE_LIMIT = 1 << 20
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


def encode_frame(message: Mapping[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> list[bytes]:
    """The bytes of a frame, in pieces that are to be written one after another."""
    pieces: list[bytes] = []
    announced = []
    for name, array in (arrays or {}).items():
        array = np.asarray(array)
        # The array of a mask or a map may lie in any order; on the wire it is C order, little endian.
        plain = np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))
        announced.append({"name": name, "dtype": plain.dtype.str, "shape": list(array.shape)})
        pieces.append(plain.tobytes())
    line = json.dumps({**message, "arrays": announced} if announced else dict(message), allow_nan=False)
    return [line.encode() + b"\n", *pieces]


class FrameDecoder:
    """A FrameDecoder takes bytes as they come, in any portions, and gives back whole frames."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self._message: dict[str, Any] | None = None
        self._awaited = 0

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take `data` and yield the frames that it completes.

        Raises:
            FramingError: the bytes are not frames.
        """
        if data:
            self._pieces.append(data)
            self._size += len(data)
        while (frame := self._next()) is not None:
            yield frame

    def _next(self) -> Frame | None:
        if self._message is None and not self._take_line():
            return None
        if self._size < self._awaited:
            return None  # large arrays come in many portions: join them once, when all are here
        message, self._message = self._message, None
        body = self._take(self._awaited)
        arrays, start = {}, 0
        for announced in message.pop("arrays", []):
            dtype, shape = np.dtype(announced["dtype"]), tuple(announced["shape"])
            length = math.prod(shape) * dtype.itemsize
            arrays[announced["name"]] = np.frombuffer(body, dtype, math.prod(shape), start).reshape(shape)
            start += length
        return Frame(message, arrays)

    def _take_line(self) -> bool:
        joined = b"".join(self._pieces)
        end = joined.find(b"\n")
        self._pieces = [joined]
        if end < 0:
            if len(joined) > LINE_LIMIT:
                raise FramingError("A message of over a megabyte came without an end.")
            return False
        line = self._take(end + 1)
        try:
            message = json.loads(line)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise FramingError(f"A line came that is not JSON: {error}.") from error
        if not isinstance(message, dict):
            raise FramingError("A line came that is not a JSON object.")
        self._awaited = sum(_length(announced) for announced in message.get("arrays", []))
        self._message = message
        return True

    def _take(self, count: int) -> bytes:
        joined = b"".join(self._pieces)
        rest = joined[count:]
        self._pieces, self._size = ([rest] if rest else []), len(rest)
        return joined[:count]


def _length(announced: Any) -> int:
    """Bytes of an announced array."""
    try:
        name, dtype, shape = announced["name"], announced["dtype"], announced["shape"]
    except (TypeError, KeyError) as error:
        raise FramingError("An array was announced without name, dtype or shape.") from error
    sound = isinstance(name, str) and dtype in DTYPES and isinstance(shape, list)
    if not sound or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise FramingError(f"An array was announced that cannot be: {announced!r}.")
    length = math.prod(shape) * np.dtype(dtype).itemsize
    if length > ARRAY_LIMIT:
        raise FramingError(f"An array of {length} bytes was announced.")
    return length
