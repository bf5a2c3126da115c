"""How near joints are to the true ones: PCP, PDJ, PCK and errors, with bootstrap intervals over the pictures.

Places are (N, J, 2) in pixels of each picture, N pictures of J joints; known (N, J) says which joints are
marked. A figure is a ratio of sums over pictures; what is not marked counts in neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resight.core import seeds

STRICT = 0.5
"""Share of a limb's length within which both of its ends must be."""
DRAWS, LEVEL = 2000, 0.95
PARTS = {
    "upper_arm": ("shoulder", "elbow"), "lower_arm": ("elbow", "wrist"), "upper_leg": ("hip", "knee"),
    "lower_leg": ("knee", "ankle"),
}  # fmt: skip
"""Limbs that PCP is published of, by the joints at their ends (Toshev and Szegedy 2014, table 1)."""

Places = NDArray[np.float64]
Known = NDArray[np.bool_]


@dataclass(frozen=True)
class Counted:
    """What a figure counts in each picture.

    Attributes:
        hits: how much of it, (N,).
        of: of how many, (N,).
    """

    hits: NDArray[np.float64]
    of: NDArray[np.float64]

    @property
    def figure(self) -> float | None:
        """The ratio of the sums; None if nothing counts."""
        total = self.of.sum()
        return float(self.hits.sum() / total) if total else None

    def interval(self) -> tuple[float, float] | None:
        """Return the 95 % interval by the percentile bootstrap over pictures; None for fewer than two.

        Source: Efron 1979, "Bootstrap methods: another look at the jackknife". The draws are fixed, so the
        same input gives the same interval.
        """
        return interval_of(self.hits, self.of)

    def __add__(self, other: "Counted") -> "Counted":
        return Counted(self.hits + other.hits, self.of + other.of)

    def __getitem__(self, rows: NDArray) -> "Counted":
        return Counted(self.hits[rows], self.of[rows])


def interval_of(hits: NDArray[np.float64], of: NDArray[np.float64]) -> tuple[float, float] | None:
    """Return the 95 % interval of sum(hits) / sum(of) by resampling pictures, both (N,)."""
    used = of > 0
    hits, of, count = hits[used], of[used], int(used.sum())
    if count < 2:
        return None
    drawn = (seeds.uniform(0, 0, np.arange(DRAWS * count), "bootstrap/pose") * count).astype(np.int64)
    rows = drawn.reshape(DRAWS, count)
    low, high = np.quantile(hits[rows].sum(1) / of[rows].sum(1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def parts_of(names: Sequence[str]) -> dict[str, tuple[tuple[int, int], ...]]:
    """Return the limbs of arms and legs by part: pairs of joints on one side, such as left_hip, left_knee."""
    number, found = {name.lower(): i for i, name in enumerate(names)}, {}
    for part, ends in PARTS.items():
        pairs = [tuple(number.get(f"{side}_{end}", -1) for end in ends) for side in ("left", "right")]
        if all(min(pair) >= 0 for pair in pairs):
            found[part] = tuple((a, b) for a, b in pairs)
    return found


def pcp(said: Places, true: Places, known: Known, limbs: Sequence[tuple[int, int]]) -> Counted:
    """Return how many limbs are right, in its strict form: both ends within half of the true limb's length.

    Source: Ferrari, Marin-Jimenez and Zisserman 2008, "Progressive search space reduction"; each end is
    judged by itself, as Pishchulin et al. 2012 and the tables of Leeds Sports Pose do. (The loose form takes
    the mean of the two distances.) A limb whose ends are not both marked does not count.
    """
    apart, hits, of = distances(said, true), np.zeros(len(said)), np.zeros(len(said))
    for a, b in limbs:
        both = known[:, a] & known[:, b]
        reach = STRICT * np.linalg.norm(true[:, a] - true[:, b], axis=-1)
        hits += both & (apart[:, a] <= reach) & (apart[:, b] <= reach)
        of += both
    return Counted(hits, of)


def pdj(said: Places, true: Places, known: Known, torso: tuple[int, int], share: float) -> Counted:
    """Return how many joints are within a share of the torso's diameter (percentage of detected joints).

    Source: Sapp and Taskar 2013, "MODEC"; Toshev and Szegedy 2014, section 4.1. Pictures whose torso is not
    marked at both ends do not count.
    """
    a, b = torso
    reach = share * np.linalg.norm(true[:, a] - true[:, b], axis=-1)
    counts = known & (known[:, a] & known[:, b] & (reach > 0))[:, None]
    return _within(said, true, counts, reach)


def pck(said: Places, true: Places, known: Known, share: float) -> Counted:
    """Return how many joints are within a share of the larger side of the box around the person's joints.

    Source: Yang and Ramanan 2013, "Articulated human detection with flexible mixtures of parts", section 6.
    """
    return _within(said, true, known, share * sizes(true, known))


def error(said: Places, true: Places, known: Known, lengths: NDArray[np.float64]) -> Counted:
    """Return the mean distance of each picture's joints over a length of it, a picture counting once.

    Args:
        said: the places that are judged.
        true: the true ones.
        known: which are marked.
        lengths: of each picture, (N,): its person's size, or the distance of the eyes; one of 0 does not
            count.
    """
    of = known.any(1) & (lengths > 0)
    apart = np.where(known, distances(said, true), 0).sum(1) / np.maximum(known.sum(1), 1)
    return Counted(np.where(of, apart / np.where(lengths > 0, lengths, 1), 0.0), of.astype(np.float64))


def between(true: Places, known: Known, ends: tuple[int, int]) -> NDArray[np.float64]:
    """Return the distance of two joints of each picture, (N,); 0 where one is not marked."""
    a, b = ends
    return np.where(known[:, a] & known[:, b], np.linalg.norm(true[:, a] - true[:, b], axis=-1), 0.0)


def sizes(true: Places, known: Known) -> NDArray[np.float64]:
    """Return the larger side of the box around each picture's marked joints, in pixels, (N,)."""
    low = np.where(known[..., None], true, np.inf).min(1)
    high = np.where(known[..., None], true, -np.inf).max(1)
    return np.where(known.any(1), (high - low).max(1), 0.0)


def distances(said: Places, true: Places) -> NDArray[np.float64]:
    """Return how far each joint is from the true one, in pixels, (N, J)."""
    return np.linalg.norm(said - true, axis=-1)


def _within(said: Places, true: Places, counts: Known, reach: NDArray[np.float64]) -> Counted:
    near = counts & (distances(said, true) <= reach[:, None])
    return Counted(near.sum(1).astype(np.float64), counts.sum(1).astype(np.float64))


def mean_pose(places: Places, known: Known) -> NDArray[np.float64]:
    """Return the mean place of each joint over the pictures that mark it, (J, 2); the middle where none does.

    Args:
        places: in shares of the pictures' sides, (N, J, 2).
        known: which are marked, (N, J).
    """
    count = known.sum(0)[:, None]
    total = np.where(known[..., None], places, 0).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), 0.5)


def told(counted: Mapping[str, Counted], percent: float = 100.0) -> dict[str, float | list[float] | None]:
    """Return figures as JSON, in percent: each with its interval under "NAME_interval"."""
    found: dict[str, float | list[float] | None] = {}
    for name, one in counted.items():
        figure, interval = one.figure, one.interval()
        if figure is not None:
            found[name] = percent * figure
            found[f"{name}_interval"] = [percent * edge for edge in interval] if interval else None
    return found
