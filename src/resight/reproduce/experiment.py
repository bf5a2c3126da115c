"""The parts of an experiment: trainings, the figures from them, and the claim that they test."""

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
    from resight.service.run.run import Run


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training of an experiment: the arguments of a `resight` command.

    Attributes:
        condition: its name in the results, such as "plain-20".
        data: an argument of `open_dataset`, the name of a set that the experiment makes, "--data" for the
            user's data, or "--data 2" for the second.
        recipe: its name; empty for a classic pipeline and a GAN, which have none.
        words: key=value settings on top of the recipe. `{CONDITION}` stands for the run of an earlier
            training with the same seed, `{FILE}` for a file of `Experiment.files`.
        command: "train" or "train-gan".
        task: what is learned; "" for classification.
    """

    condition: str
    data: str = "cifar10"
    recipe: str = "he2015-cifar"
    words: tuple[str, ...] = ()
    command: str = "train"
    task: str = ""


@dataclass(frozen=True)
class Made:
    """A file that the experiment makes from a finished run, such as other starting weights.

    Attributes:
        condition: of the run.
        write: writes it, from the run in the laboratory.
    """

    condition: str
    write: "Callable[[Laboratory, Run, Path], Any]"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The scale of an experiment.

    Attributes:
        name: "full" (the paper's protocol), "smoke" (the same code in minutes) or "part".
        epochs: replace the recipe's; None keeps them.
        pictures: number of training pictures to keep, equally from all classes; None keeps all.
        tested: number of test pictures to keep; None keeps all.
        settings: key=value settings on top of the recipe and the experiment's own, for every training that
            has a recipe.
    """

    name: str = "full"
    epochs: int | None = None
    pictures: int | None = None
    tested: int | None = None
    settings: tuple[str, ...] = ()

    def words(self) -> str:
        """Return a description for the reader."""
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
        own: the interval of the value with a single seed: over the pictures drawn; the value itself twice if
            nothing is random, as for a count; None if unknown.
    """

    values: tuple[float, ...]
    own: tuple[float, float] | None = None

    @property
    def mean(self) -> float:
        """The mean over the seeds."""
        return float(np.mean(self.values))

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval: of the mean over seeds (Student) or of the single value; None if unknown."""
        count = len(self.values)
        if count == 1:
            return self.own
        half = stats.t.ppf(0.975, count - 1) * np.std(self.values, ddof=1) / math.sqrt(count)
        return self.mean - float(half), self.mean + float(half)


@dataclass(frozen=True)
class Row:
    """A figure of an experiment.

    Attributes:
        condition: what was measured, such as "plain-20"; a slash separates what it was tested on.
        metric: such as "test-error".
        measure: the figure; None if its training failed.
        unit: of the figure: "%" or none.
        published: id of the published figure, see `resight.core.published`; "" if none is known.
    """

    condition: str
    metric: str
    measure: Measure | None
    unit: str = "%"
    published: str = ""


@dataclass(frozen=True)
class Plot:
    """A line chart to draw.

    Attributes:
        title: above the chart.
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
        claim: its result, in a sentence.
        rows: figures, measured in a laboratory where the trainings have run.
        holds: whether the claim holds, from the figures: comparisons joined by `and`, `or`, `all` and `any`,
            without negation, so that `judge` can count all doubt against it or for it.
        parts: of the claim, each a sentence and whether it holds, if they can have different results.
        caveat: another explanation of the figures, in a sentence; empty if none is known.
        trainings: the trainings to run.
        smoke: the scale that takes minutes.
        sets: data sets that the experiment makes: name to a function that writes one into a folder.
        files: that it makes from its runs: name to what is made.
        plots: its charts.
        needs: the data that the user must give, one for each --data.
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
    files: Mapping[str, Made] = field(default_factory=dict)
    plots: "Callable[[Laboratory], Iterator[Plot]] | None" = None
    needs: tuple[str, ...] = ()
    boxed: bool = False

    def before(self, training: Training) -> list[Training]:
        """Return the trainings that one needs: named by its words, or the source of a file that they name."""
        words = " ".join(training.words)
        named = {made.condition for name, made in self.files.items() if f"{{{name}}}" in words}
        return [t for t in self.trainings if t.condition in named or f"{{{t.condition}}}" in words]
