"""Class by class: the table of the worst, all classes in a file, and which classes are confused."""

import csv
import io
from typing import Any

from resight.core.files import write_text
from resight.render.page import Part, render
from resight.service.report.kinds import kind_of
from resight.service.report.tested import Tested

ROWS, WORST = 60, 30
"""Most classes that the page lists; of more, the worst, and all of them in the file."""
MATRIX, PAIRS = 30, 12
"""Most classes of the matrix; most pairs of the table."""
TABLE = "classes.csv"


def class_by_class(tested: Tested) -> list[Part]:
    """Return the table of the classes, worst first; for very many classes the worst, and a file with all."""
    table = tested.figures["per_class"]
    rows = sorted(table.items(), key=lambda row: _badness(row[1]))
    shown = rows if len(rows) <= ROWS else rows[:WORST]
    if len(shown) < len(rows):
        write_text(tested.folder / TABLE, as_csv(table))
    kind = kind_of(tested.result)
    html = render(
        "sections/classes", rows=shown, hidden=len(rows) - len(shown), table=TABLE, about=kind.about_classes,
        columns=kind.columns,
    )  # fmt: skip
    return [Part("Class by class", html=html)]


def _badness(row: dict[str, Any]) -> tuple[float, float]:
    """Return a sort key that puts the surely bad first: 1 error of 1 is weaker evidence than 9 of 10."""
    if row["error"] is None:
        return 1.0, 0.0
    return -row["interval"][0], -row["error"]


def as_csv(table: dict[str, dict[str, Any]]) -> str:
    """Return the figures of all classes as CSV, in the classes' order; without pictures, empty cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    keys = [key for key in next(iter(table.values())) if key != "interval"]
    writer.writerow(["class", *keys, "interval_low", "interval_high"])
    for name, row in table.items():
        low, high = row["interval"] or (None, None)
        writer.writerow([name.encode("utf-8", "replace").decode(), *(row[key] for key in keys), low, high])
    return text.getvalue()


def confusions(tested: Tested) -> list[Part]:
    """Return which classes are confused, for few classes also the matrix; nothing where none is."""
    figures = tested.figures
    classes, matrix = figures["classes"], figures["confusion"] if len(figures["classes"]) <= MATRIX else None
    pairs = [
        {
            "true": classes[true], "predicted": classes[said], "count": count,
            "share": count / figures["per_class"][classes[true]]["n"],
        }
        for true, said, count in figures["confused"][:PAIRS]
    ]  # fmt: skip
    if not pairs and not matrix:
        return []
    html = render("sections/confused", matrix=matrix and shaded(matrix), classes=classes, pairs=pairs)
    return [Part("Which classes are confused", html=html)]


def shaded(matrix: list[list[int]]) -> list[list[tuple[int, float]]]:
    """Return each count with its darkness in [0, 1]: the root of its share, to show small counts."""
    totals = [max(sum(row), 1) for row in matrix]
    return [
        [(count, (count / total) ** 0.5) for count in row] for row, total in zip(matrix, totals, strict=True)
    ]
