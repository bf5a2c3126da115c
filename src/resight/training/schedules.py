"""Learning rates: pure functions of the step."""

import math

from resight.training.recipe import Recipe


def learning_rate(recipe: Recipe, step: int, steps: int) -> float:
    """Return the learning rate of a step.

    Args:
        recipe: schedule, lr, drops, warmup.
        step: from 0.
        steps: of the whole training.
    """
    if recipe.warmup and step < recipe.warmup[0]:
        return recipe.warmup[1]
    share = step / steps
    if recipe.schedule in ("steps", "fifths"):
        factor = 0.1 if recipe.schedule == "steps" else 0.2
        return recipe.lr * factor ** sum(share >= drop for drop in recipe.drops)
    if recipe.schedule == "linear":
        return recipe.lr * (1 - 0.99 * share)
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1 + math.cos(math.pi * share))
    if recipe.schedule == "one-cycle":
        peak = recipe.drops[0] if recipe.drops else 0.2
        start, end = 0.2, 0.01  # shares of the peak, as in airbench94
        if share < peak:
            return recipe.lr * (start + (1 - start) * share / peak)
        return recipe.lr * (1 - (1 - end) * (share - peak) / (1 - peak))
    return recipe.lr
