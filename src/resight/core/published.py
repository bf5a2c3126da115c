"""Figures that papers and releases publish for our networks, each with its protocol and its source.

`published.csv` has a row for each. The rows of a network are adjacent: errors first, then accuracies, then
sizes, and the first of them is its headline.
"""

import csv
from dataclasses import dataclass, fields
from functools import cache
from importlib.resources import files

CERTAINTIES = ("verified", "high", "uncertain")
"""Seen in the source; taken from a copy that agrees with others; remembered or read off a curve."""


@dataclass(frozen=True)
class Record:
    """A published figure, without the network's name, as in the JSON of `resight models`.

    Attributes:
        id: of the record, never reused.
        dataset: that it was tested on; for sizes, that the network was built for.
        metric: as named in the source, such as "top-1 error", "params" or "compute".
        value: as printed.
        unit: of the value: "%", "M" (millions), "GMAC" (thousand million multiply-adds), or none.
        protocol: how it was tested. One that opens with "lower bound" says that the value is one.
        source: paper and table, or the release.
        certainty: one of `CERTAINTIES`.
    """

    id: str
    dataset: str
    metric: str
    value: float
    unit: str
    protocol: str
    source: str
    certainty: str


@dataclass(frozen=True, kw_only=True)
class Published(Record):
    """A published figure of a network, by our name for it."""

    network: str

    @property
    def record(self) -> Record:
        """The figure alone."""
        return Record(**{one.name: getattr(self, one.name) for one in fields(Record)})


@cache
def load() -> tuple[Published, ...]:
    """Return all figures, in the file's order."""
    text = files("resight.core").joinpath("published.csv").read_text(encoding="utf-8")
    return tuple(
        Published(**{**row, "value": float(row["value"])})  # pyright: ignore[reportArgumentType]
        for row in csv.DictReader(text.splitlines())
    )


def of(network: str) -> list[Published]:
    """Return the figures of a network, its headline first; none if nothing is published."""
    return [figure for figure in load() if figure.network == network]
