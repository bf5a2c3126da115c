"""The sections of a report of a task with a head of its own: the task gives drawings and tables."""

from dataclasses import dataclass
from typing import Any

from resight.data.dataset import Dataset
from resight.render.charts import Series, interval_scale, line_chart
from resight.render.overlay import thumbnail
from resight.render.page import Part, render
from resight.service.report.tested import Tested
from resight.service.report.training import left_out, made
from resight.tasks.result import Result

SIDE = 320
"""Longer side of a drawing of one picture on the page, in pixels."""
MOST_ROWS = 60


@dataclass(frozen=True)
class Page:
    """What the sections read.

    Attributes:
        tested: run, data, record and curves.
        result: of the test.
    """

    tested: Tested
    result: Result


def parts_of(tested: Tested, result: Result) -> list[Part]:
    """Return the parts of the page, what a person asks first before the rest."""
    page = Page(tested, result)
    return [
        headline(page), *drawings(page), *tables(page), *curves(page), *left_out(tested), *made(tested),
    ]  # fmt: skip


def headline(page: Page) -> Part:
    """Return the figure with its interval, and the notes of the data set."""
    head, tested = page.result.headline(), page.tested
    scale = interval_scale(head.figure, head.interval, head.guess) if head.percent and head.interval else ""
    lines = [head.line(guess=False) + f"; n = {len(page.result.indices):,}"]
    if head.guess is not None:
        lines.append(f"The best answer that sees no picture has {head.said(head.guess)}.")
    leaks = tested.leaks
    warnings = (
        [f"▲ {leaks} test pictures were also trained on: on new pictures it is worse."] if leaks else []
    )
    html = render(
        "sections/headline", figure=head.said(head.figure), unit=head.unit, meaning=head.words, scale=scale,
        lines=lines, warnings=warnings, facts=[],
    )  # fmt: skip
    return Part(
        "", html=html + "".join(render("sections/note", note=n) for n in _notes(tested.dataset, tested))
    )


def _notes(dataset: Dataset, tested: Tested) -> list[str]:
    own = sorted(tested.record["notes"]) if tested.own else []
    return [f"About the data: {note}." for note in dict.fromkeys([*dataset.notes, *own])]


def drawings(page: Page) -> list[Part]:
    """Return the best, typical and worst pictures with what was said and what is true."""
    parts = []
    for group in page.result.shown():
        items: list[dict[str, Any]] = [
            {"picture": thumbnail(d.picture, SIDE * d.across), "caption": d.caption, "name": d.name}
            for d in group.drawings
        ]
        across = max(d.across for d in group.drawings)
        html = render("sections/drawn", words=group.words, items=items, across=across)
        parts.append(Part(group.title, html=html))
    return parts


def tables(page: Page) -> list[Part]:
    """Return the tables of the task."""
    return [
        Part(table.title, html=render("sections/table", table=table, most=MOST_ROWS))
        for table in page.result.tables()
    ]


def curves(page: Page) -> list[Part]:
    """Return the learning curves: those that training and validation share, each in one chart."""
    rows = page.tested.rows
    if len(rows) < 2:
        return []
    names = list(dict.fromkeys(k.partition("_")[2] for row in rows for k in row if k[:4] in ("trai", "val_")))
    charts = []
    for name in [*names, "lr"]:
        keys = [(name, "a")] if name == "lr" else [(f"train_{name}", "a"), (f"val_{name}", "b")]
        lines = [
            Series(key, [r["epoch"] for r in rows if key in r], [r[key] for r in rows if key in r], colour)
            for key, colour in keys
        ]
        title = "learning rate" if name == "lr" else name.replace("_", " ")
        legend = "yes" if sum(bool(len(line.xs)) for line in lines) > 1 else ""
        svg = line_chart(lines, "epoch", f"{title} in %" if name.endswith("error") else title)
        charts.append({"title": title.capitalize(), "svg": svg, "legend": legend, "above": ""})
    return [Part("How it trained", html=render("sections/curves", charts=charts))]
