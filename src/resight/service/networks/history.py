"""The challenges in charts: winners by year and depth, and the five tracks of 2015."""

from dataclasses import dataclass

from resight.core import history
from resight.core.history import Result
from resight.render.history import Bar, Pair, tracks, winners
from resight.service.networks.compare import stem_of, write_figures

PEOPLE = (5.0, 10.0)
"""Top-5 errors of people in percent, as a lecture gives them."""


@dataclass(frozen=True)
class Chart:
    """The files of a figure, and the published results that it shows."""

    figures: list[str]
    rows: list[Result]


def show_history(out: str = "compare.svg") -> Chart:
    """Draw the winners of ImageNet classification, their depth, and the error of people.

    Args:
        out: prefix of the figures' names, see `compare`.

    Returns:
        The files, and the published results: classification, localization, detection, people.

    Raises:
        ResightError: if the figures cannot be written, in one line.
    """
    stem = stem_of(out)
    shown, human = history.of("classification"), history.of("human")[0]
    bars = [Bar(result.label, result.year, result.value, result.layers) for result in shown]
    caption = (
        f"Published: {shown[0].dataset}, entries without outside data; VGG was second in 2014. "
        f"One trained person: {human.source}, {human.protocol}.\nLayers with weights of the deepest network. "
        "Many networks: ensembles of several families."
    )
    figures = write_figures(stem, "history", winners(bars, human.value, PEOPLE, caption))
    rows = history.of("classification", "human", "localization", "detection")
    return Chart([str(path) for path in figures], rows)


def show_tracks(out: str = "compare.svg") -> Chart:
    """Draw the first places of the residual network in 2015 next to the second ones.

    Args:
        out: prefix of the figures' names, see `compare`.

    Returns:
        The files, and the published results: the tracks, and tables 7 to 14 of the paper.

    Raises:
        ResightError: if the figures cannot be written, in one line.
    """
    stem = stem_of(out)
    places: dict[str, dict[str, Result]] = {}
    for result in history.of("tracks"):
        task, _, who = result.label.partition(": ")
        places.setdefault(task, {})[who] = result
    pairs = []
    for task, of in places.items():
        if "second" in of:
            first, second = of["ResNet"], of["second"]
            lower = "error" in first.metric
            pairs.append(Pair(f"{task}\n{first.metric}", second.value, first.value, lower))
    won = places["ImageNet classification"]["ResNet"]
    caption = (
        f"Published: {history.of('tracks')[0].source}; margins relative to the second place, from figures "
        f"as printed (for localization the talk says 27 %).\nThe fifth track, ImageNet classification: "
        f"{won.value:g} % {won.metric} ({won.source}, {won.protocol})."
    )
    figures = write_figures(stem, "tracks", tracks(pairs, caption))
    return Chart([str(path) for path in figures], history.of("tracks", *history.TABLES))
