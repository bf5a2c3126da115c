"""A region proposal network in per-class form: the localization entry of ILSVRC 2015.

He et al. 2015, "Deep Residual Learning for Image Recognition", appendix C: two sibling 1x1 convolutions on
the last map say of every class, at every anchor, whether an object of it is there (an independent logistic
each) and the step to its box. Boxes are in shares of the sides of the picture.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.models.heads import proposals as rpn
from resight.models.heads import regions as second
from resight.models.heads.anchors import RATIOS, clipped, decoded, encoded, large_enough
from resight.models.heads.class_regions import ClassRegions, class_loss
from resight.models.heads.sampling import POSITIVE, Objects, assigned, sampled
from resight.models.solver import Head

SCALES = 3
"""Of the anchors, each twice as large as the one before."""
EACH = SCALES * len(RATIOS)
"""Anchors at each place."""
KEPT = 200
"""Proposals of a class that the second stage looks at."""
GUESSES = 5
"""Classes of a picture, the likeliest ones, that the second stage looks at."""
ASIDE = 100.0
"""What is taken off the logits of all other classes then: they rank behind those that were looked at."""
CALM = 128.0
"""Channels from which on the anchors' features are divided by their number over this: a step of AdamW moves
an output by the rate times the sum of its inputs, and boxes bear less of that than class logits do."""
WHOLE = (1, 1)
"""Height and width of a picture in shares of its sides."""
LEAST = 1e-3
"""Sides of a proposal, in shares of the picture's."""


@dataclass(frozen=True)
class Sampled:
    """The anchors of a picture that learn in a step.

    Attributes:
        places: their numbers, (n,).
        positive: rows of those that are of an object, (p,).
        boxes: that these shall lead to, (p, 4).
    """

    places: Tensor
    positive: Tensor
    boxes: Tensor


