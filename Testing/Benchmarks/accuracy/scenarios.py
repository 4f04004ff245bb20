"""Scenarios: what is taught in which order, on which cases, and what is asked in the end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from CFSegmenterLib.cases import CaseList

from .sources import half_annotated, merged, of_subjects, read_source, restricted, split_subjects

PAIRED = ("liver", "right kidney", "left kidney", "spleen")
"""What both abdominal sources annotate."""

Task = tuple[str, str]
"""A structure in scans of a source."""


@dataclass(frozen=True)
class Step:
    """What is taught at once.

    Attributes:
        name: as a table says it.
        lists: training cases, annotating only what this step teaches, and validation cases that ask for the same.
    """

    name: str
    lists: tuple[CaseList, ...]

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What is asked of a network that has learned this step."""
        return tuple((name, each.source) for each in self.lists for name in each.structures)


@dataclass(frozen=True)
class Scenario:
    """A Scenario holds one step, or several that are taught one after another."""

    name: str
    steps: tuple[Step, ...]

    @property
    def lists(self) -> tuple[CaseList, ...]:
        """All that is ever taught, as if at once."""
        return merged([each for step in self.steps for each in step.lists])


def class_hippocampus(data: Path, seed: int) -> Scenario:
    """The anterior part, then the posterior one, drawn in other subjects."""
    source = read_source(data, "msd_hippocampus")
    groups = split_subjects(source, seed)
    steps = (
        Step(name, (restricted(of_subjects(source, group), [name]),))
        for name, group in zip(("anterior hippocampus", "posterior hippocampus"), groups, strict=True)
    )
    return Scenario("class-hippocampus", tuple(steps))


def class_long(data: Path, seed: int) -> Scenario:
    """Abdominal organs of two modalities, other abdominal organs, head and neck, heart, brain."""
    ct = read_source(data, "btcv_ct")
    first, second = split_subjects(ct, seed)
    others = [name for name in ct.structures if name not in PAIRED]
    paired = (
        restricted(read_source(data, "chaos_mr_t2"), PAIRED),
        restricted(of_subjects(ct, first), PAIRED),
    )
    return Scenario(
        "class-long",
        (
            Step("liver, kidneys, spleen", paired),
            Step("other abdominal organs", (restricted(of_subjects(ct, second), others),)),
            Step("head and neck", (read_source(data, "openkbp_hn_ct"),)),
            Step("heart", (read_source(data, "acdc_cine_mr"),)),
            Step("brain", (read_source(data, "oasis_brain_t1"), read_source(data, "msd_hippocampus"))),
        ),
    )


def _domains(name: str, structures: tuple[str, ...], first: str, second: str) -> Callable[[Path, int], Scenario]:
    """The same structures in scans of one source, then of another."""

    def build(data: Path, seed: int) -> Scenario:
        steps = (Step(source, (restricted(read_source(data, source), structures),)) for source in (first, second))
        return Scenario(name, tuple(steps))

    build.__doc__ = f"{', '.join(structures)}: in {first}, then in {second}."
    return build


def hippocampus_half(data: Path, seed: int) -> Scenario:
    """Half of the subjects have the anterior part drawn, the others the posterior one."""
    source = read_source(data, "msd_hippocampus")
    return Scenario("hippocampus-half", (Step("both parts", (half_annotated(source, seed),)),))


def hippocampus_half_long(data: Path, seed: int) -> Scenario:
    """The same, trained longer: a method that only learns more slowly has the time to catch up."""
    return replace(hippocampus_half(data, seed), name="hippocampus-half-long")


def hippocampus_complete(data: Path, seed: int) -> Scenario:
    """Both parts are drawn in every case of the one source."""
    return Scenario("hippocampus-complete", (Step("both parts", (read_source(data, "msd_hippocampus"),)),))


def abdomen_complete(data: Path, seed: int) -> Scenario:
    """Thirteen abdominal organs are drawn in every case of the one source."""
    return Scenario("abdomen-complete", (Step("abdomen", (read_source(data, "btcv_ct"),)),))


def all_sources(data: Path, seed: int) -> Scenario:
    """The sources of the shipped model, each annotating its own structures."""
    names = ("msd_hippocampus", "oasis_brain_t1", "chaos_mr_t2", "acdc_cine_mr", "openkbp_hn_ct")
    return Scenario("all-sources", (Step("all sources", tuple(read_source(data, name) for name in names)),))


INCREMENTAL: dict[str, Callable[[Path, int], Scenario]] = {
    "class-hippocampus": class_hippocampus,
    "domain-abdomen-ct-mr": _domains("domain-abdomen-ct-mr", PAIRED, "btcv_ct", "chaos_mr_t2"),
    "domain-abdomen-mr-ct": _domains("domain-abdomen-mr-ct", PAIRED, "chaos_mr_t2", "btcv_ct"),
    "domain-brainstem": _domains("domain-brainstem", ("brainstem",), "openkbp_hn_ct", "oasis_brain_t1"),
    "domain-esophagus": _domains("domain-esophagus", ("esophagus",), "btcv_ct", "openkbp_hn_ct"),
    "class-long": class_long,
}

AT_ONCE: dict[str, Callable[[Path, int], Scenario]] = {
    "hippocampus-half": hippocampus_half,
    "hippocampus-half-long": hippocampus_half_long,
    "hippocampus-complete": hippocampus_complete,
    "all-sources": all_sources,
    "abdomen-complete": abdomen_complete,
}
