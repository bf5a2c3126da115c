"""What a test of a task gave, and how it is shown."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.data.dataset import Split

SIDE = 320
"""Shorter side that pictures of a report are decoded for, in pixels."""
TITLES = {"worst": "The worst answers", "typical": "Typical answers", "best": "The best answers"}
"""Of the groups of drawings, in their order."""


@dataclass(frozen=True)
class Headline:
    """The figure that a test is about.

    Attributes:
        key: its name among the figures.
        figure: its value.
        unit: what it is called, "localization error".
        interval: of 95 %; None where there is none.
        words: what it means, in a sentence or two.
        guess: the figure of the best answer that sees no picture; None if that is not known.
        percent: whether it is a share in percent.
    """

    key: str
    figure: float
    unit: str
    interval: tuple[float, float] | None
    words: str
    guess: float | None = None
    percent: bool = True

    def said(self, value: float) -> str:
        """Return a value of this figure in words."""
        return f"{value:.2f} %" if self.percent else f"{value:.3f}"

    def line(self, *, guess: bool = True) -> str:
        """Return the figure in a line, with that of an answer that sees no picture."""
        interval = ""
        if self.interval:
            low, high = (self.said(v).removesuffix(" %") for v in self.interval)
            interval = f" (95 % interval {low} to {high})"
        blind = ""
        if guess and self.guess is not None:
            blind = f"; without looking at the picture {self.said(self.guess)}"
        return f"{self.unit} {self.said(self.figure)}{interval}{blind}"


@dataclass(frozen=True)
class Drawing:
    """A picture with what was said and what is true drawn on it.

    Attributes:
        picture: (H, W, 3) uint8.
        caption: what was said, in words.
        name: of the picture.
        across: how many pictures stand side by side in it.
    """

    picture: NDArray[Any]
    caption: str
    name: str
    across: int = 1


@dataclass(frozen=True)
class Shown:
    """A group of drawings of a report: title, an explanation, and the drawings."""

    title: str
    words: str
    drawings: Sequence[Drawing]


@dataclass(frozen=True)
class Table:
    """A table of a report: title, an explanation, the names of its columns, and its rows."""

    title: str
    words: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


class Result(Protocol):
    """What a test gave."""

    @property
    def indices(self) -> Tensor:
        """Which pictures of the split were answered, (N,)."""
        ...

    def part(self, rows: Tensor) -> "Result":
        """Return the result of some of its pictures, by their rows."""
        ...

    def figures(self) -> dict[str, Any]:
        """Return the figures as plain JSON types: "n", that of the headline, "baselines" and others."""
        ...

    def headline(self) -> Headline:
        """Return the figure that the test is about."""
        ...

    def shown(self) -> Sequence[Shown]:
        """Return the best, typical and worst pictures, drawn."""
        ...

    def tables(self) -> Sequence[Table]:
        """Return further tables of a report."""
        ...


@dataclass(frozen=True)
class Answered:
    """Answers for N pictures of a split: what the results of tasks have in common.

    Attributes:
        said: the answers, N.
        indices: which pictures of the split they are for, (N,).
        split: the tested pictures.
        train: the training pictures, which baselines are fitted on; None if they are not known.
    """

    said: tuple[Any, ...]
    indices: Tensor
    split: Split
    train: Split | None = None

    @classmethod
    def of(cls, answers: Sequence[tuple[int, Any]], split: Split, train: Split | None = None) -> Self:
        """Return the result of (index, answer) pairs."""
        indices = torch.tensor([index for index, _ in answers], dtype=torch.int64)
        return cls(tuple(answer for _, answer in answers), indices, split, train)

    def part(self, rows: Tensor) -> Self:
        """Return the result of some of its pictures, by their rows."""
        said = tuple(self.said[row] for row in rows.tolist())
        return replace(self, said=said, indices=self.indices[rows])

    def file_name(self, row: int) -> str:
        """Return the name of a picture's file."""
        return Path(self.split.picture_name(int(self.indices[row]))).name

    def ranked(
        self, goodness: Tensor, words: str, draw: Callable[[int], Drawing], count: int = 8
    ) -> list[Shown]:
        """Return the worst, typical and best pictures, drawn.

        Args:
            goodness: of each answer, higher is better, (N,).
            words: what the drawings show.
            draw: draws the picture of a row.
            count: pictures of a group, at most.
        """
        rows = best_typical_worst(goodness, count)
        return [Shown(TITLES[k], words, [draw(row) for row in rows[k]]) for k in TITLES if rows[k]]


def number(value: float | None) -> str:
    """Return a figure of a table with three digits, "-" for none."""
    return "-" if value is None else f"{value:.3f}"


def best_typical_worst(goodness: Tensor, count: int = 8) -> dict[str, list[int]]:
    """Return rows of the best, the middle and the worst pictures, none of them twice.

    Args:
        goodness: higher is better, (N,).
        count: of each, at most.
    """
    order = goodness.argsort(descending=True, stable=True).tolist()
    each = min(count, max(1, len(order) // 3))
    best, worst = order[:each], order[each:][-each:][::-1]
    rest = order[each : len(order) - len(worst)]
    middle = max(0, (len(rest) - each) // 2)
    return {"best": best, "typical": rest[middle : middle + each], "worst": worst}
