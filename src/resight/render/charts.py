"""Small charts as SVG in the page's colours: light and dark follow the reader's setting."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from resight.render.spikes import top_of, words_on

WIDTH, HEIGHT = 420, 240
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 12, 34


@dataclass(frozen=True)
class Series:
    """A line: label, points, and its colour of the page ("a" or "b")."""

    label: str
    xs: Sequence[float]
    ys: Sequence[float]
    colour: str


def line_chart(series: Sequence[Series], x_label: str, y_label: str) -> str:
    """Return an SVG line chart with y from zero, or from below it for values like a log-likelihood.

    Spikes (see `top_of`) are marks at its upper edge.

    Args:
        series: with finite points; empty ones are omitted.
        x_label: below the axis.
        y_label: with its unit.
    """
    series = [s for s in series if len(s.xs)]
    if not series:
        return ""
    xs = [x for s in series for x in s.xs]
    y_ticks = _heights([s.ys for s in series])
    frame = _Frame(min(xs), max(xs), y_ticks[0], y_ticks[-1])
    parts = [frame.axes(_whole(ticks(min(xs), max(xs), 6)), y_ticks, x_label, y_label)]
    for s in series:
        points = [(frame.x(x), frame.y(min(y, y_ticks[-1]))) for x, y in zip(s.xs, s.ys, strict=True)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line {s.colour}" points="{path}"/>')
        for (px, py), x, y in zip(points, s.xs, s.ys, strict=True):
            title = f"<title>{s.label}, {x_label} {x:g}: {y:.4g}</title>"
            if y > y_ticks[-1]:
                parts.append(
                    f'<path class="dot spike {s.colour}" d="M{px:.1f} {py - 7:.1f}l5.5 9h-11z">{title}</path>'
                )
            elif len(points) <= 60:
                parts.append(
                    f'<circle class="dot {s.colour}" cx="{px:.1f}" cy="{py:.1f}" r="2.5">{title}</circle>'
                )
    return _svg(parts, f"{y_label} over {x_label}: {', '.join(s.label for s in series)}")


def above(series: Sequence[Series], unit: str = "") -> str:
    """Return a text on the marks at the upper edge of `line_chart`; "" without marks."""
    lines = [s.ys for s in series if len(s.ys)]
    if not lines:
        return ""
    end = _heights(lines)[-1]
    return words_on([(x, y) for s in series for x, y in zip(s.xs, s.ys, strict=True) if y > end], unit)


def _heights(lines: Sequence[Sequence[float]]) -> list[float]:
    """Return the ticks of the vertical axis, which shows zero and all points but the spikes."""
    return ticks(min([0.0, *map(min, lines)]), max(0.0, top_of(lines)))


def interval_scale(error: float, interval: tuple[float, float], guess: float | None) -> str:
    """Return a scale from 0 with an error rate, its interval and the error of guessing, in percent."""
    end = min(100.0, max(guess or 0, interval[1]) * 1.08) or 1.0

    def x(value: float) -> float:
        return 8 + value / end * (WIDTH - 16)

    low, high = interval
    parts = [
        f'<line class="axis" x1="8" y1="14" x2="{WIDTH - 8}" y2="14"/>',
        f'<line class="interval" x1="{x(low):.1f}" y1="14" x2="{x(high):.1f}" y2="14"/>',
        f'<circle class="dot a" cx="{x(error):.1f}" cy="14" r="6"/>',
        '<text x="8" y="38">0 %: never wrong</text>',
    ]
    if guess:
        at = x(guess)
        parts.append(f'<line class="mark" x1="{at:.1f}" y1="6" x2="{at:.1f}" y2="22"/>')
        parts.append(
            f'<text x="{min(at + 4, WIDTH - 4):.1f}" y="38" text-anchor="end">guessing: {guess:.0f} %</text>'
        )
    words = f"error {error:.1f} %, interval {low:.1f} to {high:.1f} %"
    return f'<svg viewBox="0 0 {WIDTH} 46" role="img" aria-label="{words}">' + "".join(parts) + "</svg>"


def reliability_chart(table: Sequence[Sequence[float]]) -> str:
    """Return accuracy over confidence as bars, with the diagonal that a calibrated network follows.

    Args:
        table: rows of (samples, mean confidence, accuracy) for equal bins of confidence.
    """
    frame = _Frame(0, 1, 0, 1)
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


def _whole(values: list[float]) -> list[float]:
    return [v for v in values if v == int(v)] or values


@dataclass(frozen=True)
class _Frame:
    """Maps data coordinates to drawing coordinates."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float

    def x(self, value: float) -> float:
        span = (self.x_high - self.x_low) or 1.0
        return LEFT + (value - self.x_low) / span * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = (value - self.y_low) / ((self.y_high - self.y_low) or 1.0)
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
