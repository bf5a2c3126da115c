"""Learning rates: pure functions of the step and of the errors so far."""

import math
from collections.abc import Sequence

from resight.core.errors import UsageError
from resight.training.recipe import Recipe

PATIENCE = 0.1
"""Share of a training without a lower error that is a plateau, where `drops` names none."""


def warmup_steps(recipe: Recipe, steps: int) -> int:
    """Return how many steps run at the warm-up's rate.

    Args:
        recipe: warmup.
        steps: of the whole training.

    Raises:
        UsageError: if the warm-up never ends.
    """
    if not recipe.warmup:
        return 0
    length = round(recipe.warmup[0])
    if len(recipe.warmup) == 3:  # of a training that may be shorter than the published one
        length = min(length, round(recipe.warmup[0] * steps / recipe.warmup[2]))
    if length >= steps:
        raise UsageError(
            f"warmup={length} steps covers all training of {steps:,} steps; give a shorter one, or more "
            "epochs"
        )
    return length


def rising_share(recipe: Recipe, steps: int) -> float:
    """Return the share of a training, its beginning, in which the rate has not reached its peak.

    Args:
        recipe: schedule, drops, warmup.
        steps: of the whole training.
    """
    peak = _peak(recipe) if recipe.schedule == "one-cycle" else 0.0
    return max(peak, warmup_steps(recipe, steps) / steps)


def _peak(recipe: Recipe) -> float:
    return recipe.drops[0] if recipe.drops else 0.2


def require_errors(recipe: Recipe, *, judged: bool) -> None:
    """Refuse a plateau of errors that nobody measures.

    Args:
        recipe: schedule.
        judged: whether there are validation pictures.

    Raises:
        UsageError: if they are needed.
    """
    if recipe.schedule == "plateau" and not judged:
        raise UsageError(
            "schedule=plateau goes by the validation error, and there are no validation pictures; hold some "
            "out with --set val_share=0.1, or take another schedule"
        )


def plateaus(errors: Sequence[float], patience: int) -> int:
    """Return how often errors stopped falling (He et al. 2015, section 3.4).

    A plateau is `patience` epochs in a row without an error below all before them; then the count begins
    again.

    Args:
        errors: of each epoch so far.
        patience: 1 or more.
    """
    found, waited, lowest = 0, 0, math.inf
    for error in errors:
        waited = 0 if error < lowest else waited + 1
        lowest = min(lowest, error)
        if waited == patience:
            found, waited = found + 1, 0
    return found


def learning_rate(recipe: Recipe, step: int, steps: int, errors: Sequence[float] = ()) -> float:
    """Return the learning rate of a step.

    Args:
        recipe: schedule, lr, drops, warmup, epochs.
        step: from 0.
        steps: of the whole training.
        errors: of each epoch so far, in validation.
    """
    if step < warmup_steps(recipe, steps):
        return recipe.warmup[1]
    share = step / steps
    if recipe.schedule in ("steps", "fifths"):
        factor = 0.1 if recipe.schedule == "steps" else 0.2
        return recipe.lr * factor ** sum(share >= drop for drop in recipe.drops)
    if recipe.schedule == "plateau":
        patience = max(1, round((recipe.drops or (PATIENCE,))[0] * recipe.epochs))
        return recipe.lr * 0.1 ** plateaus(errors, patience)
    if recipe.schedule == "linear":
        return recipe.lr * (1 - 0.99 * share)
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * share))
    if recipe.schedule == "one-cycle":
        peak = _peak(recipe)
        start, end = 0.2, 0.01  # shares of the peak, as in airbench94
        if share < peak:
            return recipe.lr * (start + (1 - start) * share / peak)
        return recipe.lr * (1 - (1 - end) * (share - peak) / (1 - peak))
    return recipe.lr
