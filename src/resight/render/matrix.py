"""Two matrices side by side: global average pooling, and a fully connected layer in its place."""

import io

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from resight.render.landscape import DPI, STYLE


def draw_matrices(pooling: NDArray[np.float32], dense: NDArray[np.float32], title: str) -> bytes:
    """Return a PNG of two matrices of the same shape, each with its own scale of colours.

    Args:
        pooling: constant blocks.
        dense: learned or random weights.
        title: above the figure.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(12.0, 3.6), dpi=DPI)
        FigureCanvasAgg(figure)
        figure.text(0.03, 0.91, title, fontsize=12, fontweight="bold")
        panels = (
            (pooling, "global average pooling: constant blocks"),
            (dense, "fully connected: all weights"),
        )
        for number, (matrix, label) in enumerate(panels):
            axes = figure.add_axes((0.05 + 0.49 * number, 0.14, 0.44, 0.62))
            most = float(np.abs(matrix).max()) or 1.0
            axes.imshow(matrix, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
            axes.set_title(label, fontsize=10, loc="left")
            axes.set_xlabel("numbers of the map, channel by channel")
            axes.set_ylabel("pooled channel")
        stream = io.BytesIO()
        figure.savefig(stream, format="png")
        return stream.getvalue()
