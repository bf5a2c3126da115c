"""What a test of a task gave, and how it is shown."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor


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
    """

    picture: NDArray[Any]
    caption: str
    name: str


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
