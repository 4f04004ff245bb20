"""The worker's memory of encodings: bounded by bytes, and the one least recently asked for goes first."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from CFSegmenterLib.worker.encodings import EncodingCache, EncodingGone


def an_encoding(size: int) -> SimpleNamespace:
    """All that the cache looks at."""
    return SimpleNamespace(nbytes=size)


def test_the_one_least_recently_asked_for_goes_first():
    cache = EncodingCache(30)
    for key in ("first", "second", "third"):
        cache.put(key, an_encoding(10))
    cache.get("first")
    cache.put("fourth", an_encoding(10))
    assert [key for key in ("first", "second", "third", "fourth") if key in cache] == ["first", "third", "fourth"]
    with pytest.raises(EncodingGone, match="encode the volume again"):
        cache.get("second")


def test_it_is_bytes_that_count():
    cache = EncodingCache(30)
    for key in ("first", "second", "third"):
        cache.put(key, an_encoding(10))
    cache.put("large", an_encoding(20))
    assert cache.bytes == 30
    assert "third" in cache and "second" not in cache


def test_one_that_is_larger_than_the_limit_stays_while_it_is_the_one_at_work():
    cache = EncodingCache(30)
    cache.put("first", an_encoding(10))
    cache.put("huge", an_encoding(100))
    assert "huge" in cache and "first" not in cache


def test_an_encoding_put_again_under_its_key_counts_once():
    cache = EncodingCache(30)
    cache.put("first", an_encoding(10))
    cache.put("first", an_encoding(20))
    assert cache.bytes == 20


def test_what_was_decided_from_an_encoding_counts_from_the_next_question_on():
    cache, first = EncodingCache(30), an_encoding(10)
    cache.put("first", first)
    cache.put("second", an_encoding(10))
    first.nbytes = 25
    assert cache.get("first") is first
    assert "second" not in cache
