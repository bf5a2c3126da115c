"""Diagnoses from learning curves alone, in the terms of textbooks.

The rules, in the order in which they are checked. L is the training loss, W the validation loss, T and V the
errors in percent; "a third" is of the epochs. Guessing is, for errors, always the most frequent class,
and for losses the same score for every class: ln C of C classes.

| word | rule |
| --- | --- |
| labels look shuffled | see `resight.training.suspicion`: only memorized |
| rate too high | L rises by `JUMP` in one epoch, and T by 3 points and `CERTAIN` standard errors |
| | L is above guessing by `ABOVE` in a tenth of the epochs and two; once is enough if T ends near guessing |
| rate too low | T and V are still `NOTHING` of guessing and L has changed by less than a tenth, steadily |
| rate too low, or too few epochs | T and V end above `UNFIT` of guessing, L above `NOTHING` of its cost |
| stopped too early | L falls in the last third by `STEADY` of its whole fall, T is above 0.1 of guessing |
| overfitting | W ends `TURNED` and `NOISE` above its least, before the last quarter, and L kept falling |
| data too small | V - T ends `GAP` points or more, and half of that was there after the first third |
| overfitting | the same gap, that opened later |
| underfitting | T and V both end above `UNFIT` of guessing, and L no longer falls |
| too few epochs | the same, and L still falls |
| perhaps guessing | the 95 % interval of V reaches guessing |

"Ends" is the mean of the last three epochs, so a spike in one of them has no effect.
So no training run is called fine while its errors are near guessing. Epochs whose loss is not a number are
left out and reported.

Training figures are of augmented pictures, smoothed labels and weights that move; validation figures of plain
pictures and the kept weights. So a training error above the validation error alone is no fault.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from resight.metrics.accuracy import wilson_interval
from resight.training.guessing import Guessing
from resight.training.suspicion import memorized

FEWEST = 4
"""Epochs below which a curve says nothing."""
JUMP, ABOVE, CERTAIN = 1.25, 1.5, 3.5
LASTS = 0.1
"""Share of the epochs in which a loss above guessing is no accident of the first steps."""
NOTHING = 0.9
STEADY = 0.27  # a straight line has a third, the end of an annealed rate 0.1 to 0.2
TURNED = 1.1
NOISE = 2.0  # standard errors of the mean loss over the pictures, whose deviation is about its mean
GAP = 10.0
UNFIT, FLAT = 0.35, 0.08

Rows = Sequence[dict[str, float]]


def diagnose(
    rows: Rows,
    chance: float,
    validation: int = 0,
    guessing: float | None = None,
    val_chance: float | None = None,
    training: int = 0,
) -> list[str]:
    """Return the diagnoses of a run's learning curves.

    Args:
        rows: one per epoch, as in metrics.csv.
        chance: error in percent of guessing, see `guessing_errors`.
        validation: number of validation pictures; the gap must exceed twice its standard error.
        guessing: training loss of the same score for every class; None if the loss has other parts, so that
            its height has no meaning.
        val_chance: as `chance`, on the validation pictures; None if it is the same.
        training: the number of training pictures; 0 uses their errors as they are.

    Returns:
        Sentences: one per diagnosis, with its figures; or one that nothing is wrong.
    """
    known = [row for row in rows if math.isfinite(row.get("train_loss", math.nan))]
    if len(known) < len(rows):
        lost = ", ".join(f"{row['epoch']:.0f}" for row in rows if row not in known)
        note = f"Left out: epoch {lost}, whose training loss is not a number: the learning rate was too high."
        return [*diagnose(known, chance, validation, guessing, val_chance, training), note]
    errors = Guessing(chance, chance if val_chance is None else val_chance, training, validation)
    found = _found(rows, Guess(errors.train_error, errors.val_error, guessing), errors)
    if len(rows) >= FEWEST and not any("val_error" in row for row in rows):
        found.append("Without a validation curve, overfitting would not be visible.")
    return found


@dataclass(frozen=True)
class Guess:
    """The error and loss of guessing.

    Attributes:
        error: on the training pictures, in percent.
        val_error: on the validation pictures, in percent.
        loss: on the training pictures; None if it is unknown.
    """

    error: float
    val_error: float
    loss: float | None

    def share(self, row: dict[str, float]) -> float:
        """Return the smaller of both errors of an epoch, as a share of guessing's."""
        val = row["val_error"] / max(self.val_error, 1e-9) if "val_error" in row else math.inf
        return min(row["train_error"] / max(self.error, 1e-9), val)


