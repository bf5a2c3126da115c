"""The first lines of the report: the figure, and its meaning for readers who are not researchers."""

from resight.render.frequencies import error_in_words, odds
from resight.render.page import Part, render
from resight.service.report.kinds import kind_of
from resight.service.report.tested import Tested


def headline(tested: Tested) -> list[Part]:
    """Return the figure with its interval, as text and on a line, and the notes of the data set."""
    figures, kind = tested.figures, kind_of(tested.result)
    words = error_in_words(figures["wrong"], figures["n"], figures["top1_interval"], *kind.verbs)
    headed = kind.headed(figures)
    lines = [_counts(tested, headed.interval)]
    if guess := headed.guess:
        lines.append(f"Always answering the most frequent class would be wrong on about {odds(guess / 100)}.")
    facts = [{"value": value, "label": label} for value, label in kind.facts(figures)]
    html = render(
        "sections/headline", figure=headed.figure, unit=headed.unit, meaning=" ".join(words),
        scale=headed.scale, lines=lines, warnings=_warnings(tested), facts=facts,
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
