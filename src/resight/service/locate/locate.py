"""Boxes from labels alone: saliency maps cut at a threshold, and how well they match annotated boxes.

The whole picture is resized to the network's square, as the protocols for weakly supervised localization do:
nothing is cropped away, and boxes are scaled back to the picture.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resight.core.errors import DataError, UsageError
from resight.core.files import require_place, write_text
from resight.core.registry import lookup
from resight.data.frames import Frame
from resight.data.prepare import FILTERS, Normalize
from resight.evaluate.localization import GUESSES, Tally
from resight.geometry import heatmaps
from resight.localize import boxes as finding
from resight.localize.rule import Rule, coarse
from resight.localize.segments import pixels_of_region, run_lengths_of
from resight.models.probabilities import to_probabilities
from resight.render.boxes import draw_boxes
from resight.saliency.methods import METHODS, explain, fitting, read_options
from resight.service.locate.annotations import require_own_stems, write_coco, write_voc, write_yolo
from resight.service.locate.marked import Picture, pictures_of, squares_of
from resight.service.pictures import write_png
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
CENTRE = "centre"
"""The baseline that does not use the picture."""


def locate(
    run: str,
    paths: Sequence[str],
    methods: Sequence[str] = ("grad_cam",),
    rule: Rule | None = None,
    *,
    classes: str = "predicted",
    top: int = 1,
    split: str | None = None,
    layers: Sequence[str] | None = None,
    changes: Sequence[str] = (),
    form: str = "json",
    out: str | None = None,
    draw: str | None = None,
    data_root: str | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Find boxes in pictures, and evaluate them where boxes are known.

    The boxes are for the predicted classes, or with `classes="true"` of the class that the
    data set gives a picture. The measures are of both, as their protocols define: GT-known is about the
    true class.

    Args:
        run: a RUN.
        paths: a data set, or pictures, folders and patterns.
        methods: names in `METHODS`, or "all" alone; the boxes are the first one's, the measures are of all.
        rule: how a map becomes boxes.
        classes: "predicted" or "true".
        top: number of predicted classes per picture.
        split: of a data set; by default "test" if boxes are known, else all. A data set without splits is
            "test" as a whole, unless the run was trained on it.
        layers: whose maps are read and fused; by default the last one with a spatial map.
        changes: `key=value` words, options of the methods; each method takes those that it has.
        form: "json", "coco", "voc" or "yolo".
        out: the file, or for "voc" and "yolo" the folder, to write to; by default located.json for "coco",
            located for "voc" and "yolo", and nothing for "json".
        draw: a folder to write the pictures to, with their boxes.
        data_root: see `open_dataset`.
        progress: gets a line from time to time.

    Returns:
        {"boxes": [{"path", "label", "score", "box": [x, y, w, h], "class_is": "predicted" or "true"}], in
        pixels of the picture as seen, "results": the same in COCO's results format, "pictures": count, "how":
        in words, "classes", "threshold", "normalization", "frame": what boxes count in, "metrics": by method
        where boxes are known, each with "paired": against the spot in the middle on the same pictures (see
        `Tally.against`), "left_out": methods that do not fit the network, "errors", "notes", "out", "drawn"}.

    Raises:
        ResightError: in one line.
    """
    rule, methods, place = rule or Rule(), _named(methods, layers), _place(form, out)
    if classes not in CLASSES:
        raise UsageError(f"--classes {classes!r}: must be one of {', '.join(CLASSES)}")
    opened = _open(run)
    left_out: dict[str, str] = {}
    if methods == ["all"]:
        side = opened.preprocessing.size
        noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
        methods, left_out = fitting(opened.model, noise.to(opened.device), layers)
    options = read_options(methods, changes)
    pictures, notes = pictures_of(opened, paths, split, data_root)
    if form == "yolo":
        require_own_stems([picture.path for picture in pictures])
    if classes == "true" and not any(picture.label for picture in pictures):
        raise UsageError("--classes true needs a data set with the classes of its pictures")
    if place:
        require_place(Path(place) / form if form in FOLDERS else Path(place))
    if draw:
        require_place(Path(draw) / "png")
    search = _Search(opened, methods, options, layers, top, rule, form, known=classes == "true")
    tallies = {name: Tally(rule.threshold, rule.normalization) for name in [*methods, CENTRE]}
    rows: list[dict[str, Any]] = []
    errors: list[dict[str, str]] = []
    spoken = time.monotonic()
    for batch, squares in squares_of(opened, pictures, errors):
        found = search(batch, squares, tallies)
        if draw:
            _draw(Path(draw), batch, found, len(rows))
        rows += found
        if time.monotonic() - spoken > EVERY_SECONDS:
            spoken = time.monotonic()
            progress(f"{len(rows):,} of {len(pictures):,} pictures")
    how = (
        f"{methods[0]} at {search.read} of {opened.name}; boxes of the {classes} class; {rule.words}; "
        f"whole pictures at {search.side}"
    )
    measured = {name: tally.figures() for name, tally in tallies.items() if tally.count}
    for name in measured.keys() - {CENTRE}:  # on the same pictures, so they are paired
        measured[name]["paired"] = tallies[name].against(tallies[CENTRE], CENTRE)
    answer = {
        "boxes": [{"path": row["path"], **box} for row in rows for box in row["boxes"]],
        "results": _results(rows, opened.model.classes),
        "pictures": len(rows),
        "how": how,
        "classes": classes,
        "threshold": rule.threshold,
        "normalization": rule.normalization,
        "frame": SEEN,
        "metrics": measured,
        "left_out": left_out,
        "errors": errors,
        "notes": notes + search.notes(),
        "out": place,
        "drawn": draw,
    }
    if form == "coco":
        write_coco(Path(str(place)), rows, opened.model.classes, how)
    elif form == "voc":
        write_voc(Path(str(place)), rows, how)
    elif form == "yolo":
        write_yolo(Path(str(place)), rows, opened.model.classes)
    elif place:
        write_text(Path(place), json.dumps(document(answer), indent=1) + "\n")
    return answer


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
        raise UsageError(f"{' and '.join(methods)} uses the pictures, not a layer; leave --layer out")
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


