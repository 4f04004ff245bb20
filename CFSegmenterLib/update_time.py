"""The time of an update: how its budget is shared among training, scoring and comparing."""

from __future__ import annotations

TRAINING_SHARE = 0.5
"""Of the time budget that is trained at least, however long preparing and evaluating take."""

SCORING_SHARE = 0.25
"""Of the time budget after which no further validation case is scored, by the old and by the new model each."""

COMPARING_SHARE = 0.2
"""Of the time budget after which no further image is compared."""


def left_for_training(budget: float, spent: float, pace: float, *, scored: int, new: int, compared: int) -> float:
    """Seconds of a budget that are left for training; after it cases are scored again, and answers compared.

    Args:
        budget, spent: seconds, in all and until now.
        pace: seconds that a model takes for an image.
        scored: how many cases the old model was scored on, and the new one will be.
        new: how many cases only the new model can be scored on.
        compared: images at which both models will look.
    """
    scoring = max(pace * scored, min(pace * (scored + new), SCORING_SHARE * budget))
    comparing = min(2 * pace * compared, COMPARING_SHARE * budget)
    return max(TRAINING_SHARE * budget, budget - spent - scoring - comparing)
