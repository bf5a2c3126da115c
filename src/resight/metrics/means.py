"""Means over pictures: their intervals, and whether one mean is better than another on the same pictures."""

from typing import NamedTuple

import torch
from torch import Tensor

from resight.metrics.accuracy import wilson_interval

DRAWS = 4999
"""Of a bootstrap or a sign-flip test."""
LEVEL = 0.05
AT_ONCE = 2**22
"""Values that are drawn at once."""


def bootstrap_interval(values: Tensor, seed: int = 0, draws: int = DRAWS) -> tuple[float, float] | None:
    """Return a 95 % interval of a mean over pictures, by the percentile bootstrap; None for fewer than two.

    Source: Efron 1979, "Bootstrap methods: another look at the jackknife". Below some 20 pictures it is too
    narrow.

    Args:
        values: (N,), one a picture.
        seed: of the draws.
        draws: how often the pictures are drawn.
    """
    count = len(values)
    if count < 2:
        return None
    generator = torch.Generator().manual_seed(seed)
    means = [
        values[torch.randint(count, (len(part), count), generator=generator)].mean(1)
        for part in torch.arange(draws).split(max(1, AT_ONCE // count))
    ]
    low, high = torch.cat(means).quantile(torch.tensor([LEVEL / 2, 1 - LEVEL / 2], dtype=values.dtype))
    return float(low), float(high)


def share_interval(values: Tensor, seed: int = 0) -> tuple[float, float]:
    """Return Wilson's 95 % interval, in percent, of values (N,) that are 0 or 100."""
    del seed  # nothing is drawn
    return wilson_interval(int((values == 100).sum()), len(values))


def sign_flip(differences: Tensor, seed: int = 0) -> float:
    """Return the two-sided p of paired differences (N,) having mean zero, by random flips of their signs.

    Source: Fisher 1935, "The design of experiments", section 21 (the randomization test); the plus one
    counts the observed signs. With fewer than six pictures it cannot fall below 0.05.

    Args:
        differences: one a picture.
        seed: of the draws.
    """
    count, values = len(differences), differences.double()
    generator = torch.Generator().manual_seed(seed)
    least = float(values.sum().abs()) * (1 - 1e-9)
    reached = 0
    for part in torch.arange(DRAWS).split(max(1, AT_ONCE // count)):
        signs = torch.randint(2, (len(part), count), generator=generator).double() * 2 - 1
        reached += int(((signs @ values).abs() >= least).sum())
    return (reached + 1) / (DRAWS + 1)


class Verdict(NamedTuple):
    """Whether values are better than others of the same pictures.

    Attributes:
        answer: "yes"; "no", which means worse; or "unclear".
        p: of the sign-flip test.
        gain: mean over pictures of how much better they are, in the measure's unit; negative if worse.
        interval: its 95 % interval; None for fewer than two pictures.
    """

    answer: str
    p: float
    gain: float
    interval: tuple[float, float] | None


def verdict(values: Tensor, others: Tensor, better: str, seed: int = 0, least: float = 0.0) -> Verdict:
    """Say whether values (N,) are better than others (N,) of the same pictures.

    "yes" and "no" need three things: p of the sign-flip test below 0.05, a 95 % interval of the mean
    difference that leaves out zero, and a mean difference of at least `least`. Else the answer is "unclear".
    Each verdict is tested for itself: of twenty about maps that are no better, one will not be "unclear" by
    chance.

    Args:
        values: one a picture.
        others: one a picture.
        better: "low" or "high".
        seed: of the draws.
        least: the smallest difference that counts, in the measure's unit.
    """
    differences = (others - values if better == "low" else values - others).double()
    p, gain = sign_flip(differences, seed), float(differences.mean())
    interval = bootstrap_interval(differences, seed)
    apart = interval is not None and (interval[0] > 0 or interval[1] < 0)
    if p >= LEVEL or not apart or abs(gain) < least:
        return Verdict("unclear", p, gain, interval)
    return Verdict("yes" if gain > 0 else "no", p, gain, interval)
