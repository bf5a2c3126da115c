"""The region proposal network: where objects may be (Ren et al. 2015, "Faster R-CNN", section 3.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.models.heads.anchors import (
    RATIOS,
    cell_anchors,
    clipped,
    decoded,
    encoded,
    grid_anchors,
    large_enough,
)
from resight.models.heads.sampling import POSITIVE, Bounds, Objects, assigned, sampled

BOUNDS = Bounds(0.7, 0.3, every=True)
POSITIVES = 0.5
"""Share of the anchors of a step that may be of objects."""
NMS = 0.7
LEAST = 1e-3
"""Pixels of a proposal's sides."""
BETA = 1 / 9
"""Where smooth l1 turns from a square to a line."""
PLAIN = (1.0, 1.0, 1.0, 1.0)
"""Steps of proposals are not weighted."""


@dataclass(frozen=True)
class Counts:
    """How many boxes are kept.

    Attributes:
        before: of each map before suppression.
        after: of a picture after it.
    """

    before: int
    after: int


LEARNING, TESTING = Counts(2000, 2000), Counts(1000, 1000)


class Proposals(nn.Module):
    """Says of every anchor of every map whether an object is there, and the step to its box.

    Parameters are called as in torchvision's RPN head.

    Args:
        channels: of the maps.
        width: of the layer between.
        sizes: of the anchors on each map, in pixels.
    """

    def __init__(self, channels: int, width: int, sizes: Sequence[Sequence[float]]) -> None:
        super().__init__()
        self.sizes, each = [tuple(own) for own in sizes], len(RATIOS) * len(sizes[0])
        self.conv = nn.Sequential(nn.Sequential(nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()))
        self.cls_logits, self.bbox_pred = nn.Conv2d(width, each, 1), nn.Conv2d(width, 4 * each, 1)
        for layer in (self.conv[0][0], self.cls_logits, self.bbox_pred):  # pyright: ignore[reportIndexIssue]
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Return for each map logits (B, h w anchors) and steps (B, h w anchors, 4)."""
        between = [self.conv(one) for one in maps]
        logits = [self.cls_logits(one).permute(0, 2, 3, 1).flatten(1) for one in between]
        steps = [self.bbox_pred(one).permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, 4)) for one in between]
        return logits, steps

    def anchors(self, maps: Sequence[Tensor], canvas: tuple[int, int]) -> Tensor:
        """Return the anchors of all maps, in the order of the logits, (N, 4)."""
        own = []
        for one, sizes in zip(maps, self.sizes, strict=True):
            height, width = one.shape[-2:]
            own.append(grid_anchors(cell_anchors(sizes).to(one.device), (height, width), canvas))
        return torch.cat(own)

    def proposed(
        self,
        logits: Sequence[Tensor],
        steps: Sequence[Tensor],
        anchors: Tensor,
        extents: Sequence[tuple[int, int]],
        counts: Counts,
    ) -> list[Tensor]:
        """Return the proposals of each picture, the likeliest first, (at most counts.after, 4); no gradients.

        Args:
            logits: of each map, (B, n).
            steps: of each map, (B, n, 4).
            anchors: (N, 4).
            extents: (height, width) of each picture on its canvas.
            counts: how many are kept.
        """
        from torchvision.ops import batched_nms

        levels = torch.cat(
            [torch.full((one.shape[1],), i, device=anchors.device) for i, one in enumerate(logits)]
        )
        chosen, start = [], 0
        for one in logits:
            chosen.append(one.topk(min(counts.before, one.shape[1]), 1).indices + start)
            start += one.shape[1]
        best = torch.cat(chosen, 1)
        all_logits, all_steps = (
            torch.cat(list(logits), 1).detach().float(),
            torch.cat(list(steps), 1).detach().float(),
        )
        found = []
        for row, extent in enumerate(extents):
            own = best[row]
            boxes = clipped(decoded(all_steps[row, own], anchors[own], PLAIN)[:, 0], extent)
            kept = torch.nonzero(large_enough(boxes, LEAST)).flatten()
            boxes, scores = boxes[kept], all_logits[row, own][kept].sigmoid()
            order = batched_nms(boxes, scores, levels[own][kept], NMS)[: counts.after]
            found.append(boxes[order])
        return found

    def loss(
        self,
        logits: Sequence[Tensor],
        steps: Sequence[Tensor],
        anchors: Tensor,
        true: Sequence[Objects],
        count: int,
    ) -> tuple[Tensor, Tensor]:
        """Return the loss of the logits and that of the steps, each a mean over the pictures.

        A picture's is the mean over its own sampled anchors, so that parts of a step equal the whole.

        Args:
            logits: of each map, (B, n).
            steps: of each map, (B, n, 4).
            anchors: (N, 4).
            true: the objects of each picture.
            count: anchors of a picture that learn.
        """
        all_logits, all_steps = torch.cat(list(logits), 1).float(), torch.cat(list(steps), 1).float()
        said, moved = [], []
        for row, own in enumerate(true):
            state, which = assigned(anchors, own, BOUNDS)
            taken = sampled(state, count, POSITIVES, own.word, "anchors")
            targets = (state[taken] == POSITIVE).float()
            said.append(F.binary_cross_entropy_with_logits(all_logits[row, taken], targets))
            of = taken[state[taken] == POSITIVE]
            wanted = (
                encoded(own.boxes[which[of]], anchors[of], PLAIN) if len(of) else all_steps.new_zeros(0, 4)
            )
            apart = F.smooth_l1_loss(all_steps[row, of], wanted, beta=BETA, reduction="sum")
            moved.append(apart / max(len(taken), 1))
        return torch.stack(said).mean(), torch.stack(moved).mean()