def _found(rows: Rows, guess: Guess, errors: Guessing) -> list[str]:
    """Return the diagnoses of curves without gaps."""
    if len(rows) < FEWEST:
        return [f"Too few epochs ({len(rows)}) for the curves to say anything; at least {FEWEST} are needed."]
    validation, end = errors.val, _mean(rows[-3:])
    if text := memorized(rows, len(rows), errors):
        return [f"The labels look shuffled: {text}."]
    near = guess.share(end) > UNFIT
    high = _above_guessing(rows, guess.loss, near=near) or _jumped(rows, errors.train)
    if not high and guess.share(end) >= NOTHING and _is_guessing(end, errors):
        return [_not_learned(rows, guess.error)]
    if near and not high and guess.loss is not None and end["train_loss"] > NOTHING * guess.loss:
        return [_hardly_learned(rows, guess)]
    found = [high] if high else []
    early = _too_early(rows, guess.error)
    if early and not high:
        found.append(early)
    turned = _turned(rows, validation)
    gap = _gap(rows, validation)
    if high:
        if gap or turned:
            found.append("Whether it also overfits is visible only at a lower rate.")
    elif turned or gap:
        found += [text for text in (turned, gap) if text]
    elif near and not early:
        found.append(_underfitting(rows) or _unfinished(rows))
    return found or [_not_told(rows, guess, validation) or _fine(rows, validation)]


def _mean(rows: Rows) -> dict[str, float]:
    """Return the mean of the figures that all of some epochs have."""
    shared = set(rows[0]).intersection(*rows)
    return {key: sum(row[key] for row in rows) / len(rows) for key in shared}


def _is_guessing(end: dict[str, float], errors: Guessing) -> bool:
    """Whether a training error cannot be distinguished from guessing; true if its pictures are unknown."""
    if not errors.train:
        return True
    wrong = round(end["train_error"] / 100 * errors.train)
    return wilson_interval(wrong, errors.train)[1] >= errors.train_error


def _advice(rows: Rows) -> str:
    rate = max(row["lr"] for row in rows)
    return f"The largest rate was {rate:.3g}; try a third of it, or a longer warm-up."


def _above_guessing(rows: Rows, guessing: float | None, *, near: bool) -> str:
    """Say if the training loss was above guessing for long, or at all in a run that ends near guessing."""
    above = [row for row in rows if guessing is not None and row["train_loss"] > ABOVE * guessing]
    if len(above) < (1 if near else max(2, math.ceil(LASTS * len(rows)))):
        return ""
    worst = max(above, key=lambda row: row["train_loss"])
    return (
        f"Learning rate too high: the training loss reached {worst['train_loss']:.3g} in epoch "
        f"{worst['epoch']:.0f}, above the {guessing:.3g} that guessing costs. {_advice(rows)}"
    )


def _jumped(rows: Rows, training: int) -> str:
    """Say if the training loss jumped from one epoch to the next, and the error with it."""
    jumps = [
        (before, row)
        for before, row in pairwise(rows)
        if row["train_loss"] > JUMP * before["train_loss"]
        and row["train_error"] - before["train_error"] > max(3, CERTAIN * _spread(before, row, training))
    ]
    if not jumps:
        return ""
    before, row = max(jumps, key=lambda pair: pair[1]["train_loss"] / pair[0]["train_loss"])
    more = f", and jumped {len(jumps) - 1} more times" if len(jumps) > 1 else ""
    return (
        f"Learning rate too high: the training loss jumped from {before['train_loss']:.3g} to "
        f"{row['train_loss']:.3g} in epoch {row['epoch']:.0f}{more}. {_advice(rows)}"
    )


