"""What an experiment is: trainings, the figures that come out of them, and the claim that they test."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy import stats

from resight.reproduce.claims import Figures

if TYPE_CHECKING:
    from resight.reproduce.laboratory import Laboratory


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of an experiment: the words of a call of `resight`.

    Attributes:
        condition: what it is called in the results, such as "plain-20".
        data: what `open_dataset` takes, the name of a set that the experiment makes, "--data": what the user
            gave, or "--data 2": what came second.
        recipe: its name; empty for a classic pipeline and a GAN, which have none.
        words: key=value over the recipe. `{CONDITION}` stands for the run of an earlier training, of the
            same seed.
        command: "train" or "train-gan".
    """

    condition: str
    data: str = "cifar10"
    recipe: str = "he2015-cifar"
    words: tuple[str, ...] = ()
    command: str = "train"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How far an experiment is taken.

    Attributes:
        name: "full" (the paper's protocol), "smoke" (the same code in minutes) or "part".
        epochs: in place of the recipe's; None leaves them.
        pictures: training pictures that are kept, of all classes alike; None keeps all.
        tested: test pictures that are kept; None keeps all.
        settings: key=value over the recipe and the experiment's own words, of every training that has a
            recipe.
    """

    name: str = "full"
    epochs: int | None = None
    pictures: int | None = None
    tested: int | None = None
    settings: tuple[str, ...] = ()

    def words(self) -> str:
        """Return what a reader must know of it."""
        parts = [
            f"{self.epochs} epochs" if self.epochs else "",
            f"{self.pictures:,} pictures" if self.pictures else "",
            f"{self.tested:,} tested" if self.tested else "",
            *self.settings,
        ]
        said = ", ".join(part for part in parts if part)
        return f"{self.name}: {said}; not the full protocol" if said else "the full protocol"


@dataclass(frozen=True)
class Measure:
    """A figure over the seeds.

    Attributes:
        values: one for each seed.
        own: the interval of the single value, where there is one seed: of the pictures drawn; the value
            itself twice where nothing was drawn, as of a count; None if it is unknown.
    """

    values: tuple[float, ...]
    own: tuple[float, float] | None = None

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def interval(self) -> tuple[float, float] | None:
        """95 %: of the mean over seeds by Student's distribution; of one seed its own; None if unknown."""
        count = len(self.values)
        if count == 1:
            return self.own
        half = stats.t.ppf(0.975, count - 1) * np.std(self.values, ddof=1) / math.sqrt(count)
        return self.mean - float(half), self.mean + float(half)


@dataclass(frozen=True)
class Row:
    """A figure of an experiment.

    Attributes:
        condition: what was measured, such as "plain-20"; a slash sets off what it was tested on.
        metric: such as "test-error".
        measure: the figure; None if its training failed.
        unit: of the figure: "%" or none.
        published: id of the published figure, see `resight.core.published`; none if none is known.
    """

    condition: str
    metric: str
    measure: Measure | None
    unit: str = "%"
    published: str = ""


@dataclass(frozen=True)
class Plot:
    """A figure to draw: lines over an axis.

    Attributes:
        title: above.
        across: name of the horizontal axis.
        up: name of the vertical axis.
        lines: label, horizontal and vertical values; one whose label is another's and ", training" is drawn
            dashed in the same colour.
    """

    title: str
    across: str
    up: str
    lines: Sequence[tuple[str, Sequence[float], Sequence[float]]]


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A published experiment.

    Attributes:
        paper: source, with section and table.
        claim: what it shows, in a sentence.
        rows: figures, measured in a laboratory where the trainings have run.
        holds: whether the claim does, from the figures: comparisons joined by `and`, `or`, `all` and `any`,
            none of them negated, so that `judge` can ask with all doubt against it and all doubt for it.
        parts: of the claim, each a sentence and whether it holds, where they can come out differently.
        caveat: what else may explain the figures, in a sentence; empty if nothing is known.
        trainings: what is trained.
        smoke: the scale that takes minutes.
        sets: data sets that the experiment makes: name to what writes one into a folder.
        plots: what is drawn of it.
        needs: what the user must give, one with each --data.
        boxed: whether it needs the pictures' boxes, which a part of a set does not have.
    """

    paper: str
    claim: str
    rows: "Callable[[Laboratory], Iterator[Row]]"
    holds: Callable[[Figures], bool]
    parts: tuple[tuple[str, Callable[[Figures], bool]], ...] = ()
    caveat: str = ""
    trainings: tuple[Training, ...] = ()
    smoke: Scale = field(default_factory=lambda: Scale(name="smoke", epochs=2, pictures=1000, tested=500))
    sets: "Mapping[str, Callable[[Laboratory, Path], Any]]" = field(default_factory=dict)
    plots: "Callable[[Laboratory], Iterator[Plot]] | None" = None
    needs: tuple[str, ...] = ()
    boxed: bool = False
