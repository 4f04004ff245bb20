"""Sources of labelled scans, and the ways in which a scenario cuts them: by structure and by subject."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from CFSegmenterLib.cases import Case, CaseList, read_case_lists
from CFSegmenterLib.update_planning import UNANNOTATED


def read_source(data: Path, name: str) -> CaseList:
    """The cases of one source, all that they annotate."""
    (cases,) = read_case_lists([data / name / "dataset.json"])
    return cases


def restricted(cases: CaseList, structures: Sequence[str]) -> CaseList:
    """The same cases annotating `structures` only; cases that annotate none of them are left out."""
    kept = (replace(c, annotated=tuple(s for s in structures if s in c.annotated)) for c in cases.cases)
    return replace(cases, structures=tuple(structures), cases=tuple(c for c in kept if c.annotated))


def of_subjects(cases: CaseList, subjects: Collection[str]) -> CaseList:
    """The training cases of some subjects, and all validation cases."""
    return replace(cases, cases=tuple(c for c in cases.cases if c.split != "training" or c.subject in subjects))


def split_subjects(cases: CaseList, seed: int, parts: int = 2) -> tuple[frozenset[str], ...]:
    """Share the training subjects out at random, as many to each part as there can be."""
    subjects = sorted({case.subject for case in cases.of("training")})
    drawn = np.random.default_rng(seed).permutation(len(subjects))
    return tuple(frozenset(subjects[i] for i in drawn[part::parts]) for part in range(parts))


def half_annotated(cases: CaseList, seed: int) -> CaseList:
    """The same cases, where each training subject has only one of the structures annotated, as many for each."""
    groups = split_subjects(cases, seed, len(cases.structures))
    only = {subject: cases.structures[part] for part, group in enumerate(groups) for subject in group}
    return replace(
        cases,
        cases=tuple(replace(c, annotated=(only[c.subject],)) if c.split == "training" else c for c in cases.cases),
    )


def merged(lists: Sequence[CaseList]) -> tuple[CaseList, ...]:
    """One list a source; what several lists annotate in one image is annotated together."""
    by_source: dict[str, list[CaseList]] = {}
    for each in lists:
        by_source.setdefault(each.source, []).append(each)
    return tuple(_together(group) for group in by_source.values())


def without_annotation(lists: Sequence[CaseList]) -> tuple[Case, ...]:
    """The training images of some lists, as a user has them who no longer has their annotations."""
    images = {case.image: case for each in lists for case in each.of("training")}
    return tuple(replace(c, labels=None, source=UNANNOTATED, values={}, annotated=()) for c in images.values())


def _together(group: Sequence[CaseList]) -> CaseList:
    structures = tuple(dict.fromkeys(name for each in group for name in each.structures))
    cases: dict[Path, Case] = {}
    for case in (case for each in group for case in each.cases):
        had = cases.get(case.image)
        annotated = case.annotated if had is None else (*had.annotated, *case.annotated)
        cases[case.image] = replace(case, annotated=tuple(dict.fromkeys(annotated)))
    return replace(group[0], structures=structures, cases=tuple(cases.values()))
