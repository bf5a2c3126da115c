"""Gradients, dead units and gates by layer, as a picture."""

from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from PIL import Image

from resight.render.landscape import COLOURS, DPI, STYLE, image_of


def draw_depth(
    gradients: Sequence[float], dead: Sequence[float], gates: Sequence[float], title: str
) -> Image.Image:
    """Draw a panel for each of the three that has values.

    Args:
        gradients: of each layer, first to last: the gradient's norm over the weights' norm.
        dead: share of dead units of each ReLU in percent, first to last.
        gates: mean transform gate of each highway layer, first to last.
        title: above the figure.
    """
    panels = [
        ("gradient / weights (norms), logarithmic", "layer with weights", gradients),
        ("dead units in %", "ReLU", dead),
        ("mean transform gate", "highway layer", gates),
    ]
    panels = [panel for panel in panels if len(panel[2])]
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.2 * len(panels) + 0.6, 3.9), dpi=DPI)
        canvas = FigureCanvasAgg(figure)
        width = 1 / len(panels)
        for number, (label, across, values) in enumerate(panels):
            axes = figure.add_axes((width * number + 0.25 * width, 0.16, 0.7 * width, 0.62))
            places = range(1, len(values) + 1)
            if label.startswith("gradient"):
                axes.plot(places, values, "o-", color=COLOURS["train"], markersize=3, linewidth=1.4)
                if min(values) > 0:
                    axes.set_yscale("log")
            else:
                axes.bar(places, values, color=COLOURS["train"])
                axes.set_ylim(0, 1 if "gate" in label else max(5.0, 1.1 * max(values)))
            axes.set_title(label, fontsize=10, loc="left")
            axes.set_xlabel(f"{across}, first to last")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.grid(alpha=0.3)
        figure.text(0.02, 0.92, title, fontsize=12, fontweight="bold")
        return image_of(canvas)
