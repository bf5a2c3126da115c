"""What is in a region: pooled from the maps, named, and its box refined (Girshick 2015, "Fast R-CNN")."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.models.heads.anchors import clipped, decoded, encoded, large_enough
from resight.models.heads.proposals import BETA, TESTING, Counts
from resight.models.heads.sampling import POSITIVE, Bounds, Objects, assigned, sampled

BOUNDS = Bounds(0.5, 0.5)
POSITIVES = 0.25
"""Share of the regions of a step that may be of objects."""
WEIGHTS = (10.0, 10.0, 5.0, 5.0)
"""Of the steps of boxes: one over the deviations 0.1 and 0.2 that they are measured in."""
LEAST = 1e-2
"""Pixels of a detection's sides."""
VOTES = 0.5
"""Overlap of boxes that vote."""
CANONICAL, LEVEL = 224, 4
"""A region of 224 pixels reads the map of stride 2^4."""


@dataclass(frozen=True)
class Kept:
    """Which detections are kept.

    Attributes:
        score: that they must exceed.
        nms: overlap from which the lower of two of a class goes.
        most: of a picture.
        counts: of proposals.
        refine: look again at the boxes that were found, and let those that overlap vote (He et al. 2015,
            appendix B).
    """

    score: float = 0.05
    nms: float = 0.5
    most: int = 100
    counts: Counts = TESTING
    refine: bool = False


class Pooling:
    """Cuts regions out of maps and averages them to squares.

    With several maps, a larger region reads a coarser one (Lin et al. 2017, equation 1).

    Args:
        side: of the squares, in places.
    """

    def __init__(self, side: int) -> None:
        self.side = side

    def __call__(self, maps: Sequence[Tensor], regions: Sequence[Tensor], canvas: tuple[int, int]) -> Tensor:
        """Return the squares (R, K, side, side) of the regions of all pictures.

        Args:
            maps: (B, K, h, w) each, the finest first.
            regions: of each picture, (n, 4).
            canvas: (H, W) of the images.
        """
        from torchvision.ops import roi_align

        powers = [round(math.log2(canvas[0] / one.shape[-2])) for one in maps]
        rows = torch.cat(list(regions))
        owner = torch.cat([own.new_full((len(own), 1), row) for row, own in enumerate(regions)])
        numbered = torch.cat([owner, rows], 1)
        if len(maps) == 1:
            return roi_align(maps[0].float(), numbered, self.side, 2.0 ** -powers[0], 2)
        sides = ((rows[:, 2] - rows[:, 0]) * (rows[:, 3] - rows[:, 1])).sqrt()
        level = torch.floor(LEVEL + torch.log2(sides / CANONICAL) + 1e-6)
        level = level.clamp(powers[0], powers[-1]).long() - powers[0]
        found = maps[0].new_zeros((len(rows), maps[0].shape[1], self.side, self.side), dtype=torch.float32)
        for number, one in enumerate(maps):
            own = torch.nonzero(level == powers[number] - powers[0]).flatten()
            found[own] = roi_align(one.float(), numbered[own], self.side, 2.0 ** -powers[number], 2)
        return found


class TwoLayers(nn.Module):
    """The box head of a pyramid: two fully connected layers, called as in torchvision."""

    def __init__(self, channels: int, side: int, width: int) -> None:
        super().__init__()
        self.fc6, self.fc7 = nn.Linear(channels * side**2, width), nn.Linear(width, width)
        self.width = width

    def forward(self, squares: Tensor) -> Tensor:
        """Turn squares (R, K, side, side) into vectors (R, width)."""
        return F.relu(self.fc7(F.relu(self.fc6(squares.flatten(1)))))


class Tail(nn.Module):
    """The last stages of a trunk as the box head: what He et al. 2015 do with stage 5.

    Args:
        stages: of the trunk, with their weights, by name.
        width: channels of the last map.
    """

    def __init__(self, stages: Sequence[tuple[str, nn.Module]], width: int) -> None:
        super().__init__()
        self.stages = nn.ModuleDict({name.replace(".", "_"): stage for name, stage in stages})
        self.width = width

    def forward(self, squares: Tensor) -> Tensor:
        """Turn squares (R, K, side, side) into vectors (R, width), the means of the last map."""
        for stage in self.stages.values():
            squares = stage(squares)
        return squares.mean((2, 3))


