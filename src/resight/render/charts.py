"""Small charts as SVG whose colours are the page's: light and dark follow the reader's setting."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 34


@dataclass(frozen=True)
class Series:
    """A line: label, points, and which of the page's colours it has ("a" or "b")."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: str


def line_chart(series: Sequence[Series], x_label: str, y_label: str, *, log: bool = False) -> str:
    """Return an SVG line chart; y from zero, or logarithmic.

    Args:
        series: with finite points; empty ones are left out.
        x_label: below the axis.
        y_label: with its unit.
        log: of the y axis.
    """
    series = [s for s in series if len(s.xs)]
    if not series:
        return ""
    xs = [x for s in series for x in s.xs]
    ys = [y for s in series for y in s.ys if not log or y > 0]
    y_ticks = log_ticks(min(ys), max(ys)) if log else ticks(0, max(ys))
    frame = _Frame(min(xs), max(xs), y_ticks[0], y_ticks[-1], log=log)
    parts = [frame.axes(_whole(ticks(min(xs), max(xs), 6)), y_ticks, x_label, y_label)]
    for s in series:
        points = [(frame.x(x), frame.y(y)) for x, y in zip(s.xs, s.ys, strict=True) if not log or y > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line {s.colour}" points="{path}"/>')
        parts += [
            f'<circle class="dot {s.colour}" cx="{px:.1f}" cy="{py:.1f}" r="2.5">'
            f"<title>{s.label}, {x_label} {x:g}: {y:.4g}</title></circle>"
            for (px, py), x, y in zip(points, s.xs, s.ys, strict=False)
            if len(points) <= 60
        ]
    return _svg(parts, f"{y_label} over {x_label}: {', '.join(s.label for s in series)}")


def reliability_chart(table: Sequence[Sequence[float]]) -> str:
    """Return accuracy over confidence as bars, with the diagonal that a calibrated network follows.

    Args:
        table: rows of (samples, mean confidence, accuracy) for equal bins of confidence.
    """
    frame = _Frame(0, 1, 0, 1, log=False)
    parts = [frame.axes([0, 0.2, 0.4, 0.6, 0.8, 1], [0, 0.25, 0.5, 0.75, 1], "confidence", "accuracy")]
    width = frame.x(1 / len(table)) - frame.x(0) - 2
    for number, (count, confidence, accuracy) in enumerate(table):
        if not count:
            continue
        left, top = frame.x(number / len(table)) + 1, frame.y(accuracy)
        parts.append(
            f'<rect class="bar" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" '
            f'height="{max(frame.y(0) - top, 1):.1f}" opacity="{0.35 + 0.65 * min(1, count / 30):.2f}">'
            f"<title>{int(count)} pictures: confidence {confidence:.3f}, accuracy {accuracy:.3f}"
            "</title></rect>"
        )
    parts.append(
        f'<line class="diagonal" x1="{frame.x(0)}" y1="{frame.y(0)}" x2="{frame.x(1)}" y2="{frame.y(1)}"/>'
    )
    return _svg(parts, "accuracy over confidence")


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Return round numbers that cover [low, high]."""
    span = high - low or abs(high) or 1.0
    step = 10 ** math.floor(math.log10(span / most))
    step *= next(m for m in (1, 2, 5, 10) if span / (m * step) <= most)
    first, last = math.floor(low / step), math.ceil(high / step - 1e-9)
    return [round(i * step, 10) for i in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Return powers of ten that cover [low, high]."""
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**i for i in range(first, max(last, first + 1) + 1)]


def _whole(values: list[float]) -> list[float]:
    return [v for v in values if v == int(v)] or values


@dataclass(frozen=True)
class _Frame:
    """Data coordinates to the drawing's."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    log: bool

    def x(self, value: float) -> float:
        span = (self.x_high - self.x_low) or 1.0
        return LEFT + (value - self.x_low) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        low, high = self.y_low, self.y_high
        if self.log:
            value, low, high = math.log10(value), math.log10(low), math.log10(high)
        share = (value - low) / ((high - low) or 1.0)
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def axes(self, xs: Sequence[float], ys: Sequence[float], x_label: str, y_label: str) -> str:
        parts = []
        for value in ys:
            at = self.y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH - RIGHT}" y2="{at:.1f}"/>')
            parts.append(
                f'<text class="tick" x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{value:g}</text>'
            )
        for value in xs:
            if self.x_low <= value <= self.x_high:
                at = self.x(value)
                parts.append(
                    f'<text class="tick" x="{at:.1f}" y="{HEIGHT - BOTTOM + 15}" '
                    f'text-anchor="middle">{value:g}</text>'
                )
        middle = (LEFT + WIDTH - RIGHT) / 2
        parts.append(
            f'<text class="label" x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">{x_label}</text>'
        )
        up = (TOP + HEIGHT - BOTTOM) / 2
        parts.append(
            f'<text class="label" x="11" y="{up}" text-anchor="middle" '
            f'transform="rotate(-90 11 {up})">{y_label}</text>'
        )
        return "".join(parts)


def _svg(parts: Sequence[str], title: str) -> str:
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}">' + "".join(parts) + "</svg>"
