"""The pictures of a data set that are nearest to given ones, by the features of a network."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core import seeds
from resight.core.console import counted
from resight.core.errors import DataError
from resight.core.figures import to_json
from resight.core.files import require_place, write_text
from resight.data.near_copies import are_near
from resight.metrics.retrieval import average_precision, guessed_precision
from resight.service.run.run import open_any
from resight.service.similar.answer import Answer, Near, Precision, Summary
from resight.service.similar.items import Seen, asked_items, items_of, read
from resight.service.similar.page import page_of

CHUNK = 256
"""Pictures that are ranked together."""
DRAWS = 1000


@dataclass(frozen=True)
class Ranking:
    """The answer to one picture.

    Attributes:
        near: numbers of the nearest pictures, nearest first.
        distances: of these, in [0, 2].
        precision: average precision over all others; None if its class is not known, or none other has it.
        guessed: the same of a random ranking.
    """

    near: NDArray[np.int64]
    distances: NDArray[np.float64]
    precision: float | None
    guessed: float | None


def similar(
    run: str,
    pictures: Sequence[str],
    among: str,
    top: int = 5,
    out: str | None = None,
    data_root: str | None = None,
) -> list[dict[str, Any]]:
    """Find the pictures that are nearest to given ones.

    Distances are Euclidean, between features of length 1: 0 for equal ones, 1.41 for unrelated ones, 2 at
    most. See `features_of` for what is compared.

    Args:
        run: a RUN, zoo:NAME, or zoo:NAME=FILE with third-party weights.
        pictures: files, folders and patterns; or the word `among` itself, for all of its pictures. The row of
            a picture itself is left out.
        among: what `open_dataset` takes, all splits together; or a folder of pictures without classes.
        top: how many to list.
        out: a page (HTML) to write; None for none.
        data_root: see `open_dataset`.

    Returns:
        The JSON of `resight similar`: a row for each picture, {"path", "near": [{"path", "distance",
        "label", "near_copy"}]}, or {"path", "error"}; then one with what holds for all: "map" (with its
        interval and that of a random ranking) where classes are known, "n", "features", "near_copies",
        "skipped", "notes", "page".

    Raises:
        ResightError: in one line.
    """
    if out:
        require_place(Path(out))
    opened = open_any(run, features=True)
    items, notes = items_of(among, data_root)
    seen = read(opened, items)
    if not seen.items:
        raise DataError(f"{among}: none of its {len(items)} pictures can be read; see: resight check {among}")
    whole = list(pictures) == [among]
    asked = seen if whole else read(opened, asked_items(pictures, seen))
    own = np.arange(len(seen.items)) if whole else _own(asked, seen)
    rankings = _ranked(asked, seen, own, top)
    rows = [_answer(asked, seen, i, ranking) for i, ranking in enumerate(rankings)]
    faults = [] if whole else asked.faults
    broken = [{"path": f.name, "error": f"{f.fault}; {f.cure}"} for f in faults]
    summary = _summary(seen, rows, rankings, notes)
    if out:
        page = page_of(opened, among, (asked, seen), rows, [r.near for r in rankings], summary)
        write_text(Path(out), page)
    return [*to_json(rows), *broken, to_json(replace(summary, page=out))]


def _own(asked: Seen, seen: Seen) -> NDArray[np.int64]:
    """Return for each picture that is asked about its number among the others; -1 if it is none of them."""
    places = seen.places()
    return np.array([places.get(os.path.realpath(item.name), -1) for item in asked.items], np.int64)


def _ranked(asked: Seen, seen: Seen, own: NDArray[np.int64], top: int) -> list[Ranking]:
    """Return the ranking of the pictures for each that is asked about, a chunk of them at a time."""
    numbers = {label: n for n, label in enumerate(sorted({x for i in seen.items for x in i.labels}))}
    classes = _hot(seen, numbers)
    digests = np.array(seen.digests)
    rankings = []
    starts = range(0, len(asked.items), CHUNK)
    for start in counted(starts, "ranking pictures", len(asked.items), CHUNK):
        part = slice(start, start + CHUNK)
        likeness = asked.vectors[part] @ seen.vectors.T
        wanted = _hot(asked, numbers, part) @ classes.T > 0
        for row, number in enumerate(range(*part.indices(len(asked.items)))):
            order = np.argsort(-likeness[row], kind="stable")
            order = order[order != own[number]]
            near = order[:top]
            apart = np.linalg.norm(
                asked.vectors[number].astype(np.float64) - seen.vectors[near].astype(np.float64), axis=1
            )
            # A copy under another name says nothing about how well classes are found.
            others = order[digests[order] != asked.digests[number]]
            relevant = wanted[row][others]
            found = guessed = None
            if relevant.any():
                found = average_precision(relevant)
                guessed = guessed_precision(int(relevant.sum()), len(relevant))
            rankings.append(Ranking(near, apart, found, guessed))
    return rankings


def _hot(seen: Seen, numbers: dict[str, int], part: slice = slice(None)) -> NDArray[np.float32]:
    """Return which classes pictures have, (N, classes) of 0 and 1."""
    items = seen.items[part]
    table = np.zeros((len(items), len(numbers)), np.float32)
    for row, item in enumerate(items):
        table[row, [numbers[label] for label in item.labels if label in numbers]] = 1
    return table


def _answer(asked: Seen, seen: Seen, number: int, ranking: Ranking) -> Answer:
    own = asked.prints[number]
    near = []
    for place, distance in zip(ranking.near.tolist(), ranking.distances.tolist(), strict=True):
        item, other = seen.items[place], seen.prints[place]
        copy = asked.digests[number] == seen.digests[place] or bool(own and other and are_near(own, other))
        near.append(Near(item.name, round(distance, 6), ";".join(item.labels) or None, near_copy=copy))
    return Answer(asked.items[number].name, near)


def _summary(
    seen: Seen, rows: Sequence[Answer], rankings: Sequence[Ranking], notes: Sequence[str]
) -> Summary:
    """Return what holds for all pictures; mean average precision only where classes are known."""
    found = np.array([r.precision for r in rankings if r.precision is not None])
    guessed = [r.guessed for r in rankings if r.guessed is not None]
    figures = None
    if len(found):
        drawn = (seeds.uniform(0, 0, np.arange(DRAWS * len(found)), "queries") * len(found)).astype(np.int64)
        low, high = np.quantile(found[drawn.reshape(DRAWS, -1)].mean(1), [0.025, 0.975])
        interval = float(low), float(high)
        figures = Precision(float(found.mean()), interval, len(found), float(np.mean(guessed)))
    return Summary(
        figures,
        n=len(seen.items),
        features=int(seen.vectors.shape[1]),
        near_copies=sum(near.near_copy for row in rows for near in row.near),
        skipped=[fault.row for fault in seen.faults],
        notes=list(notes),
    )