def _spread(before: dict[str, float], row: dict[str, float], training: int) -> float:
    """Return the standard error of the difference of two training errors, in points; 0 if it is unknown."""
    shares = [min(max(r["train_error"] / 100, 0.01), 0.99) for r in (before, row)]
    return 100 * math.sqrt(sum(s * (1 - s) for s in shares) / training) if training else 0.0


def _not_learned(rows: Rows, chance: float) -> str:
    first, last = rows[0]["train_loss"], rows[-1]["train_loss"]
    error = f"the training error ended at {rows[-1]['train_error']:.1f} %, that of guessing is {chance:.1f} %"
    rises = sum(b["train_loss"] > a["train_loss"] * 1.02 for a, b in pairwise(rows))
    if abs(first - last) < 0.1 * first and not rises:
        return (
            f"Learning rate too low: {error}, and in {len(rows)} epochs the training loss changed only from "
            f"{first:.4g} to {last:.4g}, without jumps. The largest rate was "
            f"{max(r['lr'] for r in rows):.3g}; try ten times that. If that changes nothing, check the "
            "labels."
        )
    return (
        f"Nothing was learned: {error}. The rate may be too high, or the labels shuffled; try a tenth of the "
        f"largest rate, {max(row['lr'] for row in rows):.3g}, and resight check."
    )


def _hardly_learned(rows: Rows, guess: Guess) -> str:
    """Say that the errors are still near guessing, and by how much the loss has changed."""
    last = rows[-1]
    val = f" and the validation error at {last['val_error']:.1f} %" if "val_error" in last else ""
    cost = "" if guess.loss is None else f", where guessing costs {guess.loss:.4g}"
    return (
        f"Learning rate too low, or too few epochs: the training error ended at {last['train_error']:.1f} %"
        f"{val}, and that of guessing is {guess.error:.1f} %; in {len(rows)} epochs the training loss went "
        f"from {rows[0]['train_loss']:.4g} to {last['train_loss']:.4g}{cost}. The largest rate was "
        f"{max(row['lr'] for row in rows):.3g}; try three times that, or train longer."
    )


def _not_told(rows: Rows, guess: Guess, validation: int) -> str:
    """Say if too few validation pictures distinguish the error from guessing."""
    seen = [row for row in rows if "val_error" in row]
    if not seen or not validation:
        return ""
    _, val, _ = _ends(seen, validation)
    _, high = wilson_interval(round(val / 100 * validation), validation)
    if high < guess.val_error:
        return ""
    return (
        f"Perhaps no better than guessing: the validation error ended at {val:.1f} %, but {validation} "
        f"pictures allow up to {high:.1f} %, and that of guessing is {guess.val_error:.1f} %. Validate on "
        "more pictures."
    )


