"""A recipe's operations as one thing: what happens to the squares of a batch on the device, and to marks."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.augment import crops, mixing, moves
from resight.data.augment.draws import Draws
from resight.data.augment.operations import PADDED, Step
from resight.data.augment.warp import Warp, resample
from resight.data.marks import AnyMarks, classes_of
from resight.data.prepare import Normalize, Picture, cut_box, fit, size_of

Generated = Callable[[Tensor, Tensor], Tensor]
"""Draws pictures (B, S, S, 3) uint8 from class numbers (B,) and normal numbers (B, Z) float32."""


@dataclass(frozen=True)
class Pipeline:
    """The operations of a recipe.

    Attributes:
        steps: as `operations.parse` reads them.
        classes: how many there are; mixing needs it, unless samples have several labels.
        generated: draws pictures for the step `gan`.
        noise: Z, how many numbers it draws one from.

    Raises:
        UsageError: if `gan` is among the steps and nothing draws.
    """

    steps: tuple[Step, ...] = ()
    classes: int = 0
    generated: Generated | None = field(default=None, compare=False)
    noise: int = 100

    def __post_init__(self) -> None:
        """Refuse a generator that is missing."""
        if self._first("generated") and self.generated is None:
            raise UsageError("augment=gan:... needs a generator, which only training opens")

    @cached_property
    def crop(self) -> Step | None:
        """The crop, if there is one."""
        return self._first("crop")

    @cached_property
    def flip(self) -> Step | None:
        """Mirroring, if it is asked for."""
        return self._first("flip")

    @property
    def whole(self) -> bool:
        """Whether the crop is cut from whole pictures, so that squares are not enough."""
        return self.crop is not None and self.crop.name not in PADDED

    @cached_property
    def mixes(self) -> tuple[Step, ...]:
        """What blends two samples."""
        return self._kind("mix")

    @cached_property
    def late(self) -> bool:
        """Whether there is more than a crop and mirroring."""
        return any(step.operation.kind not in ("crop", "flip") for step in self.steps)

    def padding(self, side: int) -> int:
        """Return how many pixels a square is padded with; 0 if nothing pads."""
        return crops.pixels_of(self.crop.value, side) if self.crop and not self.whole else 0

    def is_mirrored(self, draws: Draws) -> NDArray[np.bool_]:
        """Return which samples are mirrored, (B,)."""
        if self.flip is None:
            return np.zeros(len(draws.samples), bool)
        return draws.of("flip").uniform() < self.flip.share

    def square(self, image: Picture, draws: Draws, card: Preprocessing) -> NDArray[np.uint8]:
        """Return a picture cropped and mirrored, (size, size, 3).

        Args:
            image: RGB, whole.
            draws: of one sample.
            card: of the input.
        """
        if self.crop and self.whole:
            box = crops.BOXES[self.crop.name](draws, self.crop.value, *size_of(image), card.size)
            square = cut_box(image, box, card.size)
        else:
            square = fit(image, card)
            if pad := self.padding(card.size):
                top, left = (int(offset[0]) for offset in crops.offsets(draws, 2 * pad))
                padded = np.pad(square, ((pad, pad), (pad, pad), (0, 0)))
                square = padded[top : top + card.size, left : left + card.size]
        return square[:, ::-1] if self.is_mirrored(draws)[0] else square

    def finish(
        self,
        squares: Tensor,
        marks: AnyMarks,
        normalize: Normalize,
        draws: Draws,
        positions: NDArray[np.int64],
    ) -> tuple[Tensor, AnyMarks]:
        """Do all that comes after crop and mirroring.

        Args:
            squares: (B, S, S, 3) uint8 on the device; the caller gives them away.
            marks: of the samples.
            normalize: turns squares into images.
            draws: of the samples, with the device.
            positions: of the samples in this process's part of the step, (B,), rising.

        Returns:
            Images (B, 3, S, S) float32, normalized, and the marks, blended where pictures are.

        Raises:
            UsageError: if something shall be mixed or drawn that has other marks than classes.
        """
        if not self.late:
            return normalize(squares), marks
        for step in self._kind("generated"):
            self._generate(squares, classes_of(marks, step.name).labels, draws.of(step.name), step.share)
        if altering := self._kind("move", "pixel", "policy"):
            images = self._altered(squares.permute(0, 3, 1, 2).float() / 255, altering, draws)
            images = normalize((images * 255).permute(0, 2, 3, 1).contiguous())
        else:
            images = normalize(squares)
        for step in self._kind("hide"):
            images = _where(step, images, draws)
        if not self.mixes:
            return images, marks
        own = classes_of(marks, self.mixes[0].name)
        shares = mixing.distributions(own.labels, self.classes)
        images, shown = self._mixed(images, shares, draws, positions)
        return images, replace(own, shown=shown)

    def warp(self, draws: Draws, sizes: Sequence[tuple[int, int]], card: Preprocessing) -> Warp:
        """Return how pictures are moved by all of it, so that points, boxes and masks can follow.

        Args:
            draws: of the samples.
            sizes: (width, height) of each picture that the crop is cut from, in pixels.
            card: of the input.
        """
        shares = [
            np.array(self._box(draws.at(np.array([i])), *size, card)) / np.array([*size, *size])
            for i, size in enumerate(sizes)
        ]
        warp = Warp((moves.boxed(np.stack(shares)),)).then(moves.mirrored(self.is_mirrored(draws))).cut()
        for step in self._kind("move", "pixel", "policy"):
            if step.operation.kind == "move":
                warp = warp.then(_stage(step, draws.of(step.name)))
                continue
            warp = warp.cut()  # here moves so far have been resampled
            if step.operation.kind == "policy":
                own = draws.of(step.name)
                space, choices = step.operation.make(own, step.value)
                for choice in choices:
                    warp = warp.then(choice.only(own.happens(step.share)).matrices(space, card.size)).cut()
        return warp

    def _box(self, draws: Draws, width: int, height: int, card: Preprocessing) -> tuple[float, ...]:
        if self.crop and self.whole:
            return crops.BOXES[self.crop.name](draws, self.crop.value, width, height, card.size)
        box, pad = crops.fitted_box(width, height, card), self.padding(card.size)
        if not pad:
            return box
        top, left = crops.offsets(draws, 2 * pad)
        return crops.padded_box(box, int(top[0]), int(left[0]), pad, card.size)

    def _altered(self, images: Tensor, steps: Sequence[Step], draws: Draws) -> Tensor:
        """Return images in [0, 1] after moves, colours and policies; moves in a row are resampled once."""
        pending = Warp(())
        for step in steps:
            operation, own = step.operation, draws.of(step.name)
            if operation.kind == "move":
                pending = pending.then(_stage(step, own))
                continue
            if pending.stages:
                images, pending = resample(images, pending), Warp(())
            if operation.kind == "pixel":
                images = _where(step, images, draws)
                continue
            space, choices = operation.make(own, step.value)
            on = own.happens(step.share)
            for choice in choices:
                images = choice.only(on).apply(images, space, own)
        return resample(images, pending) if pending.stages else images

    def _generate(self, squares: Tensor, labels: Tensor, draws: Draws, share: float) -> None:
        """Put drawn pictures of the same classes in the place of some."""
        if labels.dim() == 2:
            raise UsageError("augment=gan draws pictures of one class each; this data set is multi-label")
        assert self.generated is not None  # the constructor sees to it
        rows = np.flatnonzero(draws.happens(share))
        if len(rows):
            where = torch.from_numpy(rows).to(squares.device)
            noise = draws.at(rows).normal_field("noise", self.noise)
            squares[where] = self.generated(labels[where], noise).to(squares.device)

    def _mixed(
        self, images: Tensor, targets: Tensor, draws: Draws, positions: NDArray[np.int64]
    ) -> tuple[Tensor, Tensor]:
        """Mix pairs, each by one of the operations that mix."""
        first, second = mixing.pairs_of(positions)
        if not len(first):
            return images, targets
        pairs = draws.at(first).of("mix")
        chosen = (pairs.uniform("operation") * len(self.mixes)).astype(np.int64)
        for number, step in enumerate(self.mixes):
            here = np.flatnonzero((chosen == number) & pairs.of(step.name).happens(step.share))
            if not len(here):
                continue
            own = pairs.at(here).of(step.name)
            a, b = (torch.from_numpy(rows[here]).to(images.device) for rows in (first, second))
            one, other = (images[a], targets[a]), (images[b], targets[b])
            images[a], targets[a] = step.operation.make(*one, other, own, step.value)
            images[b], targets[b] = step.operation.make(*other, one, own, step.value)
        return images, targets

    def _kind(self, *kinds: str) -> tuple[Step, ...]:
        return tuple(step for step in self.steps if step.operation.kind in kinds)

    def _first(self, kind: str) -> Step | None:
        return next(iter(self._kind(kind)), None)


def _where(step: Step, images: Tensor, draws: Draws) -> Tensor:
    """Return images after a step, of those samples that it happens to."""
    own = draws.of(step.name)
    changed = step.operation.make(images, own, step.value)
    if step.share >= 1:
        return changed
    return torch.where(own.column(own.happens(step.share)) > 0, changed, images)


def _stage(step: Step, draws: Draws) -> Tensor:
    """Return how a step moves the pictures; those that it does not happen to stay."""
    stage, on = step.operation.make(draws, step.value), torch.from_numpy(draws.happens(step.share))
    if stage.dim() == 4:
        return stage * on.to(stage.device)[:, None, None, None]
    return torch.where(on[:, None, None], stage, moves.still(len(on)))
