"""Whether a training run learns anything that also holds for other pictures, tested by intervals.

Skill is the share of guessing's errors that are avoided. Each claim needs enough pictures to be certain:

- *only memorized*: the training skill is `MEMORIZED` or more, the validation error does not differ from
  guessing, but differs from that of a network that carries `CARRIED` of its training skill over to other
  pictures. Shuffled labels carry over nothing.
- *nothing learned*: the training error cannot be distinguished from guessing, but differs from a skill of
  `LEARNT`.
- *hardly anything learned*, at the end only: the training error differs from a skill of `HARDLY`, the
  validation error cannot be distinguished from guessing, and its skill is at most half of the training's.

With shuffled labels, ten classes and a perfect training error, 100 validation pictures are enough; two
classes need 280, and with 21 to 44 nothing is claimed from their error.

A curve checked after every epoch would raise a false alarm sooner or later. So it is checked
`LOOKS` times, and `LEVEL` is divided among them. A check takes the median error of the epochs since the check
before, five or more if there are, so that a spike does not count. Validation pictures are counted once: they
are a sample, and the same ones answer in every epoch. Training pictures are the whole population, so each of
their answers counts.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median_low

from resight.metrics.accuracy import wilson_interval
from resight.training.guessing import Guessing
from resight.training.optimizer import head_epochs
from resight.training.recipe import Recipe
from resight.training.schedules import rising_share

LOOKS = (0.4, 0.6, 0.8, 1.0)
"""Shares of the epochs after which a run is judged."""
LATE = 0.6
"""The first look at which it can be said that nothing was learned: deep networks may begin slowly."""
LEVEL = 1e-3
"""Chance of a false claim in a whole run, at most, where skill is just what the rule allows."""
WINDOW, FEWEST = 5, 3
"""Epochs that a look takes at least, and how many of them must be after the quiet ones."""
LEARNT, HARDLY, CARRIED = 0.2, 0.25, 1 / 3
MEMORIZED = 0.3
"""Least training skill of a network that could carry anything over."""
TOLD = NormalDist().inv_cdf(0.995)
"""What is guessing shall look like it: an interval of 99 %."""
STRICT = NormalDist().inv_cdf(1 - LEVEL / len(LOOKS))


def quiet_share(recipe: Recipe, steps: int) -> float:
    """Return the share of a training, its beginning, in which nothing is suspicious yet.

    In it the rate rises, or only the head is trained.

    Args:
        recipe: the settings.
        steps: of the whole training.
    """
    return max(rising_share(recipe, steps), head_epochs(recipe) / recipe.epochs)


def looks(epochs: int) -> dict[int, int]:
    """Return the epochs after which a run is checked, each with the first epoch that counts."""
    ends = sorted({math.ceil(share * epochs) for share in LOOKS})
    starts = [0, *ends[:-1]]
    return {end: max(0, min(start, end - WINDOW)) + 1 for start, end in zip(starts, ends, strict=True)}


def suspicion(
    history: Sequence[dict[str, float]], epochs: int, guessing: Guessing, quiet: float = 0.0
) -> str | None:
    """Return what is wrong so far; None if nothing is, or this epoch is not checked.

    Args:
        history: one row per epoch, as in metrics.csv.
        epochs: of the whole training.
        guessing: what the errors are compared with.
        quiet: share of the epochs, at the start, that are not checked, see `quiet_share`.
    """
    judged = _judged(history, epochs, guessing, quiet)
    if not judged:
        return None
    done, (train, val) = len(history), judged
    found = _only_memorized(train, val)
    if done >= LATE * epochs:
        found = found or _nothing_learned(train)
    if done == epochs:
        found = found or _hardly_learned(train, val)
    return f"after {done} of {epochs} epochs {found}" if found else None


def memorized(history: Sequence[dict[str, float]], epochs: int, guessing: Guessing) -> str | None:
    """Say if a run only memorized, as `suspicion` does; None if that is not certain."""
    judged = _judged(history, epochs, guessing, 0.0)
    return _only_memorized(*judged) if judged else None


def _judged(
    history: Sequence[dict[str, float]], epochs: int, guessing: Guessing, quiet: float
) -> "tuple[Errors, Errors] | None":
    """Return the training and the validation error of a check; None if this epoch is not checked."""
    start = looks(epochs).get(len(history))
    if start is None:
        return None
    rows = history[max(start - 1, math.ceil(quiet * epochs)) :]
    if len(rows) < FEWEST:
        return None
    seen = [row for row in rows if "val_error" in row]
    return (
        Errors.of(rows, "train_error", guessing.train_error, guessing.train * len(rows)),
        Errors.of(seen, "val_error", guessing.val_error, guessing.val),
    )


@dataclass(frozen=True)
class Errors:
    """The median error of some epochs, with its interval.

    Attributes:
        error: in percent.
        guess: error in percent of guessing.
        count: number of answers; 0 if it is unusable.
    """

    error: float
    guess: float
    count: int

    @classmethod
    def of(cls, rows: Sequence[dict[str, float]], key: str, guess: float, count: int) -> "Errors":
        """Return those of some epochs."""
        error = median_low(row[key] for row in rows) if rows else 0.0
        return cls(error, guess, count if rows and guess > 0 else 0)

    def interval(self, z: float = STRICT) -> tuple[float, float]:
        """Return the interval of the error, in percent."""
        return wilson_interval(round(self.error / 100 * self.count), self.count, z)

    @property
    def skill(self) -> float:
        """The share of guessing's errors that is avoided."""
        return 1 - self.error / self.guess

    @property
    def is_guessing(self) -> bool:
        """Whether the error cannot be distinguished from guessing (`TOLD`)."""
        return bool(self.count) and self.interval(TOLD)[1] >= self.guess

    def is_below(self, skill: float) -> bool:
        """Return whether the skill is certainly below a bound (`STRICT`)."""
        return bool(self.count) and self.interval()[0] > (1 - skill) * self.guess


def _only_memorized(train: Errors, val: Errors) -> str | None:
    if not train.count or not val.is_guessing:
        return None
    skill = 1 - train.interval()[1] / train.guess
    if skill < MEMORIZED or not val.is_below(CARRIED * skill):
        return None
    return (
        f"the training error is {train.error:.1f} %, but the validation error ({val.error:.1f} %) is no "
        f"better than guessing ({val.guess:.1f} %): the labels look shuffled, or the validation pictures are "
        "of a different kind"
    )


def _nothing_learned(train: Errors) -> str | None:
    if not train.is_guessing or not train.is_below(LEARNT):
        return None
    return (
        f"the training error ({train.error:.1f} %) is no better than guessing ({train.guess:.1f} %): the "
        "labels may be shuffled, or the learning rate is wrong"
    )


def _hardly_learned(train: Errors, val: Errors) -> str | None:
    if not train.is_below(HARDLY) or not val.is_guessing or val.skill > train.skill / 2:
        return None
    return (
        f"the training error ({train.error:.1f} %) is hardly better than guessing ({train.guess:.1f} %), and "
        f"the validation error ({val.error:.1f} %) is no better: the labels may be shuffled, the learning "
        "rate wrong, or the epochs too few"
    )
