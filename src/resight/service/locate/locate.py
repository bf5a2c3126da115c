"""Boxes from labels alone: saliency maps cut at a threshold, and how well they match annotated boxes.

The whole picture is resized to the network's square, as the protocols for weakly supervised localization do:
nothing is cropped away, and boxes are scaled back to the picture.
"""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from resight.core.errors import DataError, UsageError
from resight.core.files import require_place, write_text
from resight.core.registry import lookup
from resight.data.prepare import FILTERS
from resight.localize.rule import Rule
from resight.render.boxes import draw_boxes
from resight.saliency.methods import METHODS, fitting, read_options
from resight.service.locate.annotations import require_own_stems, write_coco, write_voc, write_yolo
from resight.service.locate.answer import Box, Found, Located, Row, results_of
from resight.service.locate.marked import Picture, pictures_of, squares_of
from resight.service.locate.search import Search, Wish
from resight.service.pictures import Unread, write_png
from resight.service.run.run import Run, open_run

EVERY_SECONDS = 20
FORMS = {"json": None, "coco": "located.json", "voc": "located", "yolo": "located"}
"""Where each is written by default."""
FOLDERS = ("voc", "yolo")
"""Forms that are a folder."""
CLASSES = ("predicted", "true")
"""Of which class boxes are: that which the network names, or that which the data set says."""
SEEN = "pixels of the pictures as displayed, with their EXIF orientation applied"
"""What boxes count in, but for the files of labelling tools; see `annotations`."""


def locate(
    run: str, paths: Sequence[str], wish: Wish | None = None, progress: Callable[[str], None] = lambda _: None
) -> Located:
    """Find boxes in pictures, and evaluate them where boxes are known.

    The boxes are for the predicted classes, or with `classes="true"` of the class that the
    data set gives a picture. The measures are of both, as their protocols define: GT-known is about the
    true class.

    Args:
        run: a RUN.
        paths: a data set, or pictures, folders and patterns.
        wish: what is wanted; by default the boxes of Grad-CAM for the best class.
        progress: gets a line from time to time.

    Raises:
        ResightError: in one line.
    """
    wish = wish or Wish()
    wish = replace(wish, methods=_named(wish.methods, wish.layers), out=_place(wish.form, wish.out))
    if wish.classes not in CLASSES:
        raise UsageError(f"--classes {wish.classes!r}: must be one of {', '.join(CLASSES)}")
    opened = _open(run)
    wish, left_out = _fitting(opened, wish)
    options = read_options(wish.methods, wish.changes)
    pictures, notes = pictures_of(opened, paths, wish.split, wish.data_root)
    _require_places(wish, pictures)
    search, errors = Search(opened, wish, options), []
    rows = _searched(search, pictures, errors, progress)
    how = (
        f"{wish.methods[0]} at {search.read} of {opened.name}; boxes of the {wish.classes} class; "
        f"{wish.rule.words}; whole pictures at {search.side}"
    )
    answer = Located(
        boxes=[Found(row.path, box) for row in rows for box in row.boxes],
        results=results_of(rows, opened.model.classes),
        pictures=len(rows),
        how=how,
        classes=wish.classes,
        threshold=wish.rule.threshold,
        normalization=wish.rule.normalization,
        frame=SEEN,
        metrics=search.metrics(),
        left_out=left_out,
        errors=errors,
        notes=notes + search.notes(),
        out=wish.out,
        drawn=wish.draw,
    )
    _write(answer, wish, rows, opened.model.classes)
    return answer


def _fitting(run: Run, wish: Wish) -> tuple[Wish, dict[str, str]]:
    """Return the wish with those of "all" methods that fit the network, and why others do not."""
    if wish.methods != ["all"]:
        return wish, {}
    side = run.preprocessing.size
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    methods, left_out = fitting(run.model, noise.to(run.device), wish.layers)
    return replace(wish, methods=methods), left_out


def _require_places(wish: Wish, pictures: Sequence[Picture]) -> None:
    """Refuse before the work what could not be written after it."""
    if wish.form == "yolo":
        require_own_stems([picture.path for picture in pictures])
    if wish.classes == "true" and not any(picture.label for picture in pictures):
        raise UsageError("--classes true needs a data set with the classes of its pictures")
    if wish.out:
        require_place(Path(wish.out) / wish.form if wish.form in FOLDERS else Path(wish.out))
    if wish.draw:
        require_place(Path(wish.draw) / "png")


