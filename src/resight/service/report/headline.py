"""The first lines of the report: the figure, and its meaning for readers who are not researchers."""

from resight.render.charts import interval_scale
from resight.render.frequencies import VERBS, error_in_words, odds
from resight.render.page import Part, render
from resight.service.report.tested import Tested

MANY = 2000
"""Pictures from which on an error has two digits after the point."""


def headline(tested: Tested) -> list[Part]:
    """Return the figure with its interval, as text and on a line, and the notes of the data set."""
    figures = tested.figures
    several = figures["multi_label"]
    verbs = ("The first answer is wrong on", "The first answer is right on") if several else VERBS
    meaning = " ".join(error_in_words(figures["wrong"], figures["n"], figures["top1_interval"], *verbs))
    if several and figures["map"] is not None:
        figure, unit = f"{figures['map']:.2f} %", "mean average precision"
        interval, guess, scale = figures["map_interval"], None, ""
    else:
        digits = 2 if figures["n"] >= MANY else 1
        figure, unit = f"{figures['top1_error']:.{digits}f} %", "test error"
        interval, guess = figures["top1_interval"], None if several else _guessing(tested)
        scale = interval_scale(figures["top1_error"], interval, guess)
    lines = [_counts(tested, interval)]
    if guess:
        lines.append(f"Always answering the most frequent class would be wrong on about {odds(guess / 100)}.")
    html = render(
        "sections/headline", figure=figure, unit=unit, meaning=meaning, scale=scale, lines=lines,
        warnings=_warnings(tested), facts=_facts(tested),
    )  # fmt: skip
    return [Part("", html=html + "".join(render("sections/note", note=n) for n in _notes(tested)))]


def _counts(tested: Tested, interval: tuple[float, float]) -> str:
    figures, leaks = tested.figures, tested.leaks
    known = "" if leaks is None else f", {leaks} of which were trained on" if leaks else " never trained on"
    return (
        f"{figures['wrong']} wrong of {figures['n']:,} pictures{known}; 95 % interval {interval[0]:.1f} to "
        f"{interval[1]:.1f} %. “Of this kind” means pictures like the test pictures, taken in the same way."
    )


def _warnings(tested: Tested) -> list[str]:
    if leaks := tested.leaks:
        return [f"▲ {leaks} test pictures were also trained on: on new pictures the error is higher."]
    return []


def _notes(tested: Tested) -> list[str]:
    own = sorted(tested.record["notes"]) if tested.own else []
    return [f"About the data: {note}." for note in dict.fromkeys([*tested.dataset.notes, *own])]


def _guessing(tested: Tested) -> float | None:
    """Return the error of always answering the most frequent class of the test pictures, in percent."""
    most = max(row["n"] for row in tested.figures["per_class"].values())
    return 100 * (1 - most / tested.figures["n"]) or None


def _facts(tested: Tested) -> list[dict[str, str]]:
    """Return the other figures of a test, which not every test has."""
    figures, facts = tested.figures, []
    if figures["multi_label"]:
        low, high = figures["top1_interval"]
        one = f"one-error: the first answer is not one of the picture's classes ({low:.1f} to {high:.1f} %)"
        facts = [
            (f"{figures['top1_error']:.2f} %", one),
            (f"{figures['f1_micro'] or 0:.3f}", "micro F1: over all answers"),
            (f"{figures['f1_macro'] or 0:.3f}", "macro F1: mean over the classes"),
            (f"{figures['subset_error']:.2f} %", "pictures with at least one wrong class"),
        ]  # fmt: skip
    if figures["top5_error"] is not None:
        five = "top-5 error: the true class is not among the first five answers"
        facts.append((f"{figures['top5_error']:.2f} %", five))
    return [{"value": value, "label": label} for value, label in facts]
