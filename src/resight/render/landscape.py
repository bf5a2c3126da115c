"""A loss surface as contours, and learning curves with text below, by matplotlib."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatterSciNotation, MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from resight.render.filters import wrapped
from resight.render.spikes import top_of, words_on

DPI = 120
LEVELS = 24
SOFT = "#61656c"
STYLE: dict[Any, Any] = {"font.size": 10, "axes.spines.top": False, "axes.spines.right": False}
COLOURS = {"train": "#2563c9", "val": "#d0741a"}


def draw_surface(
    axis: NDArray[np.float64], losses: NDArray[np.float64], title: str, caption: str
) -> Image.Image:
    """Draw contours of the loss on a logarithmic scale, with the trained network marked in the middle.

    Args:
        axis: (n,), of both directions.
        losses: (n, n), not negative; infinite values stay white.
        title: above the figure.
        caption: below it.
    """
    finite = losses[np.isfinite(losses)]
    low = max(float(finite.min()), 1e-6) if finite.size else 1e-6
    high = max(float(finite.max()), 1.01 * low) if finite.size else 1.0
    levels = np.geomspace(low, high, LEVELS)
    values = np.ma.masked_invalid(np.clip(losses, low, None))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 7.2), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        axes = figure.add_axes((0.1, 0.2, 0.7, 0.72))
        filled = axes.contourf(
            axis, axis, values, levels, norm=LogNorm(low, high), cmap="viridis", extend="max"
        )
        axes.contour(axis, axis, values, levels[::2], colors="white", linewidths=0.5, alpha=0.7)
        middle = losses[len(axis) // 2, len(axis) // 2]
        axes.plot(0, 0, "+", color="white", markersize=16, markeredgewidth=3.5)
        axes.plot(0, 0, "+", color="#b3362b", markersize=14, markeredgewidth=2)
        axes.annotate(
            f"the network: {middle:.3g}", (0, 0), (10, 10), textcoords="offset points", color="#1c1d1f",
            bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
        )  # fmt: skip
        axes.set_aspect("equal")
        axes.set_xlabel("first direction")
        axes.set_ylabel("second direction")
        side = figure.add_axes((0.83, 0.2, 0.03, 0.72))
        bar = figure.colorbar(filled, cax=side, label="loss (logarithmic)")
        ticks = _round_levels(low, high)
        bar.set_ticks(ticks, labels=[f"{t:g}" for t in ticks])
        side.minorticks_off()
        figure.text(0.1, 0.94, title, fontsize=12, fontweight="bold")
        _lines(figure, caption, 0.1, 0.12)
        return image_of(canvas)


def _round_levels(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten between two values; only powers if many, round steps if few."""
    powers = range(int(np.floor(np.log10(low))), int(np.ceil(np.log10(high))) + 1)
    fine = [m * 10.0**p for p in powers for m in (1, 2, 5)]
    inside = [v for v in fine if low <= v <= high]
    if len(inside) > 9:
        inside = [10.0**p for p in powers if low <= 10.0**p <= high]
    if len(inside) < 3:
        inside = [float(v) for v in MaxNLocator(6).tick_values(low, high) if low <= v <= high]
    return inside or [low, high]


def draw_curves(rows: Sequence[dict[str, float]], title: str, words: Sequence[str] = ()) -> Image.Image:
    """Draw loss, error and learning rate over the epochs, with sentences below.

    Args:
        rows: of metrics.csv.
        title: above the figure.
        words: the diagnosis, one line each.
    """
    lines = [line for text in words for line in _bullet(text)]
    height = 4.3 + 0.19 * len(lines)
    foot = (0.35 + 0.19 * len(lines)) / height
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12.0, height), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        panels = (("loss", "loss", True), ("error", "error in %", False), ("", "learning rate", False))
        for number, (key, label, log) in enumerate(panels):
            bottom = foot + 0.55 / height
            axes = figure.add_axes((0.055 + 0.325 * number, bottom, 0.27, 1 - bottom - 0.72 / height))
            _panel(axes, rows, key, label, log=log)
        figure.text(0.055, 1 - 0.3 / height, title, fontsize=12, fontweight="bold")
        for number, line in enumerate(lines):
            figure.text(0.055, foot - 0.1 / height - 0.19 * number / height, line, fontsize=10, va="top")
        return image_of(canvas)


def _panel(axes: Axes, rows: Sequence[dict[str, float]], key: str, label: str, *, log: bool) -> None:
    series = [("train", f"train_{key}", "training"), ("val", f"val_{key}", "validation")]
    if not key:
        series = [("train", "lr", "")]
    for colour, column, name in series:
        points = [(row["epoch"], row[column]) for row in rows if column in row]
        if points:
            xs, ys = zip(*points, strict=True)
            marks = "o-" if len(xs) <= 40 else "-"
            axes.plot(xs, ys, marks, color=COLOURS[colour], label=name, markersize=3, linewidth=1.6)
    lines = [np.asarray(line.get_ydata(), float) for line in axes.get_lines()]
    values = [v for line in lines for v in line if v > 0]
    top = top_of_panel(lines)
    low = min([0.0, *(float(line.min()) for line in lines if len(line))])  # below 0: a log-likelihood
    if (
        log
        and not low
        and values
        and max(values) > 20 * min(values)
        and (top is None or top > 20 * min(values))
    ):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(LogFormatterSciNotation())
    else:
        axes.set_ylim(bottom=low)
    if top is not None:
        axes.set_ylim(top=1.08 * top)
        _mark_spikes(axes)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.set_title(label, fontsize=10, loc="left")
    axes.grid(alpha=0.3)
    if key and len(axes.get_lines()) > 1:
        axes.legend(frameon=False)


def top_of_panel(lines: Sequence[NDArray[np.float64]]) -> float | None:
    """Return the top of an axis that excludes spikes, see `top_of`; None if there are none."""
    lines = [line for line in lines if len(line)]
    if not lines or (top := top_of([line.tolist() for line in lines])) == max(line.max() for line in lines):
        return None
    return top


def _mark_spikes(axes: Axes) -> None:
    """Draw a mark at the upper edge for each point above the axis, and state the highest value."""
    end, beyond = axes.get_ylim()[1], []
    for line in list(axes.get_lines()):
        xs, ys = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
        high = ys > end
        beyond += list(zip(xs[high].tolist(), ys[high].tolist(), strict=True))
        axes.plot(
            xs[high], np.full(high.sum(), end), "^", color=line.get_color(), markersize=7, clip_on=False
        )
    axes.text(0.02, 0.965, words_on(beyond), transform=axes.transAxes, fontsize=8, color=SOFT, va="top")


def _bullet(text: str) -> list[str]:
    first, *rest = wrapped(text, 1290, 17)
    return [f"•  {first}", *(f"    {line}" for line in rest)]


def _lines(figure: Figure, text: str, left: float, top: float) -> None:
    height = figure.get_figheight()
    for number, line in enumerate(wrapped(text, 790, 15)):
        figure.text(left, top - 0.17 * number / height, line, fontsize=9, color=SOFT, va="top")


def image_of(canvas: FigureCanvasAgg) -> Image.Image:
    """Return what a canvas shows, RGB."""
    stream = io.BytesIO()
    canvas.print_png(stream)
    return Image.open(stream, formats=("PNG",)).convert("RGB")
