"""What the server counts, in Prometheus' text format.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/
"""

from collections import Counter
from dataclasses import dataclass, field

BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
"""Upper bounds of the histogram of seconds."""
BATCHES = (1, 2, 4, 8, 16, 32)
TYPE = "text/plain; version=0.0.4; charset=utf-8"


@dataclass
class _Histogram:
    bounds: tuple[float, ...]
    counts: list[int] = field(default_factory=list)
    total: float = 0.0

    def add(self, value: float) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)
        place = sum(value > bound for bound in self.bounds)
        self.counts[place] += 1
        self.total += value

    def lines(self, name: str, labels: str = "") -> list[str]:
        counts, so_far, lines = self.counts or [0] * (len(self.bounds) + 1), 0, []
        for bound, count in zip((*map("{:g}".format, self.bounds), "+Inf"), counts, strict=True):
            so_far += count
            lines.append(f'{name}_bucket{{{labels}{"," * bool(labels)}le="{bound}"}} {so_far}')
        own = f"{{{labels}}}" if labels else ""
        return [*lines, f"{name}_sum{own} {self.total:.6g}", f"{name}_count{own} {so_far}"]


@dataclass
class Metrics:
    """Counts since the start; one thread, the event loop's, uses them."""

    requests: Counter[tuple[str, str, int]] = field(default_factory=Counter)
    seconds: dict[str, _Histogram] = field(default_factory=dict)
    batches: _Histogram = field(default_factory=lambda: _Histogram(BATCHES))

    def add(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request.

        Args:
            method: of HTTP.
            route: its pattern, so that there are only as many as the API has.
            status: of the answer.
            seconds: from its headers to the end of its answer.
        """
        self.requests[method, route, status] += 1
        self.seconds.setdefault(route, _Histogram(BOUNDS)).add(seconds)

    def text(self, waiting: int, places: int) -> str:
        """Return all figures.

        Args:
            waiting: requests in the queue.
            places: that it has.
        """
        lines = ["# HELP resight_requests_total Requests answered.", "# TYPE resight_requests_total counter"]
        lines += [
            f'resight_requests_total{{method="{method}",route="{route}",status="{status}"}} {count}'
            for (method, route, status), count in sorted(self.requests.items())
        ]
        lines += [
            "# HELP resight_request_seconds From the headers of a request to the end of its answer.",
            "# TYPE resight_request_seconds histogram",
        ]
        for route, histogram in sorted(self.seconds.items()):
            lines += histogram.lines("resight_request_seconds", f'route="{route}"')
        lines += [
            "# HELP resight_batch_pictures Pictures classified together.",
            "# TYPE resight_batch_pictures histogram",
            *self.batches.lines("resight_batch_pictures"),
            "# HELP resight_queue_requests Requests waiting or being computed.",
            "# TYPE resight_queue_requests gauge",
            f"resight_queue_requests {waiting}",
            "# HELP resight_queue_places Requests that may wait or be computed at once.",
            "# TYPE resight_queue_places gauge",
            f"resight_queue_places {places}",
        ]
        return "\n".join(lines) + "\n"