def anchors_for(anchors: Tensor, true: Objects, count: int) -> Sampled:
    """Return which anchors of a picture learn: as many positive as negative ones.

    Args:
        anchors: (N, 4).
        true: the objects; draws follow their word.
        count: how many are taken; fewer where fewer are positive, half as many where none is.
    """
    state, which = assigned(anchors, true, rpn.BOUNDS)
    found = min(int((state == POSITIVE).sum()), count // 2)
    places = sampled(state, 2 * found or count // 2, 0.5, true.word, "anchors")
    positive = torch.nonzero(state[places] == POSITIVE).flatten()
    boxes = true.boxes[which[places[positive]]] if len(positive) else anchors[:0]
    return Sampled(places, positive, boxes)


class ClassProposals(Head):
    """Says a class, and of each class how likely it is at its best anchor and the box there.

    Args:
        stage: that it reads.
        channels: K, of its map.
        classes: how many there are.
        anchor: side of the smallest anchors, in shares of the sides of the pictures that are learned.
        twice: whether a second stage looks at the proposals again.
        scale: what the network multiplies its map by before the last layer, see `Classifier.logit_scale`.
    """

    countable: ClassVar[bool] = False
    """The step of a class is computed at its best anchor alone."""

    def __init__(
        self, stage: str, channels: int, classes: int, anchor: float, *, twice: bool, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.reads, self.classes, self.anchor, self.scale = (stage,), classes, anchor, scale
        self.calm = max(1.0, channels / CALM)
        self.named = nn.Linear(channels, classes)
        # 1x1 convolutions, as linear layers of each place.
        self.cls, self.reg = (nn.Linear(channels, EACH * classes * n) for n in (1, 4))
        for layer in (self.cls, self.reg):
            nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(self.reg.bias)
        # Half of the sampled anchors are of an object, each of one class.
        nn.init.constant_(self.cls.bias, -math.log(2 * classes - 1))
        self.regions = ClassRegions(channels, classes) if twice else None

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Turn a map (B, K, h, w) into (B, 6 classes), see `said`."""
        return self.said(maps[self.reads[0]])

    def anchors(self, shape: tuple[int, int], zoom: float = 1.0) -> Tensor:
        """Return the anchors of all places, (EACH h w, 4) in shares of the sides; those of a kind together.

        Args:
            shape: (h, w) of the map.
            zoom: how many times as wide the picture is as those that were learned.
        """
        sides = self.anchor / zoom * 2.0 ** torch.arange(SCALES)
        side, root = torch.cartesian_prod(sides, torch.tensor(RATIOS).sqrt()).T
        halves = torch.stack([side / root, side * root], 1)[:, None] / 2  # (EACH, 1, 2)
        y, x = ((torch.arange(n) + 0.5) / n for n in shape)
        middles = torch.cartesian_prod(y, x).flip(1)  # row by row
        return torch.cat([middles - halves, middles + halves], 2).view(-1, 4).to(self.cls.weight.device)

    def said(self, features: Tensor, zoom: float = 1.0) -> Tensor:
        """Turn a map (B, K, h, w) into (B, 6 classes).

        Class logits; of each class the logit of its best anchor; and the boxes there, x0, y0, x1, y1, clipped
        to the picture. With a second stage logits and boxes are those of the best region of the likeliest
        classes.

        Args:
            features: the map.
            zoom: see `anchors`.
        """
        features = features * self.scale
        named = self.named(features.mean((2, 3))).float()
        features = features / self.calm
        anchors = self.anchors((features.shape[2], features.shape[3]), zoom)
        logits = self.cls(features.flatten(2).transpose(1, 2)).float()  # (B, h w, EACH classes)
        logits = logits.unflatten(2, (EACH, self.classes)).permute(0, 3, 2, 1).flatten(2)
        best, place = logits.max(2)  # (B, classes)
        boxes = torch.stack([
            _boxes(self._steps(one, at), anchors[at]) for one, at in zip(features, place, strict=True)
        ])  # fmt: skip
        if self.regions is not None:
            best, boxes = self._again(features, named, best, boxes, anchors)
        return torch.cat([named, best, boxes.flatten(1)], 1)

    def of_classes(self, features: Tensor, labels: Tensor) -> Tensor:
        """Return the box (B, 4) at the best anchor of one class of each picture, without gradients.

        Args:
            features: (B, K, h, w).
            labels: class numbers, (B,).
        """
        found = []
        with torch.no_grad():
            scaled = features * (self.scale / self.calm)
            for one, label in zip(scaled, labels.tolist(), strict=True):
                logits, boxes = self._of_class(one, label, self.anchors((one.shape[1], one.shape[2])))
                found.append(boxes[logits.argmax()])
        return torch.stack(found)

    def losses(
        self, features: Tensor, true: Sequence[Objects], labels: Tensor, count: int, regions: int
    ) -> tuple[Tensor, Tensor]:
        """Return class logits (B, classes) and the loss of anchors and regions, a mean over the pictures.

        A picture's is the mean over its own sampled anchors, and regions, so that parts of a step equal the
        whole.

        Args:
            features: (B, K, h, w).
            true: the objects of the picture's class, with boxes in shares of the sides.
            labels: classes of the pictures, (B,).
            count: anchors of a picture that learn.
            regions: of a picture that learn in the second stage.
        """
        features = features * self.scale
        named = self.named(features.mean((2, 3))).float()
        features = features / self.calm
        anchors = self.anchors((features.shape[2], features.shape[3]))
        found = []
        for one, own, label in zip(features, true, labels.tolist(), strict=True):
            found.append(self._anchor_loss(one, anchors_for(anchors, own, count), anchors, label))
        loss = torch.stack(found).mean()
        if self.regions is not None:
            loss = loss + self._region_loss(features, true, labels, anchors, regions)
        return named, loss

    def _anchor_loss(self, one: Tensor, at: Sampled, anchors: Tensor, label: int) -> Tensor:
        """Return the loss of a picture: its map (K, h, w), what learns, all anchors, and its class."""
        area = one.shape[1] * one.shape[2]
        vectors, kind = one.flatten(1).index_select(1, at.places % area).T, at.places // area
        rows, of = torch.arange(len(kind), device=kind.device), at.positive
        logits = self.cls(vectors).view(len(kind), EACH, self.classes)[rows, kind].float()
        targets = torch.zeros_like(logits)
        targets[of, label] = 1
        named = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
        steps = self.reg(vectors[of]).view(len(of), EACH, self.classes, 4)
        steps = steps[rows[: len(of)], kind[of], label].float()
        wanted = encoded(at.boxes, anchors[at.places[of]], rpn.PLAIN)
        moved = F.smooth_l1_loss(steps, wanted, beta=rpn.BETA, reduction="sum")
        return (named + moved) / max(len(kind), 1)

    def _region_loss(
        self, features: Tensor, true: Sequence[Objects], labels: Tensor, anchors: Tensor, count: int
    ) -> Tensor:
        assert self.regions is not None
        proposed = [
            self._proposed(one, label, anchors) for one, label in zip(features, labels.tolist(), strict=True)
        ]
        taken = [second.chosen(own, objects, count) for own, objects in zip(proposed, true, strict=True)]
        counts = [len(own) for own, _, _ in taken]
        logits, steps = self.regions(features, [own for own, _, _ in taken])
        found = []
        for objects, (own, of, which), said, step in zip(
            true, taken, logits.split(counts), steps.split(counts), strict=True
        ):
            wanted = objects.boxes[which] if len(objects.boxes) else own
            found.append(class_loss(said, step, own, of, wanted))
        return torch.stack(found).mean()

    def _steps(self, one: Tensor, at: Tensor) -> Tensor:
        """Return the steps (classes, 4) of each class at its own anchor, (classes,), of a map (K, h, w)."""
        area, rows = one.shape[1] * one.shape[2], torch.arange(self.classes, device=at.device)
        vectors = one.flatten(1).index_select(1, at % area)  # (K, classes)
        weight = self.reg.weight.view(EACH, self.classes, 4, -1)[at // area, rows]
        bias = self.reg.bias.view(EACH, self.classes, 4)[at // area, rows]
        return torch.einsum("cik,kc->ci", weight, vectors).float() + bias

    def _of_class(self, one: Tensor, label: int, anchors: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (N,) and boxes (N, 4) of a class at all anchors of a map (K, h, w)."""
        flat = one.flatten(1).T  # (h w, K)
        parts = []
        for layer, values in ((self.cls, 1), (self.reg, 4)):
            weight = layer.weight.view(EACH, self.classes, values, -1)[:, label].flatten(0, 1)
            bias = layer.bias.view(EACH, self.classes, values)[:, label].flatten()
            said = F.linear(flat, weight, bias).float()
            parts.append(said.view(len(flat), EACH, values).transpose(0, 1).flatten(0, 1))
        return parts[0][:, 0], _boxes(parts[1], anchors)

    def _proposed(self, one: Tensor, label: int, anchors: Tensor) -> Tensor:
        """Return the likeliest boxes of a class of a map (K, h, w), (at most KEPT, 4), without gradients."""
        from torchvision.ops import nms

        with torch.no_grad():
            logits, boxes = self._of_class(one, label, anchors)
        kept = large_enough(boxes, LEAST)
        logits, boxes = logits[kept], boxes[kept]
        return boxes[nms(boxes, logits, rpn.NMS)[:KEPT]]

    def _again(
        self, features: Tensor, named: Tensor, best: Tensor, boxes: Tensor, anchors: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return logits (B, classes) and boxes (B, classes, 4) after the second stage."""
        assert self.regions is not None
        guesses = named.topk(min(GUESSES, self.classes), 1).indices
        likely, found = [], []
        for row, one in enumerate(features):
            own, placed = best[row] - ASIDE, boxes[row]
            for label in guesses[row].tolist():
                regions = self._proposed(one, label, anchors)
                if not len(regions):
                    continue
                logits, steps = self.regions(one[None], [regions])
                at = logits[:, label].argmax()
                box = clipped(decoded(steps[at, label][None], regions[at][None], second.WEIGHTS)[0, 0], WHOLE)
                chosen = torch.arange(self.classes, device=own.device) == label
                own = torch.where(chosen, logits[at, label], own)
                placed = torch.where(chosen[:, None], box, placed)
            likely.append(own)
            found.append(placed)
        return torch.stack(likely), torch.stack(found)


def _boxes(steps: Tensor, anchors: Tensor) -> Tensor:
    """Return the boxes (N, 4) that steps (N, 4) lead to from anchors (N, 4), clipped to the picture."""
    return clipped(decoded(steps, anchors, rpn.PLAIN)[:, 0], WHOLE)
