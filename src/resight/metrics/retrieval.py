"""Retrieval: how far ahead of all others the right pictures come in a ranking."""

import numpy as np
from numpy.typing import NDArray


def average_precision(relevant: NDArray[np.bool_]) -> float:
    """Return the average precision of a ranking: the mean of the precision at each relevant item, in (0, 1].

    Source: Manning, Raghavan and Schütze 2008, "Introduction to Information Retrieval", section 8.4; without
    interpolation.

    Args:
        relevant: whether each item is relevant, best first, (N,); at least one is.
    """
    places = np.flatnonzero(relevant) + 1
    return float((np.arange(1, len(places) + 1) / places).mean())


def guessed_precision(relevant: int, count: int) -> float:
    """Return the expected average precision of a random ranking.

    Args:
        relevant: how many of the items are relevant, at least 1.
        count: all items.
    """
    harmonic = float((1 / np.arange(1, count + 1)).sum())
    others = (relevant - 1) / (count - 1) if count > 1 else 0.0
    return (harmonic + others * (count - harmonic)) / count
