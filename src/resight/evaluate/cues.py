"""Find what may be a spurious cue: groups of a class's maps that point to one edge, or go wrong more often.

Source: the use of Lapuschkin et al. 2019 (see `clusters`): a person looks through the groups. The two marks
are ours and say no more than what was counted.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from resight.evaluate.clusters import distinct_clusters
from resight.metrics.accuracy import wilson_interval

SIDE = 56
"""Maps are averaged down to so many cells a side, which is enough to show and to compare them."""
FEW = 5
"""A group of fewer maps gets no mark."""
TOGETHER = 0.8
"""Share of a group's maps that must peak at the same edge or corner for a mark."""
APART = 0.4
"""How much greater this share must be than among the maps of all other classes."""


@dataclass(frozen=True)
class Group:
    """Maps of one class that point to the same places.

    Attributes:
        members: numbers of its maps among the class's, the most typical first.
        mean: mean of its maps, (h, w) in [0, 1].
        share: of the class's maps, in [0, 1].
        wrong: how many of its pictures were named wrongly.
        place: where most of its maps have their greatest value, as "upper left corner"; "middle" is off the
            edges.
        there: share of its maps that have it there.
        elsewhere: the same share among the maps of all other classes; None if there are none.
        at_edge: whether nearly all its maps peak at one edge or corner, far more often than other classes';
            never where there are no others.
        worse: whether it is wrong more often than the rest of the class (their 95 % intervals do not meet).
    """

    members: tuple[int, ...]
    mean: Tensor
    share: float
    wrong: int
    place: str
    there: float
    elsewhere: float | None
    at_edge: bool
    worse: bool

    @property
    def marks(self) -> int:
        """How many marks it has."""
        return self.at_edge + self.worse


def small(maps: Tensor) -> Tensor:
    """Return maps (N, H, W) averaged down to at most `SIDE` cells a side."""
    size = (min(SIDE, maps.shape[1]), min(SIDE, maps.shape[2]))
    return F.adaptive_avg_pool2d(maps[:, None], size)[:, 0]


def find_groups(
    maps: Mapping[str, Tensor],
    wrong: Mapping[str, Tensor],
    *,
    most: int = 4,
    edges: bool = True,
    seed: int = 0,
) -> dict[str, list[Group]]:
    """Group the maps of each class, those with marks first, then by size.

    Args:
        maps: for each class the maps (N, h, w) in [0, 1] of pictures that were named so; none is flat.
        wrong: for each class whether it was the wrong name, (N,) bool.
        most: groups of a class.
        edges: whether the mark for edges may be given: maps of few cells always peak at one.
        seed: of the starts of k-means.
    """
    peaks = {name: [place_of_peak(m) for m in of] for name, of in maps.items()}
    counts = Counter(place for of in peaks.values() for place in of)
    found = {}
    for name, of in maps.items():
        own = Counter(peaks[name])
        others = sum(counts.values()) - len(of)
        groups = []
        for cluster in distinct_clusters(of, most, seed=seed):
            members = list(cluster.members)
            place, times = Counter(peaks[name][i] for i in members).most_common(1)[0]
            there = times / len(members)
            elsewhere = (counts[place] - own[place]) / others if others else None
            at_edge = edges and place != "middle" and len(members) >= FEW
            at_edge = at_edge and there >= TOGETHER and elsewhere is not None and there - elsewhere >= APART
            bad = int(wrong[name][members].sum())
            worse = len(members) >= FEW and _worse(bad, len(members), int(wrong[name].sum()), len(of))
            groups.append(
                Group(
                    cluster.members,
                    cluster.mean,
                    len(members) / len(of),
                    bad,
                    place,
                    there,
                    elsewhere,
                    at_edge,
                    worse,
                )
            )
        found[name] = sorted(groups, key=lambda g: (-g.marks, -len(g.members)))
    return found


def place_of_peak(heat: Tensor) -> str:
    """Return where a map (h, w) has its greatest value: edges and corners are a quarter of a side wide."""
    at = torch.nonzero(heat == heat.max()).cpu().double().mean(0)  # a peak at an edge is a flat patch
    row, column = ((at + 0.5) / torch.tensor(heat.shape)).tolist()
    across = "left" if column < 0.25 else "right" if column > 0.75 else ""
    down = "upper" if row < 0.25 else "lower" if row > 0.75 else ""
    if across and down:
        return f"{down} {across} corner"
    return f"{across or down} edge" if across or down else "middle"


def _worse(bad: int, size: int, all_bad: int, all_size: int) -> bool:
    rest_bad, rest = all_bad - bad, all_size - size
    return rest > 0 and wilson_interval(bad, size)[0] > wilson_interval(rest_bad, rest)[1]
