"""Verification: are two pictures of the same person? Figures over pairs, with intervals over people.

A pair is accepted if its distance is below a threshold. N pictures, P pairs, K people.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resight.core import seeds
from resight.core.files import digest

Array = NDArray[np.float64]
FOLDS = 10
DRAWS, LEAST_DRAWS, WORK = 1000, 100, 2e8
LEVEL = 0.95
RATES = {"1e-2": 1e-2, "1e-3": 1e-3}
"""False-match rates at which true accepts are stated."""


@dataclass(frozen=True)
class Pairs:
    """All pairs of some pictures, nearest first.

    Attributes:
        distances: rising, (P,).
        same: whether both are of one person, (P,).
        people: numbers of the two persons, (P, 2).
        pictures: numbers of the two pictures, (P, 2).
    """

    distances: Array
    same: NDArray[np.bool_]
    people: NDArray[np.int64]
    pictures: NDArray[np.int64]

    @property
    def both(self) -> bool:
        """Whether there are pairs of one person and pairs of two, so that figures mean something."""
        return bool(self.same.any() and not self.same.all())


def distances_of(embeddings: NDArray[np.floating], others: NDArray[np.floating]) -> Array:
    """Return the Euclidean distances of embeddings (N, D) to others (M, D), (N, M)."""
    a, b = embeddings.astype(np.float64), others.astype(np.float64)
    squares = (a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T
    return np.sqrt(np.maximum(squares, 0))


def pairs_of(distances: Array, people: NDArray[np.int64]) -> Pairs:
    """Return all pairs of N pictures.

    Args:
        distances: of every two pictures, (N, N).
        people: number of the person on each picture, (N,).
    """
    first, second = np.triu_indices(len(people), 1)
    apart = distances[first, second]
    order = np.argsort(apart, kind="stable")
    pictures = np.stack([first, second], 1)[order].astype(np.int64)
    both = people[pictures]
    return Pairs(apart[order], both[:, 0] == both[:, 1], both, pictures)


def threshold_at(pairs: Pairs, rate: float) -> tuple[float, float]:
    """Return the largest threshold at which at most a share `rate` of the pairs of two people is accepted.

    Of n such pairs at least one decides: with fewer than 1 / rate of them the threshold is the least of their
    distances, and the share that can be told is 1 / n.

    Args:
        pairs: with pairs of two people among them.
        rate: the false-match rate, in (0, 1).

    Returns:
        The threshold, and the rate that so few pairs can tell: `rate` or 1 / n, whichever is larger.
    """
    strangers = pairs.distances[~pairs.same]
    return float(strangers[allowed(rate, len(strangers))]), max(rate, 1 / len(strangers))


def allowed(rate: float, count: float) -> int:
    """Return how many of `count` pairs may be accepted at a rate; 1e-3 of 1,000 is 1 despite rounding."""
    return min(int(rate * count + 1e-9), max(int(count) - 1, 0))


def rates_at(pairs: Pairs, threshold: float) -> tuple[float, float]:
    """Return the shares of pairs of one person and of two that are accepted at a threshold."""
    accepted = pairs.distances < threshold
    return float(accepted[pairs.same].mean()), float(accepted[~pairs.same].mean())


def roc(pairs: Pairs, weights: Array | None = None) -> tuple[Array, Array]:
    """Return the ROC curve: the shares of pairs of two people, and of one, below each distance.

    Args:
        pairs: of N pictures.
        weights: what each pair counts, (P,); by default all the same.

    Returns:
        False matches and true accepts, each rising from 0 to 1; pairs of equal distance make one step.
    """
    weights = np.ones(len(pairs.distances)) if weights is None else weights
    ends = np.append(pairs.distances[1:] > pairs.distances[:-1], True)
    curves = [np.cumsum(weights * kind)[ends] for kind in (~pairs.same, pairs.same)]
    false, true = (np.append(0.0, curve / curve[-1]) for curve in curves)
    return false, true


def auc(false: Array, true: Array) -> float:
    """Return the area under a ROC curve; guessing gives 0.5."""
    return float((np.diff(false) * (true[1:] + true[:-1]) / 2).sum())


def equal_error(false: Array, true: Array) -> float:
    """Return the equal error rate: where as many pairs of two people are accepted as of one are refused.

    Between two points of the curve it is read off the line that joins them.
    """
    gap = false - (1 - true)
    place = int(np.argmax(gap >= 0))
    if place == 0 or gap[place] == gap[place - 1]:
        return float(false[place])
    part = -gap[place - 1] / (gap[place] - gap[place - 1])
    return float(false[place - 1] + part * (false[place] - false[place - 1]))


def true_accepts(false: Array, true: Array, rate: float) -> float:
    """Return the share of pairs of one person that is accepted where at most `rate` of the others are."""
    return float(true[np.searchsorted(false, rate + 1e-12, side="right") - 1])


def rank1(distances: Array, people: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Return of which pictures the nearest other picture is of the same person.

    Args:
        distances: of every two pictures, (N, N).
        people: number of the person on each picture, (N,).

    Returns:
        Whether each picture that can be identified is, and the numbers of these pictures: those of people
        with two pictures or more.
    """
    apart = distances.copy()
    np.fill_diagonal(apart, np.inf)
    able = np.flatnonzero(np.bincount(people)[people] > 1)
    nearest = people[apart[able].argmin(1)] if len(able) else people[:0]
    return nearest == people[able], able


