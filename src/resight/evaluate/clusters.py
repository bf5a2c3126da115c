"""Group the maps of one class by where they point: so a person sees that a class is known by its background.

Source: the idea is Lapuschkin et al. 2019, "Unmasking Clever Hans predictors and assessing what machines
really learn" (spectral relevance analysis), which clusters down-sized maps by their spectrum; here k-means.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from resight.core.errors import UsageError

ROUNDS = 100
"""Most steps of one k-means; it has come to rest long before."""
SEPARATED = 0.25
"""Mean silhouette below which a clustering shows no structure worth a name (Kaufman and Rousseeuw 1990)."""
ALIKE = 0.9
"""Cosine of two mean maps above which a person sees no difference between them."""


@dataclass(frozen=True)
class MapCluster:
    """Maps that point to the same places.

    Attributes:
        members: numbers of its maps, the nearest to its centre first.
        mean: mean of its maps, (H, W).
        separation: mean silhouette of its members, in [-1, 1]: near 1 apart from the others, about 0 where
            k-means cut a crowd in two; 0 for a single member, or if it is the only cluster.
    """

    members: tuple[int, ...]
    mean: Tensor
    separation: float

    @property
    def size(self) -> int:
        """How many maps it has."""
        return len(self.members)


def clusters_of_maps(
    maps: Tensor, count: int = 4, *, side: int = 8, restarts: int = 10, seed: int = 0
) -> list[MapCluster]:
    """Group maps into `count` clusters, the largest first; fewer if there are fewer different maps.

    A map is averaged down to side x side cells and scaled to norm 1, so that place counts and strength does
    not. The number of groups is the caller's: look at `separation`.

    Args:
        maps: (N, H, W), of pictures of one class.
        count: clusters.
        side: cells a side.
        restarts: k-means from so many starts (k-means++); the best is kept.
        seed: of the starts.

    Raises:
        UsageError: if there are no maps, or `count` is not between 1 and their number.
    """
    if maps.ndim != 3 or not 1 <= count <= len(maps):
        raise UsageError(f"{count} clusters of maps {tuple(maps.shape)}: give (N, H, W) and 1 to N clusters")
    points = _points(maps, side)
    generator = torch.Generator().manual_seed(seed)
    runs = [_k_means(points, count, generator) for _ in range(restarts)]
    _, groups, centres = min(runs, key=lambda run: run[0])
    silhouettes = _silhouettes(points, groups, count)
    clusters = []
    for number in range(count):
        members = (groups == number).nonzero()[:, 0]
        if len(members):
            nearest = members[(points[members] - centres[number]).norm(dim=1).argsort(stable=True)]
            mean = maps[members.to(maps.device)].mean(0)
            clusters.append(MapCluster(tuple(nearest.tolist()), mean, float(silhouettes[members].mean())))
    return sorted(clusters, key=lambda cluster: (-cluster.size, cluster.members[0]))


def distinct_clusters(maps: Tensor, most: int = 4, *, side: int = 8, seed: int = 0) -> list[MapCluster]:
    """Group maps into as many clusters as stand apart; into one if none do.

    Of two to `most` clusters that number is taken whose mean silhouette is the greatest, if it is `SEPARATED`
    or more and no two mean maps are `ALIKE`: silhouettes do not see how small a difference is.

    Source: Kaufman and Rousseeuw 1990, "Finding groups in data", chapter 2: the silhouette coefficient.

    Args:
        maps: (N, H, W), of pictures of one class.
        most: clusters.
        side: cells a side, see `clusters_of_maps`.
        seed: of the starts.

    Raises:
        UsageError: if there are no maps.
    """
    best, height = clusters_of_maps(maps, 1, side=side, seed=seed), SEPARATED
    for count in range(2, min(most, len(maps) - 1) + 1):
        found = clusters_of_maps(maps, count, side=side, seed=seed)
        mean = sum(cluster.size * cluster.separation for cluster in found) / len(maps)
        if len(found) > 1 and mean >= height and _likeness(found, side) <= ALIKE:
            best, height = found, mean
    return best


def _likeness(clusters: list[MapCluster], side: int) -> float:
    """Return the greatest cosine of two mean maps, compared as `clusters_of_maps` compares maps."""
    rows = _points(torch.stack([cluster.mean for cluster in clusters]), side)
    return float((rows @ rows.T).fill_diagonal_(-1).max())


def _points(maps: Tensor, side: int) -> Tensor:
    cells = (min(side, maps.shape[1]), min(side, maps.shape[2]))
    small = F.adaptive_avg_pool2d(maps.detach().cpu().double()[:, None], cells).flatten(1)
    return F.normalize(small, dim=1)


def _k_means(points: Tensor, count: int, generator: torch.Generator) -> tuple[float, Tensor, Tensor]:
    """Return the sum of squared distances, the groups (N,) and the centres (count, D).

    Source: Lloyd 1982, started by Arthur and Vassilvitskii 2007, "k-means++".
    """
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    while len(centres) < count:
        squares = torch.cdist(points, centres).amin(1) ** 2
        weights = squares if float(squares.sum()) > 0 else torch.ones_like(squares)
        centres = torch.cat([centres, points[torch.multinomial(weights, 1, generator=generator)]])
    groups = torch.full((len(points),), -1)
    for _ in range(ROUNDS):
        nearest = torch.cdist(points, centres).argmin(1)
        if torch.equal(nearest, groups):
            break
        groups = nearest
        member = F.one_hot(groups, count).to(points)
        sizes = member.sum(0)[:, None]
        centres = torch.where(sizes > 0, member.T @ points / sizes.clamp(min=1), centres)
    return float(((points - centres[groups]) ** 2).sum()), groups, centres


def _silhouettes(points: Tensor, groups: Tensor, count: int) -> Tensor:
    """Return (b - a) / max(a, b) of each point (N,): a its mean distance to its own cluster, b to the next.

    Source: Rousseeuw 1987, "Silhouettes: a graphical aid to the interpretation and validation of clusters".
    """
    member = F.one_hot(groups, count).to(points)
    sizes = member.sum(0)
    sums = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist") @ member
    own = sums.gather(1, groups[:, None])[:, 0] / (sizes[groups] - 1).clamp(min=1)
    others = (sums / sizes.clamp(min=1)).masked_fill((member > 0) | (sizes == 0), torch.inf).amin(1)
    value = (others - own) / torch.maximum(own, others).clamp(min=1e-12)
    return torch.where((sizes[groups] > 1) & others.isfinite(), value, torch.zeros_like(value))
