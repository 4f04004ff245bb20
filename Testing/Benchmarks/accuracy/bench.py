"""The bench: one cell trained and scored, going on where it was stopped."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from CFSegmenterLib.cases import CaseList
from CFSegmenterLib.errors import UserError
from CFSegmenterLib.model import load_model
from CFSegmenterLib.planning import TrainingPlan, plan_training
from CFSegmenterLib.progress import Progress, silent
from CFSegmenterLib.resuming import CHECKPOINT
from CFSegmenterLib.settings import TrainingSettings
from CFSegmenterLib.update_planning import plan_update
from Testing.Benchmarks.measure import write_json

from .cells import Cell
from .geometry import feature_geometry
from .methods import ALL
from .methods.method import Method, Texts
from .methods.ours import Ours
from .methods.rival import RivalNetwork
from .scenarios import Scenario
from .scoring import mean_dice, score
from .sizes import Size
from .sources import without_annotation
from .trainer import ComparedTrainer

FIRST = "first"
"""The folder of a first training, which all methods of an incremental scenario and seed share."""


@dataclass(frozen=True)
class Bench:
    """A Bench runs the cells of one size in a working folder.

    Attributes:
        out: checkpoints and models; nothing in it is needed once a cell has its result, but sharing saves time.
        texts: structure -> text embedding.
        progress: asked at every step whether to go on.
    """

    size: Size
    out: Path
    texts: Texts
    progress: Progress = silent

    def run(self, cell: Cell, scenario: Scenario) -> dict[str, Any]:
        """Train and score a cell.

        Returns:
            What its JSON file says, but for commit and environment.

        Raises:
            Cancelled: as `progress` asked; the same call goes on from there.
        """
        method = ALL[cell.method]
        folder = self.folder(cell)
        stages = (
            [self._at_once(cell, scenario, method, folder)]
            if method.at_once or len(scenario.steps) == 1
            else self._one_after_another(cell, scenario, method, folder)
        )
        shutil.rmtree(folder, ignore_errors=True)
        steps = [{"name": step.name, "tasks": [list(task) for task in step.tasks]} for step in scenario.steps]
        return {
            "format": 1,
            "scenario": cell.scenario,
            "method": cell.method,
            "seed": cell.seed,
            "size": self.size.name,
            "title": method.title,
            "paper": method.paper,
            "steps": steps,
            "dice": [[mean_dice(stage["scores"], step.tasks) for step in scenario.steps] for stage in stages],
            "stages": stages,
        }

    def folder(self, cell: Cell) -> Path:
        """Where a cell keeps what it needs to go on."""
        return self.out / self.size.name / cell.key

    def _one_after_another(self, cell: Cell, scenario: Scenario, method: Method, folder: Path) -> list[dict[str, Any]]:
        """The stages of an incremental cell: the first training, then an update a step."""
        first = self.out / self.size.name / cell.scenario / f"{FIRST}-{cell.seed}"
        stages = [self._stage(first, partial(self._first, cell, scenario, first), scenario)]
        before = first
        for number in range(1, len(scenario.steps)):
            now = folder / f"step{number}"
            make = partial(self._update, cell, scenario, method, before, number, now)
            stages.append(self._stage(now, make, scenario))
            before = now
        return stages

    def _first(self, cell: Cell, scenario: Scenario, folder: Path) -> ComparedTrainer:
        lists = scenario.steps[0].lists
        settings = self.size.training(cell.scenario, lists, cell.seed)
        return self._trainer(_planned(lists, settings), folder, Ours("ours"))

    def _update(
        self, cell: Cell, scenario: Scenario, method: Method, before: Path, number: int, folder: Path
    ) -> ComparedTrainer:
        lists = scenario.steps[number].lists
        old = without_annotation([each for step in scenario.steps[:number] for each in step.lists])
        settings = self.size.updating(cell.scenario, lists, cell.seed)
        plan = plan_update(
            load_model(before / "last"),
            lists,
            settings,
            unannotated=old if method.unlabelled else (),
            version=str(number + 1),
            parent=str(number),
            progress=self.progress,
        )
        return self._trainer(plan, folder, method)

    def _at_once(self, cell: Cell, scenario: Scenario, method: Method, folder: Path) -> dict[str, Any]:
        settings = self.size.training(cell.scenario, scenario.lists, cell.seed, len(scenario.steps))
        plan = method.plan(_planned(scenario.lists, method.settings(settings)), self.texts)
        return self._stage(folder, lambda: self._trainer(plan, folder, method), scenario, geometry=True)

    def _trainer(self, plan: TrainingPlan, folder: Path, method: Method) -> ComparedTrainer:
        return ComparedTrainer(plan, folder, method, self.texts, self.out / "cache", self.progress)

    def _stage(
        self, folder: Path, make: Callable[[], ComparedTrainer], scenario: Scenario, geometry: bool = False
    ) -> dict[str, Any]:
        """Train and score one stage, or read what it gave before."""
        record = folder / "stage.json"
        if record.exists():
            return json.loads(record.read_text(encoding="utf-8"))
        try:
            trainer = make()
        except UserError:
            if not (folder / CHECKPOINT).exists():
                raise
            shutil.rmtree(folder)  # begun with settings that are no longer those of this size
            trainer = make()
        trainer.train(self.progress)
        model = trainer.model()
        plan = trainer.plan
        asked = self.size.asked(scenario)
        stage = {
            "structures": list(plan.bank.names[1:]),
            "cases": {each.source: len(each.of("training")) for each in plan.lists},
            "unlabelled": len(plan.unannotated),
            "iterations": trainer.step,
            "seconds": round(trainer.seconds, 1),
            "cpu_seconds_per_iteration": _per_step(trainer),
            "parameters": sum(p.numel() for p in model.network.parameters()),
            "prototypes": len(plan.bank),
            "settings": plan.settings.model_dump(mode="json"),
            "scores": score(model, asked, self.progress),
        }
        if geometry and not isinstance(model.network, RivalNetwork):
            stage["geometry"] = feature_geometry(model, asked)
        write_json(record, stage)
        return stage


def _planned(lists: Sequence[CaseList], settings: TrainingSettings) -> TrainingPlan:
    return plan_training(lists, settings, name="benchmark")


def _per_step(trainer: ComparedTrainer) -> float | None:
    return round(trainer.cpu_seconds / trainer.steps_timed, 4) if trainer.steps_timed else None
