"""Schedule: which learning rate a step has, and when a training ends, by its steps or by its time budget."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .settings import TrainingSettings

LEAST_RATE = 0.01
"""Share of the learning rate that the last step has."""

WARMUP_SHARE = 0.1
"""Of the steps and of the time budget, at most."""


@dataclass(frozen=True)
class Schedule:
    """A Schedule ends at the last step or with the budget, whichever comes first.

    Attributes:
        iterations: optimizer steps at most.
        learning_rate: the highest.
        warmup: steps over which the rate rises, unless `WARMUP_SHARE` is less.
        budget: seconds; None where only the steps count.
        begun: seconds of it that had passed before the first step.
    """

    iterations: int
    learning_rate: float
    warmup: int
    budget: float | None = None
    begun: float = 0.0

    @classmethod
    def of(cls, settings: TrainingSettings, budget: float | None) -> Schedule:
        """That of a training, with a budget that all its processes agree on."""
        return cls(settings.iterations, settings.learning_rate, settings.warmup, budget)

    def rate(self, step: int, seconds: float) -> float:
        """The learning rate of step `step`, `seconds` into the training: a linear rise, then half a cosine down.

        Both follow the steps or the time, whichever is further along.
        """
        warmup = min(self.warmup, int(WARMUP_SHARE * self.iterations))
        warmed = 0.0 if self.budget is None else (seconds - self.begun) / (WARMUP_SHARE * self.budget)
        if step < warmup and warmed < 1:
            return max(self.learning_rate * (step + 1) / warmup, self.learning_rate * warmed)
        along = (step - warmup) / max(1, self.iterations - warmup)
        if self.budget is not None:
            along = max(along, seconds / self.budget)
        fallen = 0.5 * (1 + math.cos(math.pi * min(1.0, along)))
        return self.learning_rate * (LEAST_RATE + (1 - LEAST_RATE) * fallen)

    def is_spent(self, seconds: float) -> bool:
        """Whether the budget is."""
        return self.budget is not None and seconds >= self.budget

    def foreseen(self, step: int, seconds: float, pace: float, last: int) -> tuple[int, float]:
        """(the step that the training will end at, the seconds until then) at `pace` seconds a step.

        Args:
            last: the step to end at where the budget does not end it before.
        """
        steps = last - step
        if self.budget is not None:
            steps = min(steps, max(0, math.ceil((self.budget - seconds) / max(pace, 1e-6))))
        return step + steps, steps * pace


def duration(seconds: float) -> str:
    """The same in words, as "2 h 05 min"."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"