class Named(nn.Module):
    """Class logits, background first, and a box step for each class; called as in torchvision."""

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.cls_score, self.bbox_pred = nn.Linear(width, classes + 1), nn.Linear(width, 4 * (classes + 1))

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        """Turn vectors (R, width) into logits (R, classes + 1) and steps (R, 4 (classes + 1))."""
        return self.cls_score(vectors), self.bbox_pred(vectors)


def chosen(proposals: Tensor, true: Objects, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return the regions of a picture that a step takes: of its proposals and of its true boxes.

    Args:
        proposals: (N, 4).
        true: the objects.
        count: how many are taken, if there are so many.

    Returns:
        Regions (R, 4), what each is of, 0 for background, (R,), and its object's number, (R,).
    """
    boxes = torch.cat([proposals, true.boxes])
    state, which = assigned(boxes, true, BOUNDS)
    taken = sampled(state, count, POSITIVES, true.word, "regions")
    which = which[taken]
    labels = torch.zeros_like(which)
    of = state[taken] == POSITIVE
    labels[of] = true.labels[which[of]] + 1
    return boxes[taken], labels, which


def region_loss(
    logits: Tensor, steps: Tensor, regions: Tensor, labels: Tensor, wanted: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the loss of a picture's class logits and of its box steps, means over its regions.

    Args:
        logits: (R, classes + 1).
        steps: (R, 4 (classes + 1)).
        regions: (R, 4).
        labels: 0 for background, (R,).
        wanted: boxes of the objects, (R, 4); not read for background.
    """
    if not len(labels):
        return logits.sum() * 0, steps.sum() * 0
    named = F.cross_entropy(logits.float(), labels)
    of = torch.nonzero(labels).flatten()
    said = steps.float().view(len(steps), -1, 4)[of, labels[of]]
    target = encoded(wanted[of], regions[of], WEIGHTS)
    return named, F.smooth_l1_loss(said, target, beta=BETA, reduction="sum") / len(labels)


def refined(logits: Tensor, steps: Tensor, regions: Tensor, extent: tuple[int, int]) -> Tensor:
    """Return the boxes that regions lead to, of the likeliest class of each, (R, 4)."""
    best = logits[:, 1:].argmax(1) + 1
    boxes = decoded(steps.float(), regions, WEIGHTS)[torch.arange(len(regions), device=best.device), best]
    return clipped(boxes, extent)


def suppressed(
    logits: Tensor, steps: Tensor, regions: Tensor, extent: tuple[int, int], kept: Kept
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the detections of a picture, the best first: boxes (D, 4), class numbers from 0, scores (D,).

    Args:
        logits: (R, classes + 1).
        steps: (R, 4 (classes + 1)).
        regions: (R, 4).
        extent: (height, width) of the picture on its canvas.
        kept: which are kept.
    """
    from torchvision.ops import batched_nms

    scores = logits.float().softmax(1)[:, 1:]
    boxes = clipped(decoded(steps.float(), regions, WEIGHTS)[:, 1:], extent)
    labels = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
    boxes, scores, labels = boxes.reshape(-1, 4), scores.reshape(-1), labels.reshape(-1)
    likely = torch.nonzero((scores > kept.score) & large_enough(boxes, LEAST)).flatten()
    boxes, scores, labels = boxes[likely], scores[likely], labels[likely]
    order = batched_nms(boxes, scores, labels, kept.nms)[: kept.most]
    chosen = voted(order, boxes, scores, labels) if kept.refine else boxes[order]
    return chosen, labels[order], scores[order]


def voted(order: Tensor, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """Return some boxes, each the mean of those of its class that overlap it by half, weighted by scores.

    Gidaris and Komodakis 2015, "Object Detection via a Multi-region & Semantic Segmentation-aware CNN Model",
    section 5.

    Args:
        order: numbers of the boxes, (D,).
        boxes: all that may vote, (N, 4).
        scores: (N,).
        labels: (N,).

    Returns:
        (D, 4).
    """
    from torchvision.ops import box_iou

    votes = (box_iou(boxes[order], boxes) >= VOTES) & (labels[order][:, None] == labels)
    weights = votes * scores
    return (weights @ boxes) / weights.sum(1, keepdim=True)
