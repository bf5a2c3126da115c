"""Networks as labelled marks on a logarithmic axis, as SVG and PNG."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter
from numpy.typing import NDArray

WIDTH, HEIGHT, DPI = 12.0, 8.4, 150  # inches; 1,800 x 1,260 pixels
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "resight",  # the same rows give the same file
}
PALETTE = (
    "#0072b2", "#d55e00", "#009e73", "#aa3377", "#b8860b", "#666666",
    "#7f3c8d", "#1d8fc4", "#117733", "#cc6677", "#332288", "#882255",
)  # fmt: skip
LABEL_SIZE = 9
POINT = 6.0  # radius in points where marks are not bubbles
AREA = 8.0  # square points of a bubble for each million parameters
SIZES = (10, 50, 140)  # millions of parameters in the legend of sizes

STEPS = 24  # points on a stretch of the curve that labels keep off

Box = NDArray[np.float64]  # (..., 4): left, bottom, right, top


@dataclass(frozen=True)
class Mark:
    """A network: label, family (its colour), position, size; hollow if its source is not the filled ones'."""

    label: str
    family: str
    x: float
    accuracy: float
    parameters: float
    hollow: bool


@dataclass(frozen=True)
class Axis:
    """The content of a figure.

    Attributes:
        label: of the horizontal axis.
        title: above the figure.
        caption: lines below it.
        bubbles: whether a mark's area shows its parameters.
        curve: marks whose labels begin with this text are joined by a line, in their order.
    """

    label: str
    title: str
    caption: str
    bubbles: bool = False
    curve: str = ""


