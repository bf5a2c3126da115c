"""Bars of challenge results: winners by year with their depth, and pairs of first and second places."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from resight.render.compare import PALETTE, STYLE, contents_of

WIDTH, HEIGHT, DPI = 12.0, 6.6, 150  # inches
CLASSIC, DEEP, SECOND = "#999999", PALETTE[0], "#bbbbbb"


@dataclass(frozen=True)
class Bar:
    """An entry: its label, year, figure in percent, and number of layers; None for classic or unknown."""

    label: str
    year: int
    value: float
    layers: int | None


@dataclass(frozen=True)
class Pair:
    """A track: what is measured, the second place's figure, the first's, and whether lower is better."""

    label: str
    second: float
    first: float
    lower: bool

    @property
    def margin(self) -> float:
        """Return by how much the first is better, in percent of the second's figure."""
        return 100 * abs(self.first - self.second) / self.second


def winners(bars: Sequence[Bar], human: float, band: tuple[float, float], caption: str) -> dict[str, bytes]:
    """Return the winners by year, and below them how deep they were: {"svg": content, "png": content}.

    Args:
        bars: in the order of years.
        human: error of one trained person, in percent: a line.
        band: errors that a lecture gives for people, in percent.
        caption: below the figure.
    """
    with mpl.rc_context(STYLE):
        figure = _figure("ImageNet classification: the winners and their depth", caption)
        upper, lower = figure.add_axes((0.065, 0.43, 0.91, 0.47)), figure.add_axes((0.065, 0.19, 0.91, 0.19))
        places = range(len(bars))
        colours = [DEEP if bar.layers or bar.year >= 2012 else CLASSIC for bar in bars]
        upper.bar(places, [bar.value for bar in bars], color=colours, width=0.6)
        for place, bar in zip(places, bars, strict=True):
            upper.text(
                place, bar.value + 0.4, f"{bar.value:g}", ha="center", fontsize=11, zorder=3,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 1, "alpha": 0.85},
            )  # fmt: skip
        upper.axhspan(*band, color="#d55e00", alpha=0.12, lw=0)
        upper.axhline(human, color="#d55e00", ls="--", lw=1.3)
        upper.text(
            len(bars) - 0.45, band[1] + 0.3, f"people: {human:g} % (one trained person), {band[0]:g} to "
            f"{band[1]:g} % (lecture)", ha="right", color="#a84800", fontsize=10,
        )  # fmt: skip
        upper.set_ylabel("top-5 error in %", fontsize=11)
        lower.bar(places, [bar.layers or 0 for bar in bars], color=colours, width=0.6)
        for place, bar in zip(places, bars, strict=True):
            said = (
                f"{bar.layers} layers" if bar.layers else "no network" if bar.year < 2012 else "many networks"
            )
            lower.text(place, (bar.layers or 0) + 5, said, ha="center", fontsize=10)
        lower.set_ylabel("layers", fontsize=11)
        lower.set_ylim(0, 190)
        upper.set_xticks([])
        _named(lower, [f"{bar.label}\n{bar.year}" for bar in bars])
        return contents_of(figure)


def tracks(pairs: Sequence[Pair], caption: str) -> dict[str, bytes]:
    """Return the first places of 2015 next to the second ones: {"svg": content, "png": content}.

    Args:
        pairs: a track each.
        caption: below the figure.
    """
    with mpl.rc_context(STYLE):
        figure = _figure(
            "The tracks of ILSVRC and COCO 2015: residual networks and the second place", caption
        )
        axes = figure.add_axes((0.065, 0.22, 0.91, 0.68))
        for place, pair in enumerate(pairs):
            for shift, value, colour in ((-0.18, pair.second, SECOND), (0.18, pair.first, DEEP)):
                axes.bar(place + shift, value, color=colour, width=0.34)
                axes.text(place + shift, value + 0.7, f"{value:.1f}", ha="center", fontsize=11)
            best = max(pair.first, pair.second)
            axes.text(
                place, best + 5, f"{pair.margin:.0f} % {'lower' if pair.lower else 'higher'}", ha="center",
                fontsize=12, fontweight="bold",
            )  # fmt: skip
        axes.set_ylabel("%", fontsize=11)
        axes.set_ylim(0, 1.2 * max(max(p.first, p.second) for p in pairs))
        _named(axes, [pair.label for pair in pairs])
        handles = [Patch(color=c) for c in (SECOND, DEEP)]
        axes.legend(handles, ["second place", "ResNet"], frameon=False, loc="upper left")
        return contents_of(figure)


def _figure(title: str, caption: str) -> Figure:
    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI)
    FigureCanvasAgg(figure)
    figure.text(0.065, 0.94, title, fontsize=14, fontweight="bold")
    figure.text(0.065, 0.025, caption, fontsize=9, color="#444444", linespacing=1.4)
    return figure


def _named(axes: Axes, labels: Sequence[str]) -> None:
    axes.set_xticks(range(len(labels)), labels, fontsize=10)
    axes.tick_params(axis="x", length=0)
