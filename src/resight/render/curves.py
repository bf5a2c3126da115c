"""A line chart as SVG."""

import io
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from resight.render.compare import PALETTE, STYLE

TRAINING = ", training"
"""A line whose label ends with this is drawn dashed, in the colour of the line without it."""


def draw_lines(
    title: str, across: str, up: str, lines: Sequence[tuple[str, Sequence[float], Sequence[float]]]
) -> str:
    """Return a figure as SVG text.

    Args:
        title: above the chart.
        across: name of the horizontal axis.
        up: name of the vertical axis.
        lines: label, horizontal and vertical values.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(8, 4.6), layout="constrained")
        axes = figure.add_subplot()
        names = list(dict.fromkeys(label.removesuffix(TRAINING) for label, _, _ in lines))
        for label, x, y in lines:
            dashed = label.endswith(TRAINING)
            colour = PALETTE[names.index(label.removesuffix(TRAINING)) % len(PALETTE)]
            axes.plot(
                x, y, color=colour, label="_" if dashed else label, linestyle="--" if dashed else "-",
                linewidth=1.1 if dashed else 1.8,
            )  # fmt: skip
        axes.set_title(title, loc="left", fontsize=12, fontweight="bold")
        axes.set_xlabel(across)
        axes.set_ylabel(up)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.25)
        if names:
            axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        stream = io.StringIO()
        figure.savefig(stream, format="svg", metadata={"Date": None})
        return stream.getvalue()