def draw(marks: Sequence[Mark], axis: Axis) -> dict[str, bytes]:
    """Return the figure: {"svg": content, "png": content}."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        lines = axis.caption.count("\n") + 1
        axes = figure.add_axes((0.065, 0.1 + 0.024 * lines, 0.75, 0.83 - 0.024 * lines))
        figure.text(0.065, 0.955, axis.title, fontsize=14, fontweight="bold")
        figure.text(0.065, 0.025, axis.caption, fontsize=9, color="#444444", linespacing=1.4)
        colours = _colours(marks)
        radii = np.array([_radius(m.parameters / 1e6) if axis.bubbles else POINT for m in marks])
        _axes(axes, marks, axis)
        if axis.curve:
            joined = [m for m in marks if m.label.startswith(axis.curve)]
            if joined:
                colour = colours[joined[0].family]
                points = [m.x for m in joined], [m.accuracy for m in joined]
                axes.plot(*points, color=colour, lw=1.6, zorder=1.5)
        for index in np.argsort(-radii):  # small bubbles over large ones
            mark, colour = marks[index], colours[marks[index].family]
            face = "white" if mark.hollow else colour
            for alpha, inside, edge in ((0.55 if axis.bubbles else 0.9, face, "none"), (1.0, "none", colour)):
                axes.scatter(
                    mark.x, mark.accuracy, s=(2 * radii[index]) ** 2, facecolor=inside, edgecolor=edge,
                    linewidth=1.4, alpha=alpha, zorder=2,
                )  # fmt: skip
        _legends(figure, marks, colours, axis)
        if marks:
            _label(axes, canvas, marks, radii, colours, axis.curve)
        return contents_of(figure)


def _radius(millions: float) -> float:
    return math.sqrt(AREA * millions / math.pi)


def contents_of(figure: Figure) -> dict[str, bytes]:
    """Return a figure in both formats: {"svg": content, "png": content}."""
    contents = {}
    for kind in ("svg", "png"):
        stream = io.BytesIO()
        figure.savefig(stream, format=kind, metadata={"Date": None} if kind == "svg" else {})
        contents[kind] = stream.getvalue()
    return contents


def _colours(marks: Sequence[Mark]) -> dict[str, str]:
    families = dict.fromkeys(mark.family for mark in marks)
    return {family: PALETTE[number % len(PALETTE)] for number, family in enumerate(families)}


def _axes(axes: Axes, marks: Sequence[Mark], axis: Axis) -> None:
    axes.set_xscale("log")
    if marks:
        xs, ys = [m.x for m in marks], [m.accuracy for m in marks]
        axes.set_xlim(min(xs) / 1.5, max(xs) * 1.6)
        axes.set_ylim(min(ys) - 2, max(ys) + 2)
    axes.set_xlabel(axis.label + ", logarithmic", fontsize=11)
    axes.set_ylabel("ImageNet top-1 accuracy in %, published", fontsize=11)
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 2, 5)))
    large = EngFormatter(sep=" ")
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}" if x < 1 else large(x))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.grid(color="#e4e4e4", lw=0.7)
    axes.set_axisbelow(True)


def _legends(figure: Figure, marks: Sequence[Mark], colours: dict[str, str], axis: Axis) -> None:
    def spot(label: str, colour: str, radius: float = POINT, *, hollow: bool = False) -> Line2D:
        return Line2D(
            [], [], marker="o", linestyle="none", label=label, markersize=2 * radius, markeredgecolor=colour,
            markerfacecolor="none" if hollow else colour,
        )  # fmt: skip

    place = {"loc": "upper left", "frameon": False, "alignment": "left", "fontsize": 10}
    families = [spot(family, colour) for family, colour in colours.items()]
    figure.legend(handles=families, title="family", bbox_to_anchor=(0.825, 0.94), **place)
    top = 0.94 - 0.0265 * (len(families) + 2)
    sources = [spot("torchvision's weights", "#444444"), spot("paper or release", "#444444", hollow=True)]
    figure.legend(handles=sources, title="source of the accuracy", bbox_to_anchor=(0.825, top), **place)
    if axis.bubbles:
        sizes = [spot(f"{millions} M", "#444444", _radius(millions), hollow=True) for millions in SIZES]
        figure.legend(
            handles=sizes, title="parameters", bbox_to_anchor=(0.82, top - 0.12), labelspacing=2.3,
            handletextpad=2.2, borderpad=1.4, **place,
        )  # fmt: skip


def _label(
    axes: Axes,
    canvas: FigureCanvasAgg,
    marks: Sequence[Mark],
    radii: NDArray[np.float64],
    colours: dict[str, str],
    curve: str,
) -> None:
    """Write a label next to each mark where it covers least, with a line to labels that are farther away."""
    scale = canvas.figure.dpi / 72
    renderer = canvas.get_renderer()
    centres = axes.transData.transform([(m.x, m.accuracy) for m in marks])
    texts = [axes.text(0, 0, m.label, fontsize=LABEL_SIZE, color=colours[m.family], zorder=4) for m in marks]
    sizes = np.array([(b.width, b.height) for b in (t.get_window_extent(renderer) for t in texts)]) / scale
    inside = np.array(axes.get_window_extent(renderer).extents) / scale
    joined = [index for index, mark in enumerate(marks) if curve and mark.label.startswith(curve)]
    line = np.array([
        point
        for a, b in pairwise(joined)
        for point in np.linspace(centres[a] / scale, centres[b] / scale, STEPS)
    ]).reshape(-1, 2)  # fmt: skip
    boxes = place_labels(centres / scale, radii, sizes, inside, line)
    to_data = axes.transData.inverted().transform
    for mark, text, centre, radius, box in zip(marks, texts, centres / scale, radii, boxes, strict=True):
        left, bottom = to_data(box[:2] * scale)
        text.set_position((left, bottom))
        text.set_verticalalignment("bottom")
        nearest = np.clip(centre, box[:2], box[2:])
        distance = float(np.hypot(*(nearest - centre)))
        if distance > radius + 6:
            start = centre + (nearest - centre) * radius / distance
            ends = to_data(np.array([start, nearest]) * scale)
            axes.plot(ends[:, 0], ends[:, 1], color=colours[mark.family], lw=0.7, alpha=0.7, zorder=3)


def place_labels(
    centres: Box, radii: NDArray[np.float64], sizes: Box, inside: Box, line: Box, sweeps: int = 6
) -> Box:
    """Return a box (N, 4) for each label near its mark, away from other labels and marks.

    Each label in turn takes the cheapest of some places around its mark, given where the others are, in a few
    sweeps. The result is deterministic.

    Args:
        centres: (N, 2) of the marks.
        radii: (N,) of the marks.
        sizes: (N, 2) width and height of the labels.
        inside: (4,) the box to stay in.
        line: (P, 2) points to avoid.
        sweeps: number of passes over all labels.
    """
    marks = np.concatenate([centres - radii[:, None] * 0.8, centres + radii[:, None] * 0.8], axis=1)
    marks = np.concatenate([marks, np.concatenate([line - 2, line + 2], axis=1)])
    places = [_around(c, r, s) for c, r, s in zip(centres, radii, sizes, strict=True)]
    ends = [np.clip(c, tries[:, :2], tries[:, 2:]) for c, tries in zip(centres, places, strict=True)]
    fixed = [
        3 * _overlap(tries, marks).sum(1)
        + 50 * _outside(tries, inside)
        + 3 * np.maximum(np.hypot(*(end - centre).T) - radius, 0)
        for tries, end, centre, radius in zip(places, ends, centres, radii, strict=True)
    ]
    # All places of a label, and the lines to them, lie in this box: labels outside of it cost nothing.
    reach = np.array([
        (*np.minimum(tries[:, :2].min(0), c), *np.maximum(tries[:, 2:].max(0), c))
        for tries, c in zip(places, centres, strict=True)
    ])  # fmt: skip
    boxes = np.stack([tries[0] for tries in places])
    order = np.argsort(-centres[:, 0])
    for _ in range(sweeps):
        before = boxes.copy()
        for i in order:
            near = (boxes[:, :2] <= reach[i, 2:]).all(1) & (boxes[:, 2:] >= reach[i, :2]).all(1)
            others = boxes[np.flatnonzero(near & (np.arange(len(boxes)) != i))]
            cost = (
                fixed[i]
                + 6 * _overlap(places[i], others).sum(1)
                + 40 * _crossings(centres[i], ends[i], others)
            )
            boxes[i] = places[i][int(np.argmin(cost))]
        if np.array_equal(boxes, before):
            break  # every further sweep would find the same
    return boxes


def _around(centre: NDArray[np.float64], radius: Any, size: NDArray[np.float64]) -> Box:
    """Return candidate places for a label: first to the right, then all around at growing distances."""
    places = []
    for distance in (2, 6, 12, 20, 30, 42, 56, 72, 90, 110):
        for angle in np.arange(24) * (2 * np.pi / 24):
            way = np.array([np.cos(angle), np.sin(angle)])
            away = np.sign(way.round(9)) * np.abs(way) ** 0.5 * size / 2
            middle = centre + way * (radius + distance) + away
            places.append(np.concatenate([middle - size / 2, middle + size / 2]))
    return np.array(places)


def _overlap(a: Box, b: Box) -> NDArray[np.float64]:
    """Return the intersection areas of boxes (N, 4) and (M, 4), (N, M)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    return np.prod(np.maximum(high - low, 0), axis=2)


def _outside(boxes: Box, inside: Box) -> NDArray[np.float64]:
    """Return by how much boxes (N, 4) exceed the box `inside` (4,), (N,)."""
    return np.maximum(inside[:2] - boxes[:, :2], 0).sum(1) + np.maximum(boxes[:, 2:] - inside[2:], 0).sum(1)


def _crossings(start: NDArray[np.float64], ends: Box, others: Box) -> NDArray[np.float64]:
    """Return how many of nine points along the lines to `ends` (N, 2) are in boxes (M, 4), (N,)."""
    points = start + np.linspace(0.1, 0.9, 9)[:, None, None] * (ends - start)
    within = (points[:, :, None] >= others[:, :2]) & (points[:, :, None] <= others[:, 2:])
    return within.all(3).sum((0, 2)).astype(float)