def _results(rows: Sequence[dict[str, Any]], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Return boxes in COCO's results format; pictures and classes count from 1."""
    return [
        {
            "image_id": number,
            "category_id": classes.index(box["label"]) + 1,
            "bbox": box["box"],
            "score": box["score"],
            "file_name": row["path"],
            "category": box["label"],
            "class_is": box["class_is"],
        }
        for number, row in enumerate(rows, start=1)
        for box in row["boxes"]
    ]


def document(answer: dict[str, Any]) -> Any:
    """Return the file for other programs: with metrics if boxes are known, else COCO's results format."""
    if not answer["metrics"]:
        return answer["results"]
    return {k: v for k, v in answer.items() if k != "results"}


class _Search:
    """The request for every batch.

    Attributes:
        read: the layer that the first method read.
        cells: (h, w) of its map.
        side: of the network's square.
    """

    def __init__(
        self,
        run: Run,
        methods: Sequence[str],
        options: Mapping[str, dict[str, Any]],
        layers: Sequence[str] | None,
        top: int,
        rule: Rule,
        form: str,
        *,
        known: bool,
    ) -> None:
        self.run, self.methods, self.options, self.layers = run, methods, options, layers
        self.top, self.rule, self.form, self.known = top, rule, form, known
        self.read, self.side = "", run.preprocessing.size
        self.cells = (self.side, self.side)
        self.normalize = Normalize(run.preprocessing, run.device)
        self.number = {name: i for i, name in enumerate(run.model.classes)}

    def __call__(
        self, batch: Sequence[tuple[Picture, Image.Image]], squares: Tensor, tallies: Mapping[str, Tally]
    ) -> list[dict[str, Any]]:
        """Return a row for each picture, and count those whose boxes are known."""
        images = self.normalize(squares.to(self.run.device))
        with torch.inference_mode():
            logits = self.run.model(images).float().cpu()
        scaled = logits / self.run.temperature
        probabilities = to_probabilities(scaled, self.run.model.probabilities)
        best = logits.topk(min(max(GUESSES, self.top), logits.shape[1]), dim=1).indices
        known = [
            self.number[p.label] if p.label else int(b[0]) for (p, _), b in zip(batch, best, strict=True)
        ]
        targets = torch.cat([torch.tensor(known)[:, None], best], 1)
        rows = []
        for place, method in enumerate(self.methods):
            maps, layer, cells = self._maps(images, method, targets)
            for own, (picture, image), likely, named in zip(maps, batch, probabilities, targets, strict=True):
                self._measure(tallies[method], picture, image.size, own, named.tolist())
                if place == 0:
                    rows.append(self._row(picture, image.size, own, named.tolist(), likely))
            self.read, self.cells = (layer, cells) if place == 0 else (self.read, self.cells)
        for (picture, image), named in zip(batch, targets, strict=True):
            blind = finding.centre_maps(len(named), self.side, self.side)
            self._measure(tallies[CENTRE], picture, image.size, blind, named.tolist())
        return rows

    def notes(self) -> list[str]:
        """Return a line if the boxes' map is too small for its threshold."""
        if not coarse(self.cells):
            return []
        height, width = self.cells
        return [
            f"the map of {self.read} has {height} x {width} positions at {self.side} pixels: above "
            f"{self.rule.threshold:g} of its maximum nearly every box is the whole picture; use an earlier "
            "layer with --layer, raise --threshold, or train with a larger image_size or an earlier last="
        ]

    def _maps(
        self, images: Tensor, method: str, targets: Tensor
    ) -> tuple[NDArray[np.float32], str, tuple[int, int]]:
        """Return the maps (B, T, S, S), rectified where the paper does, not normalized; layer; (h, w)."""
        layers = None if METHODS[method].layerless else self.layers
        result = explain(
            self.run.model, images, method, targets.to(self.run.device), layers, **self.options[method]
        )
        raw = heatmaps.rectify(result.raw) if result.rectified else result.raw
        cells = (raw.shape[-2], raw.shape[-1])
        return heatmaps.resize(raw.float(), self.side, self.side).cpu().numpy(), result.layer, cells

    def _row(
        self,
        picture: Picture,
        size: tuple[int, int],
        maps: NDArray[np.float32],
        named: list[int],
        likely: Tensor,
    ) -> dict[str, Any]:
        true = self.known and picture.label is not None
        asked = [0] if true else list(range(1, 1 + min(self.top, len(named) - 1)))
        scale = np.array([size[0] / self.side, size[1] / self.side] * 2)
        found, segments = [], []
        frame = Frame(size) if self.form == "json" else picture.frame(size)
        for place, own in zip(asked, finding.scaled(maps[asked], self.rule.normalization), strict=True):
            for region in self.rule(own):
                x0, y0, x1, y1 = (np.array(region.box) * scale).round(2).tolist()
                found.append(
                    {
                        "label": self.run.model.classes[named[place]],
                        "score": float(likely[named[place]]),
                        "box": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
                        "class_is": "true" if true else "predicted",
                    }
                )
                if self.form == "coco":
                    mask = pixels_of_region(region, own.shape, size)
                    segments.append(run_lengths_of(frame.stored_mask(mask)))
        row = {"path": picture.path, "width": size[0], "height": size[1], "boxes": found}
        return {**row, "frame": frame, "segments": segments}

    def _measure(
        self,
        tally: Tally,
        picture: Picture,
        size: tuple[int, int],
        maps: NDArray[np.float32],
        named: list[int],
    ) -> None:
        """Count one picture, if its own class is marked on it: maps (1 + guesses, S, S)."""
        if not picture.boxes:
            return
        scale = np.array([self.side / size[0], self.side / size[1]] * 2)
        truth = {
            label: np.array([b for name, b in picture.boxes if name == label]) * scale
            for label in dict.fromkeys(name for name, _ in picture.boxes)
        }
        if picture.label in truth:
            names = [self.run.model.classes[n] for n in named]
            tally.add(maps, names, truth, picture.mask(self.side))


def locate_in(
    run: Run, image: Image.Image, method: str, rule: Rule, *, label: str | None = None, top: int = 1
) -> list[dict[str, Any]]:
    """Find boxes in one picture in memory, as `locate` does in files.

    Args:
        run: it has class names and sees pictures.
        image: RGB, the whole picture.
        method: a name in `METHODS`.
        rule: how a map becomes boxes.
        label: the class to find; by default the predicted ones.
        top: number of predicted classes.

    Returns:
        {"label", "score", "box": [x, y, w, h], "class_is"} for each, in pixels of the picture.
    """
    search = _Search(run, [method], {method: {}}, None, top, rule, "json", known=label is not None)
    batch = [(Picture("picture", label=label), image)]
    kind = FILTERS[run.preprocessing.interpolation]
    squares = torch.from_numpy(np.array(image.resize((search.side, search.side), kind)))[None]
    (row,) = search(
        batch, squares, {name: Tally(rule.threshold, rule.normalization) for name in (method, CENTRE)}
    )
    return row["boxes"]


def _draw(
    folder: Path, batch: Sequence[tuple[Picture, Image.Image]], rows: list[dict[str, Any]], start: int
) -> None:
    """Write pictures with their boxes: found ones in yellow, marked ones in green."""
    for place, ((picture, image), row) in enumerate(zip(batch, rows, strict=True), start=start + 1):
        found = [
            (f"{box['label']} {100 * box['score']:.0f} % ({box['class_is']})", box["box"])
            for box in row["boxes"]
        ]
        shown = draw_boxes(image, found, [box for _, box in picture.boxes or ()])
        write_png(folder / f"{place:05d}-{Path(picture.path).stem}.png", shown)
