"""Comparison sheets: several saliency methods on the same pictures, side by side."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from resight.core.errors import Fault, PictureError, UsageError
from resight.core.registry import lookup
from resight.core.text import amount
from resight.data.given import expand
from resight.render.overlay import over
from resight.render.sheet import TILE, Row, draw_sheet
from resight.saliency.explanation import Word
from resight.saliency.methods import METHODS, explain, fitting, read_options
from resight.service.explain import perceive
from resight.service.explain.asked import Asked
from resight.service.explain.drawing import seen_part
from resight.service.explain.target import name_of, wanted
from resight.service.pictures import Batch, batches, write_png
from resight.service.run.run import Run, open_run

ROWS = 20
"""Most rows of one sheet."""
ALL = "all"


@dataclass(frozen=True)
class Shown:
    """A row of a sheet: a picture and the class that its maps explain."""

    path: str
    target: str


@dataclass(frozen=True)
class Sheet:
    """A written sheet.

    Attributes:
        image: the PNG.
        methods: its columns.
        rows: what they show.
    """

    image: str
    methods: list[str]
    rows: list[Shown]


@dataclass(frozen=True)
class Unfit:
    """A method that does not fit the network, and why."""

    method: str
    fault: str


@dataclass(frozen=True)
class Sheets:
    """All sheets, the methods that are left out, and the files that cannot be read."""

    sheets: list[Sheet]
    left_out: list[Unfit]
    skipped: list[Fault]


@dataclass
class _Work:
    """A running call: the methods with their options, and its findings.

    Attributes:
        options: of each method.
        every: whether methods that do not fit the network are left out instead of stopping the call.
        layer: that was read.
        left_out: methods that do not fit, and why.
        faults: files that could not be read.
    """

    run: Run
    asked: Asked
    options: dict[str, dict[str, Any]]
    every: bool
    progress: Callable[[str], None]
    layer: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    faults: list[PictureError] = field(default_factory=list)

    def rows(self, files: Sequence[Path]) -> Iterator[tuple[Row, Shown]]:
        """Yield a row for each picture and class, with its path and class."""
        for batch in batches(self.run, files):
            self.faults += batch.faults
            if not batch.paths:
                continue
            wish = wanted(self.run, batch.images, self.asked.target)
            seen = explain(self.run.model, batch.images, "grad_cam", wish, self.asked.layers)
            words, self.layer = seen.words, seen.layer
            if self.every and not self.left_out:
                self._leave_out(batch.images)
            maps = [self._maps(name, batch, words) for name in self.options]
            for number, (path, square) in enumerate(zip(batch.paths, batch.squares, strict=True)):
                shown = seen_part(path, self.run.preprocessing, square, TILE)
                for column, word in enumerate(words[number]):
                    label = name_of(self.run, word)
                    tiles = [shown, *(over(shown, heat[number, column]) for heat in maps)]
                    yield Row(f"{path.name}: {label}", tiles), Shown(str(path), label)

    def _leave_out(self, images: Tensor) -> None:
        fit, self.left_out = fitting(self.run.model, images, self.asked.layers)
        self.options = {name: self.options[name] for name in fit}
        for name, fault in self.left_out.items():
            self.progress(f"left out: {METHODS[name].title}: {fault}")

    def _maps(self, name: str, batch: Batch, words: list[list[Word]]) -> NDArray[np.float32]:
        """Return the maps (B, T, S, S) of a method."""
        layers = None if METHODS[name].layerless else self.asked.layers
        maps = explain(self.run.model, batch.images, name, words, layers, **self.options[name]).maps
        self.progress(f"{METHODS[name].title}: {amount(len(batch.paths), 'picture')}")
        return maps.cpu().numpy()


def draw_sheets(
    run: str,
    paths: Sequence[str],
    asked: Asked | None = None,
    out: str = "explained",
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> Sheets:
    """Draw the maps of several methods side by side: sheet.png, then sheet-2.png and so on.

    Args:
        run: a RUN.
        paths: files, folders and patterns.
        asked: methods, classes (a row each), layers and options; by default all methods that fit.
        out: the folder to write to.
        progress: gets a line for each method and batch of pictures, and for each method left out.

    Raises:
        ResightError: in one line; UsageError if a method that is named does not fit; PictureError if no
            picture can be read.
    """
    asked = asked or Asked((ALL,))
    every = tuple(asked.methods) == (ALL,)
    names = list(METHODS) if every else list(dict.fromkeys(asked.methods))
    for name in names:
        if name == perceive.METHOD:
            raise UsageError(f"{name} draws its own panels, which a sheet cannot show; use --method")
        lookup(METHODS, name, "saliency method", "All names: resight explain --help")
    options = read_options(names, asked.changes)
    opened = open_run(run)
    work = _Work(opened, asked, options, every=every, progress=progress)
    rows = work.rows(expand(paths))
    sheets = []
    while part := list(islice(rows, ROWS)):
        number = len(sheets) + 1
        path = Path(out) / (f"sheet-{number}.png" if sheets else "sheet.png")
        drawn = list(work.options)
        header = ["picture", *(METHODS[name].title for name in drawn)]
        footer = f"{opened.model.name}, layer {work.layer}. Each map is scaled to its own range."
        write_png(path, draw_sheet(header, [row for row, _ in part], footer))
        sheets.append(Sheet(str(path), drawn, [shown for _, shown in part]))
    if not sheets:
        raise work.faults[0]
    left_out = [Unfit(name, fault) for name, fault in work.left_out.items()]
    return Sheets(sheets, left_out, [fault.row for fault in work.faults])