def _searched(
    search: Search, pictures: Sequence[Picture], errors: list[Unread], progress: Callable[[str], None]
) -> list[Row]:
    """Return a row for each picture; `errors` gets those that are left out."""
    rows: list[Row] = []
    spoken = time.monotonic()
    for batch, squares in squares_of(search.run, pictures, errors):
        found = search(batch, squares)
        if search.wish.draw:
            _draw(Path(search.wish.draw), batch, found, len(rows))
        rows += found
        if time.monotonic() - spoken > EVERY_SECONDS:
            spoken = time.monotonic()
            progress(f"{len(rows):,} of {len(pictures):,} pictures")
    return rows


def _write(answer: Located, wish: Wish, rows: Sequence[Row], classes: Sequence[str]) -> None:
    """Write the file or folder that is wanted."""
    if not wish.out:
        return
    place = Path(wish.out)
    if wish.form == "coco":
        write_coco(place, rows, classes, answer.how)
    elif wish.form == "voc":
        write_voc(place, rows, answer.how)
    elif wish.form == "yolo":
        write_yolo(place, rows, classes)
    else:
        write_text(place, json.dumps(answer.document(), indent=1) + "\n")


def _named(methods: Sequence[str], layers: Sequence[str] | None) -> list[str]:
    """Return the methods, each once, or "all" alone."""
    methods = list(dict.fromkeys(methods))
    if not methods:
        raise UsageError("give at least one method")
    if methods == ["all"]:
        return methods
    for method in methods:
        lookup(METHODS, method, "saliency method")
    if layers and all(METHODS[method].layerless for method in methods):
        raise UsageError(f"{' and '.join(methods)} uses no layer that can be named; leave --layer out")
    return methods


def _place(form: str, out: str | None) -> str | None:
    """Return the file or folder to write to."""
    if form not in FORMS:
        raise UsageError(f"--format {form!r}: must be one of {', '.join(FORMS)}")
    place = out or FORMS[form]
    if place and form not in FOLDERS and Path(place).is_dir():
        raise UsageError(f"--out {place!r} is a folder; give a file")
    return place


def _open(run: str) -> Run:
    """Return a run that has class names and sees pictures."""
    opened = open_run(run)
    if not opened.model.classes:
        raise DataError(f"{run}: does not know its class names")
    if opened.model.in_channels != 3:
        raise DataError(f"{run}: the network takes {opened.model.in_channels} channels, but pictures have 3")
    return opened


def locate_in(
    run: Run, image: Image.Image, method: str, rule: Rule, *, label: str | None = None, top: int = 1
) -> list[Box]:
    """Find boxes in one picture in memory, as `locate` does in files.

    Args:
        run: it has class names and sees pictures.
        image: RGB, the whole picture.
        method: a name in `METHODS`.
        rule: how a map becomes boxes.
        label: the class to find; by default the predicted ones.
        top: number of predicted classes.
    """
    wish = Wish([method], rule, classes="predicted" if label is None else "true", top=top)
    search = Search(run, wish, {method: {}})
    batch = [(Picture("picture", label=label), image)]
    kind = FILTERS[run.preprocessing.interpolation]
    squares = torch.from_numpy(np.array(image.resize((search.side, search.side), kind)))[None]
    (row,) = search(batch, squares)
    return list(row.boxes)


def _draw(
    folder: Path, batch: Sequence[tuple[Picture, Image.Image]], rows: Sequence[Row], start: int
) -> None:
    """Write pictures with their boxes: found ones in yellow, marked ones in green."""
    for place, ((picture, image), row) in enumerate(zip(batch, rows, strict=True), start=start + 1):
        found = [(f"{box.label} {100 * box.score:.0f} % ({box.class_is})", box.box) for box in row.boxes]
        shown = draw_boxes(image, found, [box for _, box in picture.boxes or ()])
        write_png(folder / f"{place:05d}-{Path(picture.path).stem}.png", shown)