def _fall(rows: Rows) -> tuple[float, float]:
    """Return by how much the training loss fell in all, and in the last third; three epochs are averaged."""
    third, wide = max(1, len(rows) // 3), 3 if len(rows) >= 9 else 1
    end, before = (_mean(part)["train_loss"] for part in (rows[-wide:], rows[-wide - third : -third]))
    return rows[0]["train_loss"] - end, before - end


def _too_early(rows: Rows, chance: float) -> str:
    whole, late = _fall(rows)
    if whole <= 0 or late < STEADY * whole or rows[-1]["train_error"] <= 0.1 * chance:
        return ""
    return (
        f"Learning rate too low, or stopped too early: the training loss was still falling, by {late:.3g} of "
        f"{whole:.3g} in the last third of the epochs (a straight line would give a third). Train longer, or "
        f"with a rate above the largest one of {max(row['lr'] for row in rows):.3g}."
    )


def _turned(rows: Rows, validation: int) -> str:
    """Say whether the validation loss turned up while the training loss fell; three epochs are averaged."""
    seen = [row for row in rows if "val_loss" in row]
    means = [sum(r["val_loss"] for r in seen[i : i + 3]) / 3 for i in range(len(seen) - 2)]
    if not means:
        return ""
    best = min(range(len(means)), key=means.__getitem__)
    at, last = seen[best + 1], seen[-1]
    late = last["train_loss"] < at["train_loss"] and at["epoch"] <= 0.75 * last["epoch"]
    turned = max(TURNED, 1 + NOISE / math.sqrt(validation)) if validation else TURNED
    if means[-1] < turned * means[best] or not late:
        return ""
    return (
        f"Overfitting: the validation loss turned up after epoch {at['epoch']:.0f}, from {means[best]:.3g} "
        f"to {means[-1]:.3g}, while the training loss kept falling to {last['train_loss']:.3g}. Stop "
        "earlier, or add augmentation, weight decay or pictures."
    )


def _ends(seen: Rows, validation: int) -> tuple[float, float, float]:
    """Return training and validation error over the last three epochs, and the standard error of the gap."""
    train, val = (sum(r[k] for r in seen[-3:]) / len(seen[-3:]) for k in ("train_error", "val_error"))
    share = min(max(val / 100, 0.01), 0.99)
    return train, val, 200 * math.sqrt(share * (1 - share) / validation) if validation else 0.0


def _gap(rows: Rows, validation: int) -> str:
    """Say whether training and validation error end far apart, and whether they were so from early on."""
    seen = [row for row in rows if "val_error" in row]
    if not seen:
        return ""
    train, val, noise = _ends(seen, validation)
    if val - train < max(GAP, noise):
        return ""
    third = max(1, len(seen) // 3)
    part = seen[max(0, third - 2) : third + 1]
    early = sum(r["val_error"] - r["train_error"] for r in part) / len(part)
    what = f"the error ended at {train:.1f} % in training and {val:.1f} % in validation"
    if early >= 0.5 * (val - train):
        return (
            f"Data too small: {what}, and after a third of the epochs they were already {early:.0f} points "
            "apart. More pictures, stronger augmentation or pretrained weights (--recipe fine-tune) will "
            "help more than more epochs."
        )
    return (
        f"Overfitting: {what}; the gap opened in the later epochs (it was {early:.0f} points after a "
        "third). Add augmentation, weight decay or pictures."
    )


def _underfitting(rows: Rows) -> str:
    whole, late = _fall(rows)
    if late > FLAT * max(whole, 1e-9):
        return ""
    return (
        f"Underfitting: the training error ended at {rows[-1]['train_error']:.1f} % and hardly falls. "
        "Try pretrained weights, a larger network, less augmentation or weight decay, or larger pictures, "
        "and check the labels."
    )


def _unfinished(rows: Rows) -> str:
    whole, late = _fall(rows)
    return (
        f"Too few epochs: the training error ended at {rows[-1]['train_error']:.1f} %, and the training loss "
        f"still fell by {late:.3g} of {whole:.3g} in the last third of the epochs. Train longer, or start "
        "from pretrained weights."
    )


def _fine(rows: Rows, validation: int) -> str:
    seen = [row for row in rows if "val_error" in row]
    if not seen:
        error = rows[-1]["train_error"]
        return f"Nothing wrong in the curve: it levels off at a training error of {error:.1f} %."
    train, val, noise = _ends(seen, validation)
    within = ""
    if val - train >= GAP:
        within = (
            f" They are {val - train:.0f} points apart, but {validation} pictures alone give an error of "
            f"{noise:.0f}."
        )
    return (
        "Nothing wrong in the curves: both fall and level off together. In the last epochs the error is "
        f"{train:.1f} % in training and {val:.1f} % in validation.{within}"
    )
