"""What the panels say of a run: while it goes on, and when it is over."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from slicer.i18n import tr as _

LISTED = 6
"""Structures with their volumes in the result line; its tool tip has all."""


def progressText(what: str, secondsLeft: float | None) -> str:
    """`what` the worker is doing, in the user's language, and how long it will go on doing it."""
    window = re.fullmatch(r"window (\d+) of (\d+)", what)
    sending = re.fullmatch(r"(still )?sending (\d+) of (\d+) MB", what)
    if sending:
        text = (
            _("Still sending what was cancelled: {done} of {total} MB")
            if sending[1]
            else _("Sending {done} of {total} MB")
        )
        said = text.format(done=sending[2], total=sending[3])
    elif window:
        said = _("Encoding window {number} of {total}").format(number=window[1], total=window[2])
    else:
        said = {"deciding": _("Deciding"), "all windows done": _("Encoded")}.get(what, what[:1].upper() + what[1:])
    if secondsLeft is None:
        return said
    return _("{what}, {time} left").format(what=said, time=durationText(secondsLeft))


def resultText(results: Sequence[Any]) -> str:
    """What the SegmentResults of a volume, or of the frames of a sequence, say together.

    Number of structures and time, what the scan was read as, whether the network was passed, volumes, what was found
    in no frame, what was kept because the user had changed it, and why the answer may not be trusted.
    """
    found, kept = millilitersOf(results), dict.fromkeys(name for each in results for name in each.kept)
    missing = [name for name in dict.fromkeys(n for each in results for n in each.missing) if name not in found]
    said = _("{count} of {asked} structures found in {time}.").format(
        count=len(found), asked=len(found) + len(missing), time=durationText(sum(each.seconds for each in results))
    )
    if len(results) > 1:
        said = _("{count} frames: {result}").format(count=len(results), result=said)
    protocols = dict.fromkeys(each.protocol for each in results if each.protocol)
    if protocols:
        said += " " + _("Read as {protocol}.").format(protocol=", ".join(protocols))
    if not any(each.encoded for each in results):
        said += " " + _("The volume was encoded already.")
    lines = [said, volumesText(found, LISTED)]
    if missing:
        lines.append(_("Nothing found for: {names}.").format(names=", ".join(missing)))
    if kept:
        said = _("Kept as changed by hand: {names}; delete such a segment to have it found anew.")
        lines.append(said.format(names=", ".join(kept)))
    lines += dict.fromkeys(caveat for each in results for caveat in each.caveats)
    return "\n".join(line for line in lines if line)


def millilitersOf(results: Sequence[Any]) -> dict[str, list[float]]:
    """Structure -> its volume in ml in each result that has it."""
    names = dict.fromkeys(name for each in results for name in each.milliliters)
    return {name: [each.milliliters[name] for each in results if name in each.milliliters] for name in names}


def volumesText(milliliters: Mapping[str, Sequence[float]], count: int | None = None) -> str:
    """Volumes of the first `count` structures, and how many more there are; all without `count`."""
    listed = [f"{name} {_range(volumes)}" for name, volumes in list(milliliters.items())[:count]]
    more = len(milliliters) - len(listed)
    text = ", ".join(listed)
    return _("{volumes} and {more} more").format(volumes=text, more=more) if more else text


def durationText(seconds: float) -> str:
    """A duration as it is said: tenths below ten seconds, minutes above a minute and a half."""
    if seconds < 0.1:
        return _("less than 0.1 s")
    if seconds < 9.95:
        return _("{seconds:.1f} s").format(seconds=seconds)
    if seconds < 90:
        return _("{seconds:.0f} s").format(seconds=seconds)
    return _("{minutes:.0f} min").format(minutes=seconds / 60)


def _range(volumes: Sequence[float]) -> str:
    """One volume, or the smallest and the largest: of a heart's chamber over a beat, that is what one wants to know."""
    least, most = _number(min(volumes)), _number(max(volumes))
    if least == most:
        return _("{volume} ml").format(volume=least)
    return _("{least} to {most} ml").format(least=least, most=most)


def _number(volume: float) -> str:
    return f"{volume:.1f}" if volume < 9.95 else f"{volume:.0f}"
