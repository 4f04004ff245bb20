"""Two versions side by side: what each knows, how good each is, and how the one came from the other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import UserError
from .stored_version import StoredVersion

Scores = dict[tuple[str, str], dict[str, Any]]
"""(structure, source) -> modality, cases, dice, distance."""


def compare_versions(first: StoredVersion, second: StoredVersion, parents: Mapping[str, str | None]) -> dict[str, Any]:
    """What differs between two versions, as plain JSON.

    Args:
        parents: version -> its parent, of the whole store.

    Returns:
        `a` and `b`; `lineage`, the versions from the one to the other, the older first, or None where neither
        was made from the other; `structures` that `both`, `only_a` or `only_b` know; `scores`, a row for each
        structure and source with `dice_a`, `dice_b`, `distance_a`, `distance_b` (None where it was not
        measured) and `cases_a`, `cases_b`; `same_cases`, whether both were measured on the same cases, so that
        the difference means something; and `about_a`, `about_b`: date, name and what the update recorded.

    Raises:
        UserError: a manifest is damaged.
    """
    same = _measured_together(first, second)
    found = same or (_scores(first), _scores(second))
    return {
        "a": first.name,
        "b": second.name,
        "lineage": _lineage(first.name, second.name, parents),
        "structures": _structures(first, second),
        "scores": _side_by_side(*found),
        "same_cases": same is not None,
        "about_a": _about(first),
        "about_b": _about(second),
    }


def _lineage(first: str, second: str, parents: Mapping[str, str | None]) -> list[str] | None:
    for old, new in ((first, second), (second, first)):
        chain = _ancestors(new, parents)
        if old in chain:
            return chain[: chain.index(old) + 1][::-1]
    return None


def _ancestors(name: str, parents: Mapping[str, str | None]) -> list[str]:
    """A version, its parent, and so on."""
    chain = [name]
    while (parent := parents.get(chain[-1])) is not None and parent not in chain:
        chain.append(parent)
    return chain


def _structures(first: StoredVersion, second: StoredVersion) -> dict[str, list[str]]:
    a, b = first.manifest.structures, second.manifest.structures
    return {
        "both": [name for name in a if name in b],
        "only_a": [name for name in a if name not in b],
        "only_b": [name for name in b if name not in a],
    }


def _measured_together(first: StoredVersion, second: StoredVersion) -> tuple[Scores, Scores] | None:
    """Both versions' scores on the same cases, from the report of the one that was made from the other."""
    if second.manifest.parent == first.name:
        report = _report(second)
        return None if report is None else (_of_report(report, "before"), _of_report(report, "after"))
    if first.manifest.parent == second.name:
        report = _report(first)
        return None if report is None else (_of_report(report, "after"), _of_report(report, "before"))
    return None


def _scores(version: StoredVersion) -> Scores:
    """What is known of a version by itself: its report's scores, else those that its manifest records."""
    report = _report(version)
    if report is not None:
        return _of_report(report, "after")
    return {
        (row["structure"], row["source"]): {
            "modality": row.get("modality"),
            "cases": row.get("cases"),
            "dice": row.get("dice"),
            "distance": row.get("distance_mm"),
        }
        for row in version.manifest.scores.get("structures", [])
    }


def _of_report(report: dict[str, Any], when: str) -> Scores:
    return {
        (row["structure"], row["source"]): {
            "modality": row.get("modality"),
            "cases": row.get("cases"),
            "dice": row.get(f"dice_{when}"),
            "distance": row.get(f"distance_{when}"),
        }
        for row in report["scores"]
    }


def _report(version: StoredVersion) -> dict[str, Any] | None:
    """The report, where there is a sound one with scores."""
    try:
        report = version.report()
    except UserError:
        return None
    rows = report.get("scores")
    sound = isinstance(rows, list) and all(isinstance(r, dict) and {"structure", "source"} <= r.keys() for r in rows)
    return report if sound and rows else None


def _side_by_side(first: Scores, second: Scores) -> list[dict[str, Any]]:
    rows = []
    for key in dict.fromkeys((*first, *second)):
        a, b = first.get(key, {}), second.get(key, {})
        rows.append(
            {
                "structure": key[0],
                "source": key[1],
                "modality": a.get("modality") or b.get("modality"),
                **{
                    f"{what}_{which}": found.get(what)
                    for what in ("dice", "distance", "cases")
                    for which, found in (("a", a), ("b", b))
                },
            }
        )
    return rows


def _about(version: StoredVersion) -> dict[str, Any]:
    manifest = version.manifest
    return {
        "name": manifest.name,
        "created": manifest.created,
        "status": version.status,
        "active": version.active,
        "update": dict(getattr(manifest, "update", None) or {}),
    }
