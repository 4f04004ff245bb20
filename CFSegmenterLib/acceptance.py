"""What must be confirmed before a version is accepted: the second question, and when to ask it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .errors import UserError
from .stored_version import StoredVersion

WARNINGS_SAID = 3
"""In the question; the report has them all."""


class NeedsConfirmation(UserError):  # noqa: N818 - named after what it asks for
    """The version may be accepted, but only by somebody who was told why that may be a mistake.

    Attributes:
        reason: why, without the advice what to do.
    """

    def __init__(self, reason: str):
        super().__init__(f"{reason} Confirm to accept it all the same.")
        self.reason = reason

    def __reduce__(self) -> tuple[type, tuple[str]]:
        """Let the error travel between processes, which call the class with what it was made of."""
        return type(self), (self.reason,)


def reason_to_ask(version: StoredVersion, active: StoredVersion | None) -> str | None:
    """Why accepting `version` in the place of `active` should be confirmed, in sentences; None where nothing is wrong.

    `active` is None where the active version's folder is gone.

    Raises:
        UserError: the manifest of one of them is damaged.
    """
    reasons = [_about_report(version), _about_structures(version, active) if active else None]
    return " ".join(each for each in reasons if each) or None


def _about_report(version: StoredVersion) -> str | None:
    if version.imported:
        return None
    if not version.has_report:
        return f"Version {version.name} has no report, so nobody knows whether old structures fell."
    try:
        report = version.report()
    except UserError as error:
        return f"{error} So nobody knows whether old structures fell."
    return _about_fall(version.name, report) if report["fell"] else None


def _about_fall(name: str, report: dict[str, Any]) -> str:
    margin, warnings = report.get("margin"), report.get("warnings")
    by = f"by more than {margin:g} points" if isinstance(margin, int | float) else "by more than the margin"
    said = [str(each) for each in warnings] if isinstance(warnings, list) else []
    return f"Old structures fell {by} in version {name}{_listed(said)}."


def _about_structures(version: StoredVersion, active: StoredVersion) -> str | None:
    known = version.manifest.structures
    lost = [each for each in active.manifest.structures if each not in known]
    if not lost:
        return None
    return f"Version {version.name} does not know {', '.join(lost)}, which the active version {active.name} knows."


def _listed(warnings: Sequence[str]) -> str:
    if not warnings:
        return ""
    more = f"; and {len(warnings) - WARNINGS_SAID} more warnings" if len(warnings) > WARNINGS_SAID else ""
    return f" ({'; '.join(each.rstrip('.') for each in warnings[:WARNINGS_SAID])}{more})"
