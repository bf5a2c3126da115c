"""What learning curves say, in the textbook's words, from the curves alone.

The rules, in the order in which they are asked. L is the training loss, W the validation loss, T and V the
errors in percent; "a third" is of the epochs. Guessing is, for errors, the commonest class for every picture,
and for losses the same score for every class: ln C of C classes.

| word | rule |
| --- | --- |
| rate too high | L rises by `JUMP` and T by 3 points in one epoch; or L is above guessing by `ABOVE` |
| rate too low | T is still `NOTHING` of guessing and L has moved by less than a tenth, steadily |
| stopped too early | L falls in the last third by `STEADY` of its whole fall, T is above 0.1 of guessing |
| overfitting | W ends `TURNED` above its least, had before the last quarter, while L went on falling |
| data too small | V - T ends `GAP` points or more, and half of that was there after the first third |
| overfitting | the same gap, that opened later |
| underfitting | T and V both end above `UNFIT` of guessing, and L falls no more |

Training figures are of augmented pictures, smoothed labels and weights that move; validation figures of plain
pictures and the kept weights. So a training error above the validation error means nothing by itself.
"""

import math
from collections.abc import Sequence
from itertools import pairwise

FEWEST = 4
"""Epochs below which a curve says nothing."""
JUMP, ABOVE = 1.25, 1.5
NOTHING = 0.9
STEADY = 0.27  # a straight line has a third, the end of an annealed rate 0.1 to 0.2
TURNED = 1.1
GAP = 10.0
UNFIT, FLAT = 0.35, 0.08

Rows = Sequence[dict[str, float]]


def diagnose(rows: Rows, chance: float, validation: int = 0, guessing: float | None = None) -> list[str]:
    """Say what the learning curves of a run show.

    Args:
        rows: one an epoch, as in metrics.csv.
        chance: error in percent of guessing the commonest class.
        validation: pictures that were validated on; the gap must then exceed twice its standard error.
        guessing: training loss of the same score for every class; None where the loss has other parts, and no
            height of it means anything.

    Returns:
        Sentences: a diagnosis each, with the figures that it rests on; one that nothing is wrong if so.
    """
    rows = [row for row in rows if math.isfinite(row.get("train_loss", math.nan))]
    if len(rows) < FEWEST:
        return [f"Too few epochs ({len(rows)}) for the curves to say anything; {FEWEST} are the least."]
    high = _too_high(rows, guessing)
    if not high and rows[-1]["train_error"] >= NOTHING * chance:
        return [_not_learned(rows, chance)]
    found = [high] if high else []
    early = _too_early(rows, chance)
    if early and not high:
        found.append(early)
    turned = _turned(rows)
    gap = _gap(rows, validation)
    if high:
        if gap or turned:
            found.append("Whether it also overfits shows once the rate is mended.")
    elif turned or gap:
        found += [text for text in (turned, gap) if text]
    elif not early and (unfit := _underfitting(rows, chance)):
        found.append(unfit)
    found = found or [_fine(rows, validation)]
    if not any("val_error" in row for row in rows):
        found.append("There is no validation curve, so overfitting would not show.")
    return found


def _too_high(rows: Rows, guessing: float | None) -> str:
    rate = max(row["lr"] for row in rows)
    advice = f"The largest rate was {rate:.3g}; try a third of it, or a longer warm-up."
    worst = max(rows, key=lambda row: row["train_loss"])
    if guessing is not None and worst["train_loss"] > ABOVE * guessing:
        return (
            f"Learning rate too high: the training loss reached {worst['train_loss']:.3g} in epoch "
            f"{worst['epoch']:.0f}, above the {guessing:.3g} that guessing costs. {advice}"
        )
    jumps = [
        (before, row)
        for before, row in pairwise(rows)
        if row["train_loss"] > JUMP * before["train_loss"] and row["train_error"] > before["train_error"] + 3
    ]
    if not jumps:
        return ""
    before, row = max(jumps, key=lambda pair: pair[1]["train_loss"] / pair[0]["train_loss"])
    more = f", and rose {len(jumps) - 1} more times like that" if len(jumps) > 1 else ""
    return (
        f"Learning rate too high: the training loss jumped from {before['train_loss']:.3g} to "
        f"{row['train_loss']:.3g} in epoch {row['epoch']:.0f}{more}. {advice}"
    )


