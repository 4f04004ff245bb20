"""Frames: what is sent arrives, in whatever portions, and what is no frame is refused."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from CFSegmenterLib.worker.framing import LINE_LIMIT, FrameDecoder, FramingError, encode_frame


def sent(message, arrays=None) -> bytes:
    return b"".join(encode_frame(message, arrays))


@given(st.lists(st.integers(1, 40), max_size=20))
def test_frames_arrive_whole_in_whatever_portions_they_come(portions):
    arrays = {"image": np.arange(24, dtype=np.int16).reshape(2, 3, 4), "mask": np.eye(3, dtype=bool)}
    stream = sent({"id": 1}, arrays) + sent({"id": 2}) + sent({"id": 3}, {"map": np.float32([[1.5]])})
    decoder, got, start = FrameDecoder(), [], 0
    for portion in [*portions, len(stream)]:
        got += decoder.feed(stream[start : start + portion])
        start += portion
    assert [frame.message["id"] for frame in got] == [1, 2, 3]
    np.testing.assert_array_equal(got[0].arrays["image"], arrays["image"])
    np.testing.assert_array_equal(got[0].arrays["mask"], arrays["mask"])
    assert got[2].arrays["map"].dtype == np.float32


def test_an_array_of_any_order_arrives_in_its_own_shape():
    array = np.asfortranarray(np.arange(60, dtype=">f4").reshape(3, 4, 5))[::-1, :, ::2]
    (frame,) = FrameDecoder().feed(sent({}, {"map": array}))
    np.testing.assert_array_equal(frame.arrays["map"], array)


def test_an_array_as_slicer_holds_it_is_sent_as_it_lies():
    array = np.arange(60, dtype=np.int16).reshape(5, 4, 3).T
    line, body = encode_frame({}, {"image": array})
    assert np.shares_memory(np.frombuffer(body, np.int16), array)
    (frame,) = FrameDecoder().feed(line + body)
    np.testing.assert_array_equal(frame.arrays["image"], array)
    assert frame.arrays["image"].flags.f_contiguous


def test_each_portion_of_a_large_array_costs_the_same():
    decoder = FrameDecoder()
    assert list(decoder.feed(b'{"arrays": [{"name": "x", "dtype": "|u1", "shape": [1073741824]}]}\n')) == []
    started = time.process_time()
    for _ in range(10_000):  # 10 MB of a gigabyte; were they joined at each, this would copy 50 GB
        assert list(decoder.feed(bytes(1000))) == []
    assert time.process_time() - started < 2


def test_an_array_that_arrived_belongs_to_whoever_got_it():
    (frame,) = FrameDecoder().feed(sent({}, {"map": np.zeros((2, 2), np.float32)}))
    frame.arrays["map"][0, 0] = 1


def test_an_empty_array_arrives():
    (frame,) = FrameDecoder().feed(sent({}, {"none": np.zeros((0, 4), np.uint8)}))
    assert frame.arrays["none"].shape == (0, 4)


@pytest.mark.parametrize(
    "stream",
    [
        b"hello\n",
        b"[1, 2]\n",
        b'{"arrays": [{"name": "x", "dtype": "O", "shape": [1]}]}\n',
        b'{"arrays": [{"name": "x", "dtype": "<f4", "shape": [-1]}]}\n',
        b'{"arrays": [{"name": "x", "dtype": "<f4", "shape": [9999999, 9999999]}]}\n',
        b'{"arrays": [{"shape": [1]}]}\n',
        b'{"arrays": [{"name": "x", "dtype": "<f4", "shape": [2], "order": "K"}]}\n',
        b'{"arrays": 1}\n',
        b"x" * (LINE_LIMIT + 1),
    ],
)
def test_what_is_no_frame_is_refused(stream):
    with pytest.raises(FramingError):
        list(FrameDecoder().feed(stream))
