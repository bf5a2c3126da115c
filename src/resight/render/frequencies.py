"""Error rates in plain words such as "about 1 in 20", with their uncertainty, for readers without statistics.

Source of the form: Gigerenzer and Hoffrage 1995, "How to improve Bayesian reasoning without instruction:
frequency formats": people read natural frequencies better than percentages.
"""

import math

RARE = 0.15
"""Shares below this, or above one minus this, are written as "1 in N"."""
DENOMINATORS = range(2, 11)
VERBS = ("Wrong on", "Right on")
CLOSE = 0.0201
"""How far a simple fraction may be from the share; the simplest one within it is used."""


def odds(share: float) -> str:
    """Return a share as a natural frequency, such as "1 in 20", "3 in 4", "none" or "all".

    Args:
        share: in [0, 1].
    """
    if share <= 0 or share >= 1:
        return "none" if share <= 0 else "all"
    rarer = min(share, 1 - share)
    if rarer < RARE:
        many = _two_digits(1 / rarer)
        return f"1 in {many:,}" if share < 0.5 else f"{many - 1:,} in {many:,}"
    fractions = [(abs(round(share * n) / n - share), round(share * n), n) for n in DENOMINATORS]
    near = [f for f in fractions if f[0] <= CLOSE] or [min(fractions)]
    return f"{near[0][1]} in {near[0][2]}"


def _two_digits(value: float) -> int:
    """Return a number of 1 or more rounded to two digits."""
    step = 10 ** max(0, math.floor(math.log10(value)) - 1)
    return round(value / step) * step


def error_in_words(
    wrong: int, count: int, interval: tuple[float, float], verb: str = VERBS[0], right: str = VERBS[1]
) -> tuple[str, str]:
    """Return what a test error means, in two sentences: the share, and the range that it could be in.

    Args:
        wrong: errors among `count` pictures.
        count: 1 or more.
        interval: 95 % interval of the error, in percent.
        verb: what happens on a wrong picture, up to "on".
        right: the same for a right one.
    """
    low, high = (odds(bound / 100) for bound in interval)
    tested = f"{count:,} test picture" + ("" if count == 1 else "s")
    if not wrong:
        return (
            f"{right} {_all_of(tested, count)}.",
            f"Up to about {high} pictures of this kind could still be wrong.",
        )
    if wrong == count:
        return (
            f"{verb} {_all_of(tested, count)}.",
            f"At least about {low} pictures of this kind would be wrong.",
        )
    share = odds(wrong / count)
    first = f"{verb} about {share} pictures of this kind."
    if low == high:
        return first, f"With {tested}, this is known well."
    return first, f"With {tested}, it could be as few as {low} or as many as {high}."


def _all_of(tested: str, count: int) -> str:
    return f"all {tested}" if count > 1 else f"the only {tested.removeprefix('1 ')}"
