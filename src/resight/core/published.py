"""Figures that papers and releases publish for our networks, each with its protocol and its source.

`published.csv` has a row for each. The rows of a network are adjacent: errors first, then accuracies, then
sizes, and the first of them is its headline.
"""

import csv
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

CERTAINTIES = ("verified", "high", "uncertain")
"""Seen in the source; taken from a copy that agrees with others; remembered or read off a curve."""


@dataclass(frozen=True)
class Published:
    """A published figure.

    Attributes:
        id: of the record, never reused.
        network: our name for it.
        dataset: that it was tested on; for sizes, that the network was built for.
        metric: as named in the source, such as "top-1 error", "params" or "compute".
        value: as printed.
        unit: of the value: "%", "M" (millions), "GMAC" (thousand million multiply-adds), or none.
        protocol: how it was tested. One that opens with "lower bound" says that the value is one.
        source: paper and table, or the release.
        certainty: one of `CERTAINTIES`.
    """

    id: str
    network: str
    dataset: str
    metric: str
    value: float
    unit: str
    protocol: str
    source: str
    certainty: str

    def record(self) -> dict[str, Any]:
        """Return it as in the JSON of `resight models`: all but the network's name."""
        return {key: value for key, value in asdict(self).items() if key != "network"}


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
