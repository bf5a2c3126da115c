"""Which boxes learn which object, and which of them a step takes: draws keyed by the picture.

torchvision's samplers draw from torch's generator, so that a step in two parts draws others than the same
step in one. Here each picture has a word, a function of (seed, epoch, sample), and all of its draws follow.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resight.core import seeds

POSITIVE, NEGATIVE, NEITHER = 1, 0, -1
INSIDE = 0.5
"""Share of a box that lies in an ignored object, from which the box is no negative."""


@dataclass(frozen=True)
class Objects:
    """The true objects of one picture.

    Attributes:
        boxes: (G, 4) in pixels of the canvas.
        labels: class numbers from 0, (G,).
        ignored: boxes that are neither found nor missed, (I, 4).
        word: 64 bits that all draws for this picture follow from.
        masks: (G, H, W) of the canvas, or None.
    """

    boxes: Tensor
    labels: Tensor
    ignored: Tensor
    word: int
    masks: Tensor | None = None


@dataclass(frozen=True)
class Bounds:
    """Overlaps that decide what a box learns.

    Attributes:
        high: from here on it is of the object.
        low: below, it is of nothing; in between it does not learn.
        every: the best boxes of each object learn it, however little they overlap.
    """

    high: float
    low: float
    every: bool = False


def assigned(boxes: Tensor, true: Objects, bounds: Bounds) -> tuple[Tensor, Tensor]:
    """Say of each box which object it learns.

    Args:
        boxes: (N, 4).
        true: the picture's objects.
        bounds: overlaps that decide.

    Returns:
        POSITIVE, NEGATIVE or NEITHER of each box, (N,), and its object's number, 0 where there is none, (N,).
    """
    from torchvision.ops import box_iou

    state = torch.full((len(boxes),), NEGATIVE, device=boxes.device)
    which = torch.zeros_like(state)
    if len(true.boxes):
        shared = box_iou(true.boxes, boxes)
        best, which = shared.max(0)
        state[best >= bounds.low] = NEITHER
        state[best >= bounds.high] = POSITIVE
        if bounds.every:
            state[(shared == shared.max(1, keepdim=True).values).any(0)] = POSITIVE
    if len(true.ignored):
        state[(state == NEGATIVE) & (inside(boxes, true.ignored) >= INSIDE)] = NEITHER
    return state, which


def inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """Return the largest share of each box (N, 4) that lies in one of the regions (I, 4), (N,)."""
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(2).amax(1)
    return shared / (boxes[:, 2:] - boxes[:, :2]).prod(1).clamp(min=1e-6)


def sampled(state: Tensor, count: int, share: float, word: int, what: str) -> Tensor:
    """Return the numbers of the boxes that a step takes: positive ones up to a share, the rest negative.

    Args:
        state: of each box, see `assigned`, (N,).
        count: how many are taken, if there are so many.
        share: of them that may be positive.
        word: of the picture.
        what: names the draw.

    Returns:
        Rising, (at most count,).
    """
    turns = torch.from_numpy(seeds.uniform(word, 0, np.arange(len(state)), what)).to(state.device)
    positive = _first(state == POSITIVE, turns, int(count * share))
    negative = _first(state == NEGATIVE, turns, count - len(positive))
    return torch.cat([positive, negative]).sort().values


def _first(allowed: Tensor, turns: Tensor, most: int) -> Tensor:
    """Return the numbers of the allowed boxes whose turn comes first, (at most `most`,)."""
    numbers = torch.nonzero(allowed).flatten()
    return numbers[turns[numbers].argsort()[:most]]
