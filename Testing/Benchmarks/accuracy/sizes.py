"""Sizes: how much of everything a table costs; all methods of a scenario get the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from CFSegmenterLib.cases import Case, CaseList
from CFSegmenterLib.settings import BackboneSettings, SourceSettings, TrainingSettings, UpdateSettings

from .scenarios import Scenario


@dataclass(frozen=True)
class Size:
    """A Size says how long and with which network every cell is trained.

    Attributes:
        backbone: of every method.
        sources: how each source is read.
        first: optimizer steps of a training from nothing, by scenario.
        update: the same of a later step.
        learning_rate, update_learning_rate: of the two; None takes the library's own.
        asked_of_each: validation cases of each source that a scenario asks, where not all.
    """

    name: str
    backbone: BackboneSettings
    sources: Mapping[str, SourceSettings]
    first: Mapping[str, int]
    update: Mapping[str, int]
    patches_per_step: int = 2
    learning_rate: float = 3e-3
    update_learning_rate: float | None = None
    dimension: int = 512
    asked_of_each: Mapping[str, int] = field(default_factory=dict)
    checkpoint_minutes: float = 1.0
    compile: bool = False

    def asked(self, scenario: Scenario) -> tuple[Case, ...]:
        """The validation cases that every method is scored on."""
        most = self.asked_of_each.get(scenario.name)
        return tuple(case for each in scenario.lists for case in some_of(each.of("validation"), most))

    def training(self, scenario: str, lists: Sequence[CaseList], seed: int, steps: int = 1) -> TrainingSettings:
        """Settings of a training from nothing; one of `steps` steps at once has the iterations of all of them."""
        updates = self.update.get(scenario, 0) * (steps - 1)
        return TrainingSettings(
            sources=self._sources(lists, FIELDS_OF_VIEW if scenario == "all-sources" else {}),
            backbone=self.backbone,
            iterations=self.first[scenario] + updates,
            patches_per_step=self.patches_per_step,
            learning_rate=self.learning_rate,
            warmup=20,
            average=0.99,
            dimension=self.dimension,
            seed=seed,
            validation_cases=0,
            checkpoint_minutes=self.checkpoint_minutes,
            compile=self.compile,
        )

    def updating(self, scenario: str, lists: Sequence[CaseList], seed: int) -> UpdateSettings:
        """Settings of an update: the library's own, but for what every method shares."""
        own = {} if self.update_learning_rate is None else {"learning_rate": self.update_learning_rate}
        return UpdateSettings(
            **own,
            sources=self._sources(lists),
            budget_seconds=None,
            iterations=self.update[scenario],
            patches_per_step=self.patches_per_step,
            seed=seed,
            checkpoint_minutes=self.checkpoint_minutes,
            compile=self.compile,
        )

    def _sources(
        self, lists: Sequence[CaseList], fields_of_view: Mapping[str, tuple[str, ...]] | None = None
    ) -> dict[str, SourceSettings]:
        listed = {each.source: self.sources[each.source] for each in lists if each.source in self.sources}
        regions = fields_of_view or {}
        return {name: own.model_copy(update={"field_of_view": regions.get(name)}) for name, own in listed.items()}


def some_of(cases: Sequence[Case], most: int | None) -> list[Case]:
    """At most `most` cases in their order, chosen so that what few of them annotate is not left out."""
    if most is None or len(cases) <= most:
        return list(cases)
    names = dict.fromkeys(name for case in cases for name in case.annotated)
    rare = sorted(names, key=lambda name: sum(name in case.annotated for case in cases))
    first = [case for name in rare for case in [c for c in cases if name in c.annotated][:2]]
    chosen = list(dict.fromkeys(case.image for case in (*first, *cases)))[:most]
    return [case for case in cases if case.image in chosen]


FIELDS_OF_VIEW = {
    "msd_hippocampus": ("brain",),
    "oasis_brain_t1": ("brain",),
    "chaos_mr_t2": ("abdomen", "thorax", "heart", "spine"),
    "acdc_cine_mr": ("heart", "thorax", "abdomen"),
    "openkbp_hn_ct": ("brain", "head and neck", "spine", "thorax"),
}
"""What the images of the shipped model's sources can contain, as in its settings; every method that looks at what may
hide behind label 0 is told."""

SOURCES = {
    # Wide enough for both kidneys and the liver: it is by what lies beside them that twins differ.
    "phantom_abdomen": SourceSettings(spacing=(4.5, 4.5, 7.7), patch=(64, 64, 16)),
    "msd_hippocampus": SourceSettings(spacing=(1, 1, 1), patch=(32, 48, 32), mirror=True),
    "oasis_brain_t1": SourceSettings(spacing=(2, 2, 2), patch=(40, 48, 40), mirror=True),
    "chaos_mr_t2": SourceSettings(spacing=(3, 3, 7.7), patch=(64, 64, 16)),
    "acdc_cine_mr": SourceSettings(spacing=(2, 2, 10), patch=(64, 64, 16)),
    "openkbp_hn_ct": SourceSettings(spacing=(4, 4, 2.5), patch=(40, 40, 40), mirror=True),
    "btcv_ct": SourceSettings(spacing=(3, 3, 3), patch=(48, 48, 48)),
}

FIRST = {
    "class-hippocampus": 400,
    "class-long": 600,
    "domain-abdomen-ct-mr": 1200,
    "domain-abdomen-mr-ct": 1200,
    "domain-brainstem": 400,
    "domain-esophagus": 400,
    "hippocampus-half": 400,
    "hippocampus-half-long": 1600,
    "hippocampus-complete": 400,
    "abdomen-complete": 600,
    "all-sources": 1500,
    "twins": 1200,
}

UPDATE = {
    "class-hippocampus": 200,
    "class-long": 300,
    "domain-abdomen-ct-mr": 400,
    "domain-abdomen-mr-ct": 400,
    "domain-brainstem": 200,
    "domain-esophagus": 200,
}

GPU_SOURCES = {
    **SOURCES,
    "oasis_brain_t1": SourceSettings(spacing=(2, 2, 2), patch=(64, 80, 64), mirror=True),
    "chaos_mr_t2": SourceSettings(spacing=(2, 2, 7.7), patch=(112, 112, 32)),
    "acdc_cine_mr": SourceSettings(spacing=(1.5, 1.5, 10), patch=(128, 128, 16)),
    "openkbp_hn_ct": SourceSettings(spacing=(4, 4, 2.5), patch=(64, 64, 64), mirror=True),
    "btcv_ct": SourceSettings(spacing=(3, 3, 3), patch=(96, 80, 80)),
}

SIZES = {
    "small": Size(
        name="small",
        backbone=BackboneSettings(name="unet", options={"channels": [16, 32, 64, 96], "residual_units": 0}),
        sources=SOURCES,
        first=FIRST,
        update=UPDATE,
        asked_of_each={"class-long": 6, "domain-esophagus": 8, "domain-brainstem": 8},
    ),
    "gpu": Size(
        name="gpu",
        backbone=BackboneSettings(
            name="dynunet", options={"filters": [32, 64, 128, 256, 320], "strides": [2, 2, 2, [2, 2, 1]]}
        ),
        sources=GPU_SOURCES,
        first={name: 20 * count for name, count in FIRST.items()},
        update={name: 20 * count for name, count in UPDATE.items()},
        learning_rate=1e-3,
    ),
}
