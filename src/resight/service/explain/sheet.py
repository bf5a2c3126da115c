"""Comparison sheets: several saliency methods on the same pictures, side by side."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from resight.core.errors import PictureError, UsageError
from resight.core.registry import lookup
from resight.data.given import expand
from resight.render.overlay import over
from resight.render.sheet import TILE, Row, draw_sheet
from resight.saliency.methods import METHODS, explain, fitting, read_options
from resight.service.explain import perceive
from resight.service.explain.drawing import seen_part
from resight.service.explain.target import wanted
from resight.service.pictures import Batch, batches, write_png
from resight.service.run.run import Run, open_run

ROWS = 20
"""Most rows of one sheet."""
ALL = "all"


@dataclass
class _Work:
    """A running call: the methods with their options, and its findings.

    Attributes:
        every: whether methods that do not fit the network are left out instead of stopping the call.
        layer: that was read.
        left_out: methods that do not fit, and why.
        faults: files that could not be read.
    """

    run: Run
    target: str | None
    layers: Sequence[str] | None
    options: dict[str, dict[str, Any]]
    every: bool
    progress: Callable[[str], None]
    layer: str = ""
    left_out: dict[str, str] = field(default_factory=dict)
    faults: list[PictureError] = field(default_factory=list)

    def rows(self, files: Sequence[Path]) -> Iterator[tuple[Row, dict[str, Any]]]:
        """Yield a row for each picture and class, with its path and class."""
        for batch in batches(self.run, files):
            self.faults += batch.faults
            if not batch.paths:
                continue
            wish = wanted(self.run, batch.images, self.target)
            seen = explain(self.run.model, batch.images, "grad_cam", wish, self.layers)
            targets, self.layer = seen.targets.tolist(), seen.layer
            if self.every and not self.left_out:
                self._leave_out(batch.images)
            maps = [self._maps(name, batch, targets) for name in self.options]
            for number, (path, square) in enumerate(zip(batch.paths, batch.squares, strict=True)):
                shown = seen_part(path, self.run.preprocessing, square, TILE)
                for column, index in enumerate(targets[number]):
                    label = self.run.class_name(index)
                    tiles = [shown, *(over(shown, heat[number, column]) for heat in maps)]
                    yield Row(f"{path.name}: {label}", tiles), {"path": str(path), "target": label}

    def _leave_out(self, images: Tensor) -> None:
        fit, self.left_out = fitting(self.run.model, images, self.layers)
        self.options = {name: self.options[name] for name in fit}
        for name, fault in self.left_out.items():
            self.progress(f"left out: {METHODS[name].title}: {fault}")

    def _maps(self, name: str, batch: Batch, targets: list[list[int]]) -> NDArray[np.float32]:
        """Return the maps (B, T, S, S) of a method."""
        layers = None if METHODS[name].layerless else self.layers
        maps = explain(self.run.model, batch.images, name, targets, layers, **self.options[name]).maps
        self.progress(f"{METHODS[name].title}: {len(batch.paths)} pictures")
        return maps.cpu().numpy()


def draw_sheets(
    run: str,
    paths: Sequence[str],
    methods: Sequence[str] = (ALL,),
    target: str | None = None,
    layers: Sequence[str] | None = None,
    out: str = "explained",
    changes: Sequence[str] = (),
    *,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Draw the maps of several methods side by side: sheet.png, then sheet-2.png and so on.

    Args:
        run: a RUN.
        paths: files, folders and patterns.
        methods: names in `METHODS`; or "all" alone: all that fit the network.
        target: a class name or number; "topK" for the K best classes, a row each; by default the best.
        layers: whose maps are read and fused, by the methods that read any; by default the last one.
        out: the folder to write to.
        changes: `key=value` words, options of the methods; each method takes those that it has.
        progress: gets a line for each method and batch of pictures, and for each method left out.

    Returns:
        The JSON of `resight explain --methods`: "sheets" [{"image", "methods", "rows": [{"path",
        "target"}]}], "left_out" [{"method", "fault"}], "skipped" [{"path", "fault", "cure"}].

    Raises:
        ResightError: in one line; UsageError if a method that is named does not fit; PictureError if no
            picture can be read.
    """
    every = tuple(methods) == (ALL,)
    names = list(METHODS) if every else list(dict.fromkeys(methods))
    for name in names:
        if name == perceive.METHOD:
            raise UsageError(f"{name} draws its own panels, which a sheet cannot show; use --method")
        lookup(METHODS, name, "saliency method", "All names: resight explain --help")
    options = read_options(names, changes)
    opened = open_run(run)
    work = _Work(opened, target, layers, options, every=every, progress=progress)
    rows = work.rows(expand(paths))
    sheets = []
    while part := list(islice(rows, ROWS)):
        number = len(sheets) + 1
        path = Path(out) / (f"sheet-{number}.png" if sheets else "sheet.png")
        drawn = list(work.options)
        header = ["picture", *(METHODS[name].title for name in drawn)]
        footer = f"{opened.model.name}, layer {work.layer}. Each map is scaled to its own range."
        write_png(path, draw_sheet(header, [row for row, _ in part], footer))
        sheets.append({"image": str(path), "methods": drawn, "rows": [fact for _, fact in part]})
    if not sheets:
        raise work.faults[0]
    return {
        "sheets": sheets,
        "left_out": [{"method": name, "fault": fault} for name, fault in work.left_out.items()],
        "skipped": [{"path": f.name, "fault": f.fault, "cure": f.cure} for f in work.faults],
    }
