"""What an incremental result says of remembering: forgetting, what is new, and what was known before it was taught."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .scoring import known_dice, mean_dice


@dataclass(frozen=True)
class Remembering:
    """How one method with one seed came through a scenario; Dice in 0..1.

    Attributes:
        learned: Dice of the tasks of all steps but the last, each right after its step.
        kept: Dice of the same tasks in the end.
        new: Dice in the end of all tasks but the first step's.
        all: Dice in the end of all tasks.
        forward: Dice of tasks before their step, of those whose structure was known by then; None where there are none.
    """

    learned: float | None
    kept: float | None
    new: float | None
    all: float | None
    forward: float | None

    @property
    def forgetting(self) -> float | None:
        """Dice when learned minus Dice in the end."""
        return None if self.learned is None or self.kept is None else self.learned - self.kept

    @classmethod
    def of(cls, result: Mapping[str, Any]) -> Remembering:
        """Read it from a result; training at once has nothing learned before."""
        steps, stages = result["steps"], result["stages"]
        tasks = [[tuple(task) for task in step["tasks"]] for step in steps]
        last = stages[-1]["scores"]
        old = [task for each in tasks[:-1] for task in each]
        later = [task for each in tasks[1:] for task in each]
        learned = forward = None
        if len(stages) == len(steps) > 1:
            when = [(mean_dice(stages[j]["scores"], each), len(each)) for j, each in enumerate(tasks[:-1])]
            if all(dice is not None for dice, _ in when):
                learned = sum(dice * count for dice, count in when) / len(old)
            before = [(known_dice(stages[j - 1]["scores"], tasks[j])) for j in range(1, len(tasks))]
            known = [dice for dice in before if dice is not None]
            forward = sum(known) / len(known) if known else None
        everything = [*tasks[0], *later]
        return cls(learned, mean_dice(last, old), mean_dice(last, later), mean_dice(last, everything), forward)