def _not_learned(rows: Rows, chance: float) -> str:
    first, last = rows[0]["train_loss"], rows[-1]["train_loss"]
    error = f"the training error ended at {rows[-1]['train_error']:.1f} %, guessing errs by {chance:.1f} %"
    rises = sum(b["train_loss"] > a["train_loss"] * 1.02 for a, b in pairwise(rows))
    if abs(first - last) < 0.1 * first and not rises:
        return (
            f"Learning rate too low: {error}, and in {len(rows)} epochs the training loss moved only from "
            f"{first:.4g} to {last:.4g}, without jumps. The largest rate was "
            f"{max(r['lr'] for r in rows):.3g}; try ten times that. If that changes nothing, look at the "
            "labels."
        )
    return (
        f"Nothing was learned: {error}. The rate may be too high, or the labels shuffled; try a tenth of the "
        f"largest rate, {max(row['lr'] for row in rows):.3g}, and resight check."
    )


def _too_early(rows: Rows, chance: float) -> str:
    third = max(1, len(rows) // 3)
    whole = rows[0]["train_loss"] - rows[-1]["train_loss"]
    late = rows[-1 - third]["train_loss"] - rows[-1]["train_loss"]
    if whole <= 0 or late < STEADY * whole or rows[-1]["train_error"] <= 0.1 * chance:
        return ""
    return (
        f"Learning rate too low, or stopped too early: the training loss was still falling, by {late:.3g} of "
        f"{whole:.3g} in the last third of the epochs (a straight line would give a third). Train longer, or "
        f"with more than the largest rate of {max(row['lr'] for row in rows):.3g}."
    )


def _turned(rows: Rows) -> str:
    """Say whether the validation loss turned up while the training loss fell; three epochs are averaged."""
    seen = [row for row in rows if "val_loss" in row]
    means = [sum(r["val_loss"] for r in seen[i : i + 3]) / 3 for i in range(len(seen) - 2)]
    if not means:
        return ""
    best = min(range(len(means)), key=means.__getitem__)
    at, last = seen[best + 1], seen[-1]
    late = last["train_loss"] < at["train_loss"] and at["epoch"] <= 0.75 * last["epoch"]
    if means[-1] < TURNED * means[best] or not late:
        return ""
    return (
        f"Overfitting: the validation loss turned up after epoch {at['epoch']:.0f}, from {means[best]:.3g} "
        f"to {means[-1]:.3g}, while the training loss went on falling to {last['train_loss']:.3g}. Stop "
        "earlier, or add augmentation, weight decay or pictures."
    )


def _ends(seen: Rows, validation: int) -> tuple[float, float, float]:
    """Return training and validation error over the last three epochs, and what chance moves the gap by."""
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


def _underfitting(rows: Rows, chance: float) -> str:
    last, third = rows[-1], max(1, len(rows) // 3)
    best = min(last["train_error"], last.get("val_error", math.inf))
    whole = rows[0]["train_loss"] - last["train_loss"]
    late = rows[-1 - third]["train_loss"] - last["train_loss"]
    if best <= UNFIT * chance or late > FLAT * max(whole, 1e-9):
        return ""
    return (
        f"Underfitting: the training error ended at {last['train_error']:.1f} % and hardly falls any more. A "
        "larger network, less augmentation or weight decay, larger pictures, or better labels."
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
            f" They are {val - train:.0f} points apart, but {validation} validation pictures alone err by "
            f"{noise:.0f}."
        )
    return (
        "Nothing wrong in the curves: both fall and level off together. In the last epochs the error is "
        f"{train:.1f} % in training and {val:.1f} % in validation.{within}"
    )
