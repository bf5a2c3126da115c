"""Results of the ImageNet and COCO challenges, and of the residual network's own tables of 2015.

`history.csv` has a row for each figure: winners by year, the five tracks of 2015, and tables 7 to 14 of
He et al. 2015.
"""

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

TABLES = tuple(f"table-{number}" for number in range(7, 15))
GROUPS = ("classification", "human", "localization", "detection", "tracks", *TABLES)


@dataclass(frozen=True)
class Result:
    """A published result.

    Attributes:
        group: one of `GROUPS`: a challenge by year, the tracks of 2015, or a table of the paper.
        label: of the entry or the table's row.
        year: of the challenge.
        layers: with weights, of the deepest network of the entry; None for a classic pipeline or if unknown.
        metric: as named in the source.
        value: as printed.
        unit: "%".
        dataset: and its part; empty where the metric's name says it.
        protocol: how it was tested.
        source: paper and table, talk, or results page.
        certainty: see `resight.core.published.CERTAINTIES`.
    """

    group: str
    label: str
    year: int
    layers: int | None
    metric: str
    value: float
    unit: str
    dataset: str
    protocol: str
    source: str
    certainty: str


@cache
def load() -> tuple[Result, ...]:
    """Return all results, in the file's order."""
    text = files("resight.core").joinpath("history.csv").read_text(encoding="utf-8")
    return tuple(
        Result(
            row["group"], row["label"], int(row["year"]), int(row["layers"]) if row["layers"] else None,
            row["metric"], float(row["value"]), row["unit"], row["dataset"], row["protocol"], row["source"],
            row["certainty"],
        )
        for row in csv.DictReader(text.splitlines())
    )  # fmt: skip


def of(*groups: str) -> list[Result]:
    """Return the results of some groups."""
    return [result for result in load() if result.group in groups]
