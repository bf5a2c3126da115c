"""The search for boxes: maps of a batch, cut at a threshold, and counted where boxes are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resight.data.frames import Frame
from resight.data.prepare import Normalize
from resight.evaluate.localization import GUESSES, LocalizationFigures, Tally
from resight.localize import boxes as finding
from resight.localize.rule import Rule, coarse
from resight.localize.segments import pixels_of_region, run_lengths_of
from resight.models.probabilities import to_probabilities
from resight.saliency.methods import METHODS, explain
from resight.service.locate.answer import Box, Row
from resight.service.locate.marked import Picture
from resight.service.run.run import Run

CENTRE = "centre"
"""The baseline that does not use the picture."""


@dataclass(frozen=True)
class Wish:
    """What is wanted of `locate`.

    Attributes:
        methods: names in `METHODS`, or "all" alone; the boxes are the first one's, the measures are of all.
        rule: how a map becomes boxes.
        classes: "predicted", or "true" for the class that the data set gives a picture.
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
    """

    methods: Sequence[str] = ("grad_cam",)
    rule: Rule = field(default_factory=Rule)
    classes: str = "predicted"
    top: int = 1
    split: str | None = None
    layers: Sequence[str] | None = None
    changes: Sequence[str] = ()
    form: str = "json"
    out: str | None = None
    draw: str | None = None
    data_root: str | None = None


class Search:
    """The request for every batch.

    Args:
        run: the network.
        wish: what is wanted of it, with the methods that fit.
        options: of each method.

    Attributes:
        tallies: what is counted of each method, and of the spot in the middle.
        read: the layer that the first method read.
        cells: (h, w) of its map.
        side: of the network's square.
    """

    def __init__(self, run: Run, wish: Wish, options: Mapping[str, dict[str, Any]]) -> None:
        self.run, self.wish, self.options = run, wish, options
        rule = wish.rule
        self.tallies = {n: Tally(rule.threshold, rule.normalization) for n in (*wish.methods, CENTRE)}
        self.read, self.side = "", run.preprocessing.size
        self.cells = (self.side, self.side)
        self.normalize = Normalize(run.preprocessing, run.device)
        self.number = {name: i for i, name in enumerate(run.model.classes)}

    def __call__(self, batch: Sequence[tuple[Picture, Image.Image]], squares: Tensor) -> list[Row]:
        """Return a row for each picture, and count those whose boxes are known."""
        images = self.normalize(squares.to(self.run.device))
        with torch.inference_mode():
            logits = self.run.model(images).float().cpu()
        scaled = logits / self.run.temperature
        probabilities = to_probabilities(scaled, self.run.model.probabilities)
        best = logits.topk(min(max(GUESSES, self.wish.top), logits.shape[1]), dim=1).indices
        known = [
            self.number[p.label] if p.label else int(b[0]) for (p, _), b in zip(batch, best, strict=True)
        ]
        targets = torch.cat([torch.tensor(known)[:, None], best], 1)
        rows = []
        for place, method in enumerate(self.wish.methods):
            maps, layer, cells = self._maps(images, method, targets)
            for own, (picture, image), likely, named in zip(maps, batch, probabilities, targets, strict=True):
                self._measure(self.tallies[method], picture, image.size, own, named.tolist())
                if place == 0:
                    rows.append(self._row(picture, image.size, own, named.tolist(), likely))
            self.read, self.cells = (layer, cells) if place == 0 else (self.read, self.cells)
        for (picture, image), named in zip(batch, targets, strict=True):
            blind = finding.centre_maps(len(named), self.side, self.side)
            self._measure(self.tallies[CENTRE], picture, image.size, blind, named.tolist())
        return rows

    def metrics(self) -> dict[str, LocalizationFigures]:
        """Return the figures of each method that counted a picture, paired with the spot in the middle."""
        found = {name: tally.figures() for name, tally in self.tallies.items() if tally.count}
        centre = self.tallies[CENTRE]
        return {  # on the same pictures, so they are paired
            n: f if n == CENTRE else replace(f, paired=self.tallies[n].against(centre, CENTRE))
            for n, f in found.items()
        }

    def notes(self) -> list[str]:
        """Return a line if the boxes' map is too small for its threshold."""
        if not coarse(self.cells):
            return []
        height, width = self.cells
        return [
            f"the map of {self.read} has {height} x {width} positions at {self.side} pixels: above "
            f"{self.wish.rule.threshold:g} of its maximum nearly every box is the whole picture; use an "
            "earlier layer with --layer, raise --threshold, or train with a larger image_size or an earlier "
            "last="
        ]

    def _maps(
        self, images: Tensor, method: str, targets: Tensor
    ) -> tuple[NDArray[np.float32], str, tuple[int, int]]:
        """Return the maps (B, T, S, S), rectified where the paper does, not normalized; layer; (h, w)."""
        layers = None if METHODS[method].layerless else self.wish.layers
        result = explain(
            self.run.model, images, method, targets.to(self.run.device), layers, **self.options[method]
        )
        cells = (result.raw.shape[-2], result.raw.shape[-1])
        return result.shown.cpu().numpy(), result.layer, cells

    def _row(
        self,
        picture: Picture,
        size: tuple[int, int],
        maps: NDArray[np.float32],
        named: list[int],
        likely: Tensor,
    ) -> Row:
        true = self.wish.classes == "true" and picture.label is not None
        asked = [0] if true else list(range(1, 1 + min(self.wish.top, len(named) - 1)))
        scale = np.array([size[0] / self.side, size[1] / self.side] * 2)
        found, segments = [], []
        frame = Frame(size) if self.wish.form == "json" else picture.frame(size)
        for place, own in zip(asked, finding.scaled(maps[asked], self.wish.rule.normalization), strict=True):
            for region in self.wish.rule(own):
                x0, y0, x1, y1 = (np.array(region.box) * scale).round(2).tolist()
                label, score = self.run.model.classes[named[place]], float(likely[named[place]])
                box = (x0, y0, round(x1 - x0, 2), round(y1 - y0, 2))
                found.append(Box(label, score, box, "true" if true else "predicted"))
                if self.wish.form == "coco":
                    mask = pixels_of_region(region, own.shape, size)
                    segments.append(run_lengths_of(frame.stored_mask(mask)))
        return Row(picture.path, *size, found, frame, segments)

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
