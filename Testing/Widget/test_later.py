"""Calls from the event loop: in their order, each in a turn of its own, and forgotten once made."""

from __future__ import annotations

import gc
import weakref

import qt
from CFSegmenterUI.later import later, soon

from Testing.Host import slotErrors


class Thing:
    """Something that a call holds."""


def turn() -> None:
    """Let everything be called that was asked for until now."""
    loop = qt.QEventLoop()
    soon(loop.quit)
    loop.exec_()


def wait(milliseconds: int) -> None:
    """Let everything be called that is due by then."""
    loop = qt.QEventLoop()
    later(milliseconds, loop.quit)
    loop.exec_()


def test_calls_come_from_the_event_loop_in_the_order_in_which_they_were_asked_for(application):
    called = []
    for number in range(5):
        soon(lambda number=number: called.append(number))
    assert called == []
    turn()
    assert called == [0, 1, 2, 3, 4]


def test_a_call_may_ask_for_further_ones_and_wait_for_them(application):
    called = []

    def first() -> None:
        called.append("first")
        soon(lambda: called.append("asked for by the first"))
        turn()
        called.append("end of the first")

    soon(first)
    soon(lambda: called.append("second"))
    turn()
    assert called == ["first", "second", "asked for by the first", "end of the first"]


def test_a_call_that_fails_does_not_take_those_behind_it_with_it(application):
    called = []
    soon(lambda: 1 / 0)
    soon(lambda: called.append("behind"))
    turn()
    assert called == ["behind"]
    ((_, error),) = slotErrors
    assert isinstance(error, ZeroDivisionError)
    slotErrors.clear()


def test_calls_that_are_to_wait_come_in_the_order_in_which_they_are_due(application):
    called = []
    later(60, lambda: called.append("late"))
    later(0, lambda: called.append("early"))
    wait(120)
    assert called == ["early", "late"]


def test_what_was_called_is_not_held_on_to(application):
    thing = Thing()
    alive = weakref.ref(thing)
    soon(lambda thing=thing: None)
    later(1, lambda thing=thing: None)
    wait(20)
    del thing
    gc.collect()
    assert alive() is None
