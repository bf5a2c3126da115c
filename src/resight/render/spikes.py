"""Which points of a curve are spikes, so that a few of them do not flatten the rest of a chart."""

from collections.abc import Sequence

FEW = 0.1
"""Share of a line's points, at least one, that may be spikes; more than this is the curve's shape."""
FAR = 4.0
"""How many times as high as all other points a spike is."""
LEAST = 4
"""Lines with fewer points have no spikes."""


def top_of(lines: Sequence[Sequence[float]]) -> float:
    """Return the greatest value that an axis must show: that of all points, or of all but the spikes.

    Args:
        lines: the values of each line, finite; at least one value in total.
    """
    values = [value for line in lines for value in line]
    usual = max(_usual(line) for line in lines if line)
    return usual if 0 < usual * FAR < max(values) else max(values)


def _usual(line: Sequence[float]) -> float:
    """Return the greatest value of a line without its few highest."""
    few = max(1, int(FEW * len(line))) if len(line) >= LEAST else 0
    return sorted(line)[len(line) - 1 - few]


def words_on(points: Sequence[tuple[float, float]], unit: str = "") -> str:
    """Return a sentence on the (epoch, value) points above the axis; "" without points."""
    if not points:
        return ""
    epoch, value = max(points, key=lambda point: point[1])
    if len(points) == 1:
        return f"▲ One point is above the axis: {value:.4g}{unit} in epoch {epoch:g}."
    return f"▲ {len(points)} points are above the axis, the highest {value:.4g}{unit} in epoch {epoch:g}."
