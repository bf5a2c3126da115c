"""Any number of objects of a picture: `heads.detector` in a form whose shapes are known until the answer."""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor

from resight.core.preprocessing import Preprocessing
from resight.export.box_operations import suppressed
from resight.export.solved import Frame, Solved
from resight.models.heads import proposals as first
from resight.models.heads import regions as second
from resight.models.heads.anchors import clipped, decoded, large_enough
from resight.models.heads.detector import FINE, Detector, Raw
from resight.models.heads.regions import CANONICAL, LEVEL, Pooling
from resight.models.solver import Solver
from resight.tasks.detect.task import Detect
from resight.tasks.task import SolverTask

NO_SCORE = -1.0
"""Of a box that must not be kept."""


class Objects(Solved):
    """The objects of one picture: boxes (D, 4), classes (D,) and scores (D,).

    Where masks are learned, also these (D, 28, 28) and the boxes that they fill (D, 4): of a box that reaches
    beyond the picture, all of it.

    Each map gives as many proposals as `Counts` allows, and of all of them as many are looked at: where fewer
    are found, the others are regions without area, whose scores do not count.
    """

    axes: ClassVar[dict[str, tuple[str, ...]]] = {
        "boxes": ("objects", "4"), "classes": ("objects",), "scores": ("objects",),
        "masks": ("objects", "28", "28"), "mask_boxes": ("objects", "4"),
    }  # fmt: skip
    together = False

    def __init__(self, network: Solver, card: Preprocessing, task: SolverTask, temperature: float) -> None:
        super().__init__(network, card, task, temperature)
        assert isinstance(task, Detect)  # `solved` chose
        self.kept, self.canvas = task.kept, (card.size, card.size)
        self.outputs = ("boxes", "classes", "scores", *(["masks", "mask_boxes"] if task.masks else []))

    def said(self, pixels: Tensor, frame: Frame) -> tuple[Tensor, ...]:
        """Turn a square (1, 3, S, S) into the objects."""
        head = self.network.head
        assert isinstance(head, Detector)  # of this task
        raw = self.network(self.normalize(pixels))
        regions, real = self._proposed(head, raw)
        squares = self._pooled(raw.maps, regions, head.pooling.side)
        logits, steps = head.box_predictor(head.box_head(squares))
        scores = logits.softmax(1)[:, 1:]
        boxes = clipped(decoded(steps, regions, second.WEIGHTS)[:, 1:], self.canvas)
        allowed = real[:, None] & ((boxes[..., 2:] - boxes[..., :2]) >= second.LEAST).all(-1)
        scores = torch.where(allowed, scores, torch.full_like(scores, NO_SCORE)).T.contiguous()
        boxes = boxes.transpose(0, 1).contiguous()  # (classes, regions, 4)
        most = min(self.kept.most, scores.numel())
        numbers = suppressed(boxes, scores, self.kept.nms, self.kept.score, most)
        taken = numbers.clamp(min=0)
        own, labels = boxes.flatten(0, 1)[taken], torch.div(taken, scores.shape[1], rounding_mode="floor")
        whole = frame.to_picture(own.view(-1, 2, 2) / self.card.size).view(-1, 4)
        inside = frame.clipped(whole)
        real = (numbers >= 0) & (inside[:, 2:] > inside[:, :2]).all(1)
        found = [inside.to(torch.float32), labels, scores.flatten()[taken]]
        if "masks" in self.outputs:
            drawn = head.masks(self._pooled(raw.maps, own, FINE)).sigmoid()
            places = (labels + 1)[:, None, None, None].expand(-1, 1, *drawn.shape[2:])
            found += [drawn.gather(1, places)[:, 0], whole.to(torch.float32)]
        rows = torch.nonzero(real).flatten()
        return tuple(value[rows] for value in found)

    def _proposed(self, head: Detector, raw: Raw) -> tuple[Tensor, Tensor]:
        """Return regions (R, 4), and which of them are proposals, (R,); see `Proposals.proposed`."""
        counts, anchors, start = self.kept.counts, head.rpn.anchors(raw.all_maps, self.canvas), 0
        regions, likely = [], []
        for logits, steps in zip(raw.logits, raw.steps, strict=True):
            count = min(counts.before, logits.shape[1])
            best = logits[0].topk(count).indices
            boxes = clipped(decoded(steps[0][best], anchors[best + start], first.PLAIN)[:, 0], self.canvas)
            scores = logits[0][best].sigmoid()
            scores = torch.where(large_enough(boxes, first.LEAST), scores, torch.full_like(scores, NO_SCORE))
            kept = suppressed(boxes[None], scores[None], first.NMS, NO_SCORE / 2, min(count, counts.after))
            taken = kept.clamp(min=0)
            regions.append(boxes[taken])
            likely.append(torch.where(kept >= 0, scores[taken], torch.full_like(taken, -1).to(scores.dtype)))
            start += logits.shape[1]
        together, scores = torch.cat(regions), torch.cat(likely)
        chosen = scores.topk(min(counts.after, len(scores))).indices
        return together[chosen], scores[chosen] >= 0

    def _pooled(self, maps: Sequence[Tensor], regions: Tensor, side: int) -> Tensor:
        """Return what `Pooling` does, each region cut from every map: no shape depends on the values."""
        from torchvision.ops import roi_align

        if len(maps) == 1:
            return Pooling(side)(maps, [regions], self.canvas)
        powers = [round(math.log2(self.canvas[0] / one.shape[-2])) for one in maps]
        numbered = torch.cat([torch.zeros_like(regions[:, :1]), regions], 1)
        sides = ((regions[:, 2] - regions[:, 0]) * (regions[:, 3] - regions[:, 1])).sqrt()
        level = torch.floor(LEVEL + torch.log2(sides / CANONICAL) + 1e-6).clamp(powers[0], powers[-1])
        found = None
        for power, one in zip(powers, maps, strict=True):
            cut = roi_align(one, numbered, side, 2.0**-power, 2)
            mine = (level == power)[:, None, None, None]
            found = torch.where(mine, cut, torch.zeros_like(cut) if found is None else found)
        assert found is not None  # there are several maps
        return found
