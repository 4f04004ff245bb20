"""What was raised where nobody can catch it: in slots and in virtual methods called by Qt."""

from __future__ import annotations

import traceback

slotErrors: list[tuple[str, Exception]] = []
"""(signal or method, exception) of everything raised so far. PythonQt prints such an exception and goes on; a test
asserts that this list is empty."""


def recorded(function, where: str):
    """`function`, with an exception printed and added to `slotErrors` instead of raised."""

    def call(*arguments):
        try:
            return function(*arguments)
        except Exception as error:
            slotErrors.append((where, error))
            traceback.print_exc()
            return None

    return call
