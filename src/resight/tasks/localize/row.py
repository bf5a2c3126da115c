"""What `resight predict` says of a class and a box; without torch, so that exported files say the same."""

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray


def row_of(
    label: str,
    index: int,
    probability: float,
    edges: Sequence[float],
    size: Sequence[int],
    score: float | None = None,
) -> dict[str, Any]:
    """Return {"label", "index", "probability", "box": [x, y, w, h] in pixels, "size", "said"}, and "score".

    Args:
        label: name of the class.
        index: its number.
        probability: of the class.
        edges: x0, y0, x1, y1 in pixels of the picture.
        size: (width, height) of the picture.
        score: how sure it is, in (0, 1), that the box holds an object of the class; None where nothing says.
    """
    x0, y0, x1, y1 = (round(float(edge), 1) for edge in edges)
    return {
        "label": label,
        "index": index,
        "probability": probability,
        "box": [x0, y0, round(x1 - x0, 1), round(y1 - y0, 1)],
        **({} if score is None else {"score": score}),
        "size": list(size),
        "said": f"{label} {probability:.3f} at x {x0:g} to {x1:g}, y {y0:g} to {y1:g}"
        + ("" if score is None else f", score {score:.3f}"),
    }


def box_of(label: int, boxes: NDArray[Any]) -> list[float]:
    """Return the box of a class among those of all classes, (classes, 4), or the one for all, (1, 4)."""
    return boxes[label if len(boxes) > 1 else 0].astype(float).tolist()
