"""How the report speaks of a classifier: of one class per picture, or of any number of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from resight.render.charts import interval_scale
from resight.render.frequencies import VERBS
from resight.render.page import error, percent
from resight.tasks.classify.any_result import AnyClassesResult
from resight.tasks.classify.one_result import OneClassResult
from resight.tasks.classify.result import TestResult

MANY = 2000
"""Pictures from which on an error has two digits after the point."""


@dataclass(frozen=True)
class Headed:
    """The figure at the top.

    Attributes:
        figure: with its unit.
        unit: what it is called.
        interval: of 95 %, in percent.
        guess: the error of always answering the most frequent class, in percent; None where it says nothing.
        scale: the figure on a line, SVG or "".
    """

    figure: str
    unit: str
    interval: tuple[float, float]
    guess: float | None = None
    scale: str = ""


@dataclass(frozen=True)
class Column:
    """A further column of the table of classes.

    Attributes:
        title: of the column.
        key: of the figure, among those of a class.
        said: writes the figure.
    """

    title: str
    key: str
    said: Callable[[float | None], str]


class OfOne:
    """One class per picture."""

    verbs: ClassVar[tuple[str, str]] = VERBS
    """What happens on a wrong and on a right picture."""
    truth: ClassVar[str] = "the true class"
    """What the second map of an error is evidence for."""
    judged: ClassVar[str] = "pictures"
    """What a probability is about."""
    about_classes: ClassVar[str] = ""
    """What else must be known to read the table of classes."""
    columns: ClassVar[tuple[Column, ...]] = ()
    """The further columns of that table."""

    def headed(self, figures: dict[str, Any]) -> Headed:
        """Return the test error with its interval, beside that of guessing."""
        most = max(row["n"] for row in figures["per_class"].values())
        return _error(figures, 100 * (1 - most / figures["n"]) or None)

    def facts(self, figures: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the other figures, and what they are."""
        if figures["top5_error"] is None:
            return []
        five = "top-5 error: the true class is not among the first five answers"
        return [(f"{figures['top5_error']:.2f} %", five)]

    def beside(self, classes: Sequence[str]) -> str:
        """Return what stands beside an error's picture: its class is named with the map."""
        del classes
        return ""


class OfAny(OfOne):
    """Any number of classes per picture."""

    verbs: ClassVar[tuple[str, str]] = ("The first answer is wrong on", "The first answer is right on")
    truth: ClassVar[str] = "the one of its classes that the network thought least likely"
    judged: ClassVar[str] = "answers, yes or no for a class of a picture,"
    about_classes: ClassVar[str] = (
        "A class's error is the share of all pictures for which its yes or no is wrong; yes means a "
        "probability of 50 % or more."
    )
    columns: ClassVar[tuple[Column, ...]] = (
        Column("F1", "f1", percent),
        Column("average precision", "average_precision", error),
    )

    def headed(self, figures: dict[str, Any]) -> Headed:
        """Return the mean average precision; if no class has pictures, the one-error."""
        if figures["map"] is None:
            return _error(figures, None)
        return Headed(f"{figures['map']:.2f} %", "mean average precision", figures["map_interval"])

    def facts(self, figures: dict[str, Any]) -> list[tuple[str, str]]:
        """Return the one-error and the figures of all answers together."""
        low, high = figures["top1_interval"]
        one = f"one-error: the first answer is not one of the picture's classes ({low:.1f} to {high:.1f} %)"
        return [
            (f"{figures['top1_error']:.2f} %", one),
            (f"{figures['f1_micro'] or 0:.3f}", "micro F1: over all answers"),
            (f"{figures['f1_macro'] or 0:.3f}", "macro F1: mean over the classes"),
            (f"{figures['subset_error']:.2f} %", "pictures with at least one wrong class"),
        ]

    def beside(self, classes: Sequence[str]) -> str:
        """Return all classes of an error's picture."""
        return f"has {', '.join(classes) or 'no class'}"


def _error(figures: dict[str, Any], guess: float | None) -> Headed:
    """Return the error of the first answers, with its interval on a line."""
    shown, interval = figures["top1_error"], figures["top1_interval"]
    digits = 2 if figures["n"] >= MANY else 1
    scale = interval_scale(shown, interval, guess)
    return Headed(f"{shown:.{digits}f} %", "test error", interval, guess, scale)


KINDS: dict[type[TestResult], OfOne] = {OneClassResult: OfOne(), AnyClassesResult: OfAny()}


def kind_of(result: TestResult) -> OfOne:
    """Return how the report speaks of a result."""
    return KINDS[type(result)]
