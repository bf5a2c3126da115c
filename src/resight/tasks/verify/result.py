"""What a test of verification gave: figures over pairs, with intervals over people, and the hardest pairs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.core.figures import to_json
from resight.data.dataset import Split
from resight.metrics import verification as v
from resight.tasks.result import Answered, Drawing, Headline, Shown, Table, number

MOST = 3000
"""Pictures whose pairs are compared; of more, evenly spaced ones."""
FEW = 10
"""Fewer validation people give a threshold that may be far off for others."""
GREY = 16
"""Side of the pictures that are compared without a network."""
SIDE, HARDEST = 160, 8
"""Height of each picture of a pair in the report, in pixels; pairs of each kind."""


@dataclass(frozen=True)
class Answer:
    """What is known of a picture.

    Attributes:
        embedding: (D,) float32.
        fitted: threshold, false-match rate and people of the network, see `EmbeddingHead`.
    """

    embedding: NDArray[np.float32]
    fitted: tuple[float, ...]


@dataclass(frozen=True)
class Compared:
    """Figures of an answer that others are compared with, see `VerifyResult.figures`."""

    auc: float
    eer: float
    tar_at_far: Mapping[str, float]
    rank1: float | None

    @classmethod
    def of(
        cls, curve: tuple[NDArray[np.float64], NDArray[np.float64]], right: NDArray[np.bool_]
    ) -> "Compared":
        """Return the figures of a ROC curve, and of which nearest pictures are of the same person."""
        accepts = {name: v.true_accepts(*curve, rate) for name, rate in v.RATES.items()}
        return cls(v.auc(*curve), v.equal_error(*curve), accepts, float(right.mean()) if len(right) else None)

    def row(self, name: str) -> list[str]:
        """Return it as a row of a table."""
        return [name, *map(number, (self.auc, self.eer, *self.tar_at_far.values(), self.rank1))]


@dataclass(frozen=True)
class AtThreshold:
    """What a network's threshold accepts.

    Attributes:
        false_match: the rate that it was fitted for; None where its release gave it.
        people: how many it was fitted on; None where its release gave it.
        true_accepts: share of the pairs of one person that are accepted.
        false_matches: share of the pairs of two people that are accepted.
    """

    false_match: float | None
    people: int | None
    true_accepts: float
    false_matches: float

    @property
    def origin(self) -> str:
        """Where the threshold comes from, in words."""
        if self.people is None:
            return "is that of its release"
        few = ", too few to hold for others" if self.people < FEW else ""
        return f"was fitted on {self.people} people{few}, for a false-match rate of {self.false_match:.2g}"


@dataclass(frozen=True)
class VerifyResult(Answered):
    """Embeddings of pictures of known people."""

    said: tuple[Answer, ...]

    @classmethod
    def of(cls, answers: Sequence[tuple[int, Answer]], split: Split, train: Split | None = None) -> Self:
        """Return the result of (index, answer) pairs; pictures of unknown people do not count."""
        known = [(index, answer) for index, answer in answers if split.labels[index] >= 0]
        rows = np.unique(np.linspace(0, len(known) - 1, min(MOST, len(known))).astype(int))
        return super().of([known[row] for row in rows], split, train)

    @cached_property
    def names(self) -> list[str]:
        """The people, sorted."""
        return sorted({self.split.class_names(i)[0] for i in self.indices.tolist()})

    @cached_property
    def people(self) -> NDArray[np.int64]:
        """Number of the person on each picture, (N,)."""
        number = {name: n for n, name in enumerate(self.names)}
        return np.array([number[self.split.class_names(i)[0]] for i in self.indices.tolist()], np.int64)

    @cached_property
    def distances(self) -> NDArray[np.float64]:
        """Of every two pictures, (N, N)."""
        vectors = np.stack([answer.embedding for answer in self.said])
        return v.distances_of(vectors, vectors)

    @cached_property
    def pairs(self) -> v.Pairs:
        """All pairs, nearest first."""
        return v.pairs_of(self.distances, self.people)

    @cached_property
    def plain(self) -> Compared:
        """Figures of the same pairs by grey levels alone."""
        vectors = np.stack([_grey(self.split, index) for index in self.indices.tolist()])
        distances = v.distances_of(vectors, vectors)
        curve = v.roc(v.pairs_of(distances, self.people))
        right, _ = v.rank1(distances, self.people)
        return Compared.of(curve, right)

    @cached_property
    def drawn(self) -> NDArray[np.float64]:
        """Area, equal error rate and true accepts as people are drawn again, (draws, 2 + rates)."""
        accepts = [partial(v.true_accepts, rate=rate) for rate in v.RATES.values()]
        return v.over_people(self.pairs, len(self.names), [v.auc, v.equal_error, *accepts])

    @property
    def fitted(self) -> tuple[float, ...] | None:
        """The threshold, its false-match rate and its people; None if none was fitted."""
        return self.said[0].fitted if self.said[0].fitted[0] >= 0 else None

    @property
    def at_threshold(self) -> AtThreshold | None:
        """What the fitted threshold does here; None if none was fitted."""
        if not self.fitted:
            return None
        limit, rate, people = self.fitted
        known = rate >= 0
        return AtThreshold(
            rate if known else None, int(people) if known else None, *v.rates_at(self.pairs, limit)
        )

    def figures(self) -> dict[str, Any]:
        """Return the figures as plain JSON types; shares are in [0, 1].

        "auc", "eer"; "tar_at_far": true accepts where at most 1e-2 and 1e-3 of the pairs of two people are
        accepted; "accuracy" over "folds" of people; "rank1": how often the nearest other picture is of the
        same person; "threshold", a distance, and "at_threshold": the false-match rate and the people that it
        was fitted for, and what it accepts here. Without pairs of both kinds: counts, and an "auc" of None.
        """
        pairs = self.pairs
        counts = {
            "n": len(self.said),
            "people": len(self.names),
            "pairs": {"same": int(pairs.same.sum()), "different": int((~pairs.same).sum())},
        }
        if not pairs.both:
            return {**counts, "auc": None, "auc_interval": None, "baselines": {}}
        curve, folds = v.roc(pairs), v.ten_folds(pairs, self.names)
        right, able = v.rank1(self.distances, self.people)
        low = [list(v.interval(column)) if len(column) else None for column in self.drawn.T]
        return {
            **counts,
            "auc": v.auc(*curve),
            "auc_interval": low[0],
            "eer": v.equal_error(*curve),
            "eer_interval": low[1],
            "tar_at_far": {name: v.true_accepts(*curve, rate) for name, rate in v.RATES.items()},
            "tar_interval": dict(zip(v.RATES, low[2:], strict=True)),
            "accuracy": folds.accuracy if folds else None,
            "accuracy_error": folds.error if folds else None,
            "folds": folds.count if folds else None,
            "rank1": float(right.mean()) if len(able) else None,
            "rank1_n": len(able),
            "threshold": self.fitted[0] if self.fitted else None,
            "at_threshold": to_json(self.at_threshold),
            "baselines": {
                "guessing": {"auc": 0.5, "rank1": self._guessed(able)},
                "grey levels": to_json(self.plain),
            },
        }

    def _guessed(self, able: NDArray[np.int64]) -> float | None:
        """Return how often a random other picture is of the same person."""
        counts = np.bincount(self.people)[self.people[able]]
        return float(((counts - 1) / (len(self.people) - 1)).mean()) if len(able) else None

    def headline(self) -> Headline:
        """Return the area under ROC."""
        figures = self.figures()
        if figures["auc"] is None:
            words = "It takes pairs of one person and pairs of two; here there are no such pairs."
            return Headline("auc", 0.0, "AUC unknown,", None, words, None, percent=False)
        accepts = 100 * figures["tar_at_far"]["1e-3"]
        words = (
            f"A pair of one person is nearer than a pair of two in {100 * figures['auc']:.1f} % of cases. "
            f"Where 1 in 1,000 pairs of two people is accepted, so are {accepts:.1f} % of those of one."
        )
        if at := self.at_threshold:
            own, other = 100 * at.true_accepts, 100 * at.false_matches
            words += (
                f" The network's threshold, {figures['threshold']:.3f}, {at.origin}; here it "
                f"accepts {own:.1f} % of the pairs of one person and {other:.2g} % of those of two."
            )
        interval = tuple(figures["auc_interval"]) if figures["auc_interval"] else None
        return Headline("auc", figures["auc"], "AUC", interval, words, 0.5, percent=False)

    def shown(self) -> list[Shown]:
        """Return the hardest pairs: of one person the farthest, of two the nearest; and the easiest."""
        same, other = np.flatnonzero(self.pairs.same), np.flatnonzero(~self.pairs.same)
        groups = (
            ("One person, told apart", "Pairs of one person with the largest distances.", same[::-1]),
            ("Two people, taken for one", "Pairs of two people with the smallest distances.", other),
            ("One person, recognized", "Pairs of one person with the smallest distances.", same),
        )
        return [
            Shown(title, words, [self._drawing(int(row)) for row in rows[:HARDEST]])
            for title, words, rows in groups
            if len(rows)
        ]

    def _drawing(self, row: int) -> Drawing:
        indices = [int(self.indices[p]) for p in self.pairs.pictures[row]]
        images = [self.split.decode(index, at_least=SIDE) for index in indices]
        scaled = [i.resize((max(1, round(i.width * SIDE / i.height)), SIDE)) for i in images]
        sheet = Image.new("RGB", (sum(i.width for i in scaled) + 4, SIDE), "white")
        sheet.paste(scaled[0], (0, 0))
        sheet.paste(scaled[1], (scaled[0].width + 4, 0))
        who = [self.split.class_names(index)[0] for index in indices]
        names = [Path(self.split.picture_name(index)).name for index in indices]
        said = " and ".join(dict.fromkeys(who))
        return Drawing(np.asarray(sheet), f"{said}, {self.pairs.distances[row]:.3f}", " ".join(names))

    def tables(self) -> list[Table]:
        """Return the figures, compared with guessing and with grey levels."""
        figures = self.figures()
        if figures["auc"] is None:
            return []

        own = Compared(figures["auc"], figures["eer"], figures["tar_at_far"], figures["rank1"])
        guess = Compared(0.5, 0.5, v.RATES, figures["baselines"]["guessing"]["rank1"])
        rows = [
            own.row("this network"), self.plain.row(f"grey levels, {GREY} x {GREY}"), guess.row("guessing")
        ]  # fmt: skip
        accuracy = ""
        if figures["accuracy"] is not None:
            accuracy = (
                f" Accuracy over {figures['folds']} folds of people, each tested at the threshold of the "
                f"others: {figures['accuracy']:.3f}, standard error {figures['accuracy_error']:.3f}."
            )
        words = (
            f"{figures['pairs']['same']:,} pairs of one of {figures['people']} people, "
            f"{figures['pairs']['different']:,} of two.{accuracy}"
        )
        header = ("", "AUC", "equal error", "true accepts at 1e-2", "at 1e-3", "nearest is the same person")
        return [Table("Compared with answers that know no faces", words, header, rows)]


def _grey(split: Split, index: int) -> NDArray[np.float64]:
    """Return a picture as 16 x 16 grey levels, less their mean, of length 1, (256,)."""
    small = split.decode(index, at_least=GREY).convert("L").resize((GREY, GREY), Image.Resampling.BILINEAR)
    levels = np.asarray(small, np.float64).ravel()
    levels = levels - levels.mean()
    return levels / max(float(np.linalg.norm(levels)), 1e-12)