@dataclass(frozen=True)
class Folds:
    """The protocol of LFW: a threshold is chosen on all folds but one, and tested on that one.

    Attributes:
        accuracy: mean over the folds, in [0, 1]; pairs of one person count as much as pairs of two.
        error: standard error of that mean.
        count: of the folds.
    """

    accuracy: float
    error: float
    count: int


def ten_folds(pairs: Pairs, names: Sequence[str]) -> Folds | None:
    """Return the accuracy over ten folds of people; over fewer if there are fewer than 20 people.

    Source: Huang et al. 2007, "Labeled Faces in the Wild", section 3. There both kinds of pairs are equally
    many; here they get equal weight. No person is in two folds, and a pair is of one fold.

    Args:
        pairs: of all pictures.
        names: of the people; their hash says which fold they are in.

    Returns:
        None with fewer than four people, or if a fold has no pair of one person.
    """
    count = min(FOLDS, len(names) // 2)
    if count < 2:
        return None
    ranks = np.argsort([digest(name.encode()) for name in names], kind="stable")
    fold_of = np.empty(len(names), np.int64)
    fold_of[ranks] = np.arange(len(names)) % count
    folds = fold_of[pairs.people]
    inside = np.where(folds[:, 0] == folds[:, 1], folds[:, 0], -1)
    found = []
    for fold in range(count):
        learned, tested = (inside >= 0) & (inside != fold), inside == fold
        if not (pairs.same[tested].any() and (~pairs.same[tested]).any()):
            return None
        threshold = _best_threshold(pairs.distances[learned], pairs.same[learned])
        right = (pairs.distances[tested] < threshold) == pairs.same[tested]
        found.append((right[pairs.same[tested]].mean() + right[~pairs.same[tested]].mean()) / 2)
    return Folds(float(np.mean(found)), float(np.std(found, ddof=1) / np.sqrt(count)), count)


def _best_threshold(distances: Array, same: NDArray[np.bool_]) -> float:
    """Return the threshold, between two of the rising distances, that puts most pairs right."""
    true, false = np.cumsum(same) / same.sum(), np.cumsum(~same) / (~same).sum()
    ends = np.append(distances[1:] > distances[:-1], True)
    best = int(np.argmax(np.where(ends, true - false, -np.inf)))
    after = distances[best + 1] if best + 1 < len(distances) else distances[best] + 1e-9
    return float((distances[best] + after) / 2)


Statistic = Callable[[Array, Array], float]
"""Of a ROC curve: false matches and true accepts to a number."""


def over_people(pairs: Pairs, count: int, statistics: Sequence[Statistic], draws: int = 0) -> Array:
    """Return statistics of pairs as people are drawn again, (draws, statistics).

    K people are drawn with replacement. A pair of one person counts as often as the person was drawn, a pair
    of two as often as both together; draws are fixed, so that two networks meet the same people.

    Source: Bolle, Ratha and Pankanti 2004, "Error analysis of pattern recognition systems: the subsets
    bootstrap", section 4.

    Args:
        pairs: of pictures of K people.
        count: K.
        statistics: of the curve.
        draws: how often; by default 1,000 times, and 100 at least, where there are more than 200,000 pairs.
    """
    draws = draws or int(np.clip(WORK / len(pairs.distances), LEAST_DRAWS, DRAWS))
    drawn = (seeds.uniform(0, 0, np.arange(draws * count), "people") * count).astype(np.int64)
    places = drawn.reshape(draws, count) + count * np.arange(draws)[:, None]
    often = np.bincount(places.ravel(), minlength=draws * count).reshape(draws, count).astype(np.float64)
    rows = []
    for counts in often:
        weights = counts[pairs.people[:, 0]] * np.where(pairs.same, 1.0, counts[pairs.people[:, 1]])
        if not (weights[pairs.same].any() and weights[~pairs.same].any()):
            continue  # all draws are one person, or people with one picture each
        curve = roc(pairs, weights)
        rows.append([statistic(*curve) for statistic in statistics])
    return np.array(rows).reshape(len(rows), len(statistics))


def interval(draws: Array) -> tuple[float, float]:
    """Return the 95 % percentile interval of draws (n,)."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def groups_of(distances: Array, threshold: float) -> NDArray[np.int64]:
    """Return groups of pictures by average linkage: two groups join while their mean distance is below it.

    A chain of pairs that are each just near enough does not join two people, as it would by single linkage.

    Args:
        distances: of every two pictures, (N, N).
        threshold: of a pair.

    Returns:
        Numbers of the groups, (N,), in the order of their first pictures.
    """
    means = distances.astype(np.float64).copy()
    np.fill_diagonal(means, np.inf)
    sizes, group = np.ones(len(means)), np.arange(len(means))
    while len(means) > 1:
        a, b = divmod(int(np.argmin(means)), len(means))
        if not means[a, b] < threshold:
            break
        a, b = min(a, b), max(a, b)
        joined = (means[a] * sizes[a] + means[b] * sizes[b]) / (sizes[a] + sizes[b])
        means[a], means[:, a] = joined, joined
        means[a, a] = means[b, :] = means[:, b] = np.inf
        sizes[a] += sizes[b]
        group[group == b] = a
    _, first, numbers = np.unique(group, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[numbers].astype(np.int64)
