"""The page of similar pictures: each picture that was asked about, and its nearest ones."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import PictureError
from resight.core.figures import to_json
from resight.render.overlay import thumbnail
from resight.render.page import Part, render, render_page
from resight.service.run.run import Run
from resight.service.similar.answer import Answer, Summary
from resight.service.similar.items import Seen, image_of

SHOWN, SIDE = 40, 144
"""Pictures on the page, and the longer side of each in pixels."""


def page_of(
    run: Run,
    among: str,
    seen: tuple[Seen, Seen],
    rows: Sequence[Answer],
    near: Sequence[NDArray[np.int64]],
    summary: Summary,
) -> str:
    """Return the page as HTML.

    Args:
        run: whose features were compared.
        among: the data set's name.
        seen: the pictures that were asked about, and the others.
        rows: the answers to the first.
        near: numbers of the nearest pictures of each row.
        summary: of all.
    """
    asked, others = seen
    uris: dict[int, str] = {}

    def shown(pictures: Seen, number: int) -> str:
        item = pictures.items[number]
        try:
            return thumbnail(np.asarray(image_of(item, item.content(), run, SIDE)), SIDE)
        except PictureError:
            return ""  # it went away since it was read

    drawn = []
    for number, row in enumerate(rows[:SHOWN]):
        for place in near[number]:
            uris.setdefault(int(place), shown(others, int(place)))
        labels = set(asked.items[number].labels)
        found = [
            {
                **to_json(entry),
                "image": uris[int(place)],
                "right": bool(labels & set(others.items[place].labels)),
            }
            for entry, place in zip(row.near, near[number], strict=True)
        ]
        label = ";".join(asked.items[number].labels)
        drawn.append({"path": row.path, "label": label, "image": shown(asked, number), "near": found})
    title = f"{run.network.name}: nearest pictures in {among} ({run.name})"
    return render_page(
        title, [_said(summary, len(rows)), Part("", html=render("sections/similar", rows=drawn))]
    )


def _said(summary: Summary, count: int) -> Part:
    """Return what the page says in words."""
    points = [
        f"{count:,} pictures were compared with {summary.n:,} by {summary.features:,} features, scaled "
        "to length 1. The distance is 0 for equal features and 1.41 for unrelated ones."
    ]
    if found := summary.precision:
        low, high = found.map_interval
        points.append(
            f"Mean average precision {found.map:.3f} (95 % interval {low:.3f} to {high:.3f}) over "
            f"{found.map_queries:,} pictures of known class; a random order gives "
            f"{found.map_of_guessing:.3f}."
        )
    if summary.near_copies:
        points.append(f"{summary.near_copies:,} of the pictures found are near copies: saved again.")
    if summary.skipped:
        points.append(f"{len(summary.skipped):,} pictures could not be read.")
    if count > SHOWN:
        points.append(f"The first {SHOWN} are shown; resight similar --json lists all.")
    return Part("", points=[*points, *summary.notes])
