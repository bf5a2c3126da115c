"""Faster R-CNN and Mask R-CNN as a head over any trunk: proposals, then what is in them.

Two forms. `fpn`: a pyramid over the trunk's maps, two fully connected layers for regions (Lin et al. 2017,
section 4); from equal weights it answers as torchvision's does. `c4`: proposals on the map of stride 16, and
the trunk's remaining stages for regions (He et al. 2015, appendix A).
"""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.models.classifier import Classifier
from resight.models.cost import evaluating
from resight.models.heads import proposals as first
from resight.models.heads import regions as second
from resight.models.heads.instance_masks import MaskHead, mask_loss
from resight.models.heads.proposals import Proposals
from resight.models.heads.pyramid import Pyramid
from resight.models.heads.regions import Kept, Named, Pooling, Tail, TwoLayers
from resight.models.heads.sampling import Objects
from resight.models.solver import Head, Solver

KINDS = ("fpn", "c4")
PROBE = 256
"""Side of the empty image that tells channels and strides of a trunk's maps."""
POOLED, FINE = 7, 14
"""Places along a region's side: for two fully connected layers; for convolutions."""
C4_SIZES = 4
"""Anchors of c4, each twice as large as the one before (COCO's, section 3.1 of appendix A)."""


@dataclass(frozen=True)
class Plan:
    """What a detector is built of.

    Attributes:
        kind: one of `KINDS`.
        width: channels of the pyramid, or of the proposals' layer of c4; regions have four times as many.
        anchor: smallest anchor of a map, in strides of that map.
        masks: whether each detection has a mask.
        context: whether each region is named with the whole picture in view (He et al. 2015, appendix B).
    """

    kind: str = "fpn"
    width: int = 256
    anchor: float = 8.0
    masks: bool = False
    context: bool = False


@dataclass(frozen=True)
class Found:
    """The detections of one picture, the best first.

    Attributes:
        boxes: (D, 4) in pixels of the canvas.
        labels: class numbers from 0, (D,).
        scores: (D,).
        masks: of the boxes, probabilities (D, 28, 28), or None.
    """

    boxes: Tensor
    labels: Tensor
    scores: Tensor
    masks: Tensor | None = None


@dataclass(frozen=True)
class Raw:
    """What the head says of B images before anything is sampled or suppressed.

    Attributes:
        maps: that regions are cut from, (B, K, h, w) each.
        all_maps: that proposals come from: these, and for a pyramid one more.
        logits: of proposals, by map, (B, n).
        steps: of proposals, by map, (B, n, 4).
    """

    maps: tuple[Tensor, ...]
    all_maps: tuple[Tensor, ...]
    logits: tuple[Tensor, ...]
    steps: tuple[Tensor, ...]


@dataclass(frozen=True)
class Scale:
    """The same images at another size.

    Attributes:
        maps: that regions are cut from, (B, K, h, w) each.
        zoom: their sides over those of the images that proposals come from.
        canvas: (H, W) of the images.
    """

    maps: tuple[Tensor, ...]
    zoom: float
    canvas: tuple[int, int]


class Detector(Head):
    """Finds objects: see the file.

    Args:
        reads: stages whose maps are read, the finest first.
        channels: of these maps.
        strides: of these maps.
        classes: how many there are, without background.
        plan: what it is built of.
        tail: stages of the trunk that become the box head, and their last channels; None for a pyramid.
    """

    def __init__(
        self,
        reads: Sequence[str],
        channels: Sequence[int],
        strides: Sequence[int],
        classes: int,
        plan: Plan,
        tail: tuple[Sequence[tuple[str, nn.Module]], int] | None = None,
    ) -> None:
        super().__init__()
        self.reads, self.plan, width = tuple(reads), plan, plan.width
        if tail is None:
            self.fpn = Pyramid(channels, width)
            sizes = [(plan.anchor * stride,) for stride in (*strides, 2 * strides[-1])]
            self.rpn = Proposals(width, width, sizes)
            self.box_head: nn.Module = TwoLayers(width, POOLED, 4 * width)
            self.pooling, given = Pooling(POOLED), 4 * width
        else:
            own = tuple(plan.anchor * strides[-1] * 2**n for n in range(C4_SIZES))
            self.rpn = Proposals(channels[-1], 2 * width, [own])
            self.box_head, given = Tail(*tail), tail[1]
            self.pooling = Pooling(FINE)
        if plan.context:
            self.context_head = copy.deepcopy(self.box_head)
            if isinstance(self.context_head, TwoLayers):
                for layer in (self.context_head.fc6, self.context_head.fc7):
                    layer.reset_parameters()
        self.box_predictor = Named(given * (2 if plan.context else 1), classes)
        if plan.masks:
            self.masks = MaskHead(width, width, classes)

    def forward(self, maps: dict[str, Tensor]) -> Raw:
        """Give the raw outputs over the maps (B, K, h, w) of the stages that it reads."""
        own = [maps[name] for name in self.reads]
        given = self.fpn(own) if self.plan.kind == "fpn" else own
        logits, steps = self.rpn(given)
        return Raw(tuple(given[: len(own)]), tuple(given), tuple(logits), tuple(steps))

    def losses(
        self, raw: Raw, true: Sequence[Objects], canvas: tuple[int, int], anchors: int, regions: int
    ) -> Tensor:
        """Return the losses (4,), or (5,) with masks, each a mean over the pictures.

        Of the proposals' logits and steps, of the regions' classes and steps, and of masks.

        Args:
            raw: of B images.
            true: the objects of each.
            canvas: (H, W) of the images.
            anchors: of a picture that learn.
            regions: of a picture that learn.
        """
        boxes = self.rpn.anchors(raw.all_maps, canvas)
        likely, moved = self.rpn.loss(raw.logits, raw.steps, boxes, true, anchors)
        proposed = self.rpn.proposed(raw.logits, raw.steps, boxes, [canvas] * len(true), first.LEARNING)
        taken = [second.chosen(own, objects, regions) for own, objects in zip(proposed, true, strict=True)]
        logits, steps = self._named(raw, [own for own, _, _ in taken], canvas)
        counts = [len(own) for own, _, _ in taken]
        found = []
        for objects, (own, labels, which), said, step in zip(
            true, taken, logits.split(counts), steps.split(counts), strict=True
        ):
            wanted = objects.boxes[which] if len(objects.boxes) else own
            found.append(torch.stack(second.region_loss(said, step, own, labels, wanted)))
        named, refined = torch.stack(found).mean(0)
        losses = [likely, moved, named, refined]
        if self.plan.masks:
            losses.append(self._mask_loss(raw, true, taken, canvas))
        return torch.stack(losses)

    def _named(
        self,
        raw: Raw,
        regions: Sequence[Tensor],
        canvas: tuple[int, int],
        scales: Sequence[Scale] = (),
    ) -> tuple[Tensor, Tensor]:
        """Return class logits (R, classes + 1) and steps of the regions of all pictures."""
        vectors = self.box_head(self._squares(raw, regions, canvas, scales))
        if self.plan.context:
            whole = regions[0].new_tensor([[0, 0, canvas[1], canvas[0]]])
            seen = self.context_head(self.pooling(raw.maps, [whole] * len(regions), canvas))
            around = [row.expand(len(own), -1) for row, own in zip(seen, regions, strict=True)]
            vectors = torch.cat([vectors, torch.cat(around)], 1)
        return self.box_predictor(vectors)

    def _squares(
        self, raw: Raw, regions: Sequence[Tensor], canvas: tuple[int, int], scales: Sequence[Scale]
    ) -> Tensor:
        """Return the squares of regions; with several scales the larger values of two of them.

        They are the scale at which the region is nearest to 224 x 224 pixels and, of those next to it, the
        one that is second in this (He et al. 2015, appendix B).
        """
        if not scales:
            return self.pooling(raw.maps, regions, canvas)
        ordered = sorted(scales, key=lambda scale: scale.zoom)
        pooled = torch.stack([
            self.pooling(own.maps, [own.zoom * boxes for boxes in regions], own.canvas) for own in ordered
        ])  # fmt: skip
        first, second_ = adjacent(torch.cat(list(regions)), [own.zoom for own in ordered])
        rows = torch.arange(pooled.shape[1], device=pooled.device)
        return torch.maximum(pooled[first, rows], pooled[second_, rows])

    def _said(
        self, raw: Raw, regions: Sequence[Tensor], canvas: tuple[int, int], scales: Sequence[Scale] = ()
    ) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Return class logits, steps and regions of each picture."""
        counts = [len(own) for own in regions]
        logits, steps = self._named(raw, regions, canvas, scales)
        return list(zip(logits.split(counts), steps.split(counts), regions, strict=True))

    def _mask_loss(
        self,
        raw: Raw,
        true: Sequence[Objects],
        taken: Sequence[tuple[Tensor, Tensor, Tensor]],
        canvas: tuple[int, int],
    ) -> Tensor:
        of = [torch.nonzero(labels).flatten() for _, labels, _ in taken]
        own = [regions[rows] for (regions, _, _), rows in zip(taken, of, strict=True)]
        logits = self.masks(Pooling(FINE)(raw.maps, own, canvas)).split([len(rows) for rows in of])
        losses = []
        for objects, (_, labels, which), rows, regions, said in zip(
            true, taken, of, own, logits, strict=True
        ):
            if objects.masks is None:
                raise ValueError("masks are learned, but the objects have none")
            losses.append(mask_loss(said, regions, labels[rows], objects.masks, which[rows]))
        return torch.stack(losses).mean()

    def detections(
        self,
        raw: Raw,
        canvas: tuple[int, int],
        extents: Sequence[tuple[int, int]],
        kept: Kept,
        scales: Sequence[Scale] = (),
    ) -> list[Found]:
        """Return what is found in each picture.

        Args:
            raw: of B images.
            canvas: (H, W) of the images.
            extents: (height, width) of each picture on its canvas.
            kept: which detections are kept.
            scales: regions are cut from the maps of two of these, where there are any; see `_squares`.
        """
        boxes = self.rpn.anchors(raw.all_maps, canvas)
        proposed = self.rpn.proposed(raw.logits, raw.steps, boxes, extents, kept.counts)
        said = self._said(raw, proposed, canvas, scales)
        if kept.refine:
            again = [
                second.refined(logits, steps, own, extent)
                for (logits, steps, own), extent in zip(said, extents, strict=True)
            ]
            pairs = zip(said, self._said(raw, again, canvas, scales), strict=True)
            said = [
                (torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]]), torch.cat([a[2], b[2]])) for a, b in pairs
            ]
        found = [
            Found(*second.suppressed(logits, steps, own, extent, kept))
            for (logits, steps, own), extent in zip(said, extents, strict=True)
        ]
        return self._with_masks(raw, found, canvas) if self.plan.masks else found

    def scores(self, raw: Raw, box: Tensor, label: int, canvas: tuple[int, int]) -> Tensor:
        """Return the logit of a class in a box of each image, (B,), with gradients to the maps.

        Args:
            raw: of B images.
            box: (4,) in pixels of the canvas.
            label: class number from 0.
            canvas: (H, W) of the images.
        """
        regions = [box[None].to(raw.maps[0].device, torch.float32)] * len(raw.maps[0])
        return self._named(raw, regions, canvas)[0][:, label + 1]

    def _with_masks(self, raw: Raw, found: Sequence[Found], canvas: tuple[int, int]) -> list[Found]:
        logits = self.masks(Pooling(FINE)(raw.maps, [own.boxes for own in found], canvas))
        given = []
        for own, said in zip(found, logits.split([len(own.boxes) for own in found]), strict=True):
            rows = torch.arange(len(said), device=said.device)
            likely = said.float().sigmoid()[rows, own.labels + 1]
            given.append(Found(own.boxes, own.labels, own.scores, likely))
        return given


def adjacent(regions: Tensor, zooms: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Return the numbers of the two scales that regions (R, 4) are read at, (R,) each.

    Args:
        regions: in pixels of the images of scale 1.
        zooms: rising.
    """
    sides = (regions[:, 2:] - regions[:, :2]).clamp(min=second.LEAST).prod(1).sqrt()
    apart = (sides[None] * regions.new_tensor(list(zooms))[:, None] / second.CANONICAL).log().abs()
    first = apart.argmin(0)
    below, above = (first - 1).clamp(min=0), (first + 1).clamp(max=len(zooms) - 1)
    nearer = apart.gather(0, below[None])[0] < apart.gather(0, above[None])[0]
    other = torch.where((first == 0) | (~nearer & (first < len(zooms) - 1)), above, below)
    return first, other


def maps_of(trunk: Classifier) -> dict[str, tuple[int, int]]:
    """Return channels and stride of each stage's map, probed with an empty image."""
    weight = next(trunk.parameters())
    image = torch.zeros(1, trunk.in_channels, PROBE, PROBE, device=weight.device, dtype=weight.dtype)
    with torch.no_grad(), evaluating(trunk):
        maps = trunk.forward_maps(image, list(trunk.stages))
    return {name: (own.shape[1], 2 ** round(math.log2(PROBE / own.shape[-1]))) for name, own in maps.items()}


def detector_on(trunk: Classifier, classes: int, plan: Plan) -> Solver:
    """Return a trunk under a detector; its weights are kept.

    Args:
        trunk: of the zoo; it is changed.
        classes: how many there are, without background.
        plan: what is built.

    Raises:
        UsageError: if the plan does not go with the trunk.
    """
    maps = maps_of(trunk)
    last = {stride: name for name, (_, stride) in maps.items()}  # of several of a stride the last
    if plan.kind == "c4":
        return _c4(trunk, maps, last, classes, plan)
    strides = sorted(last)[-4:]
    strides = [stride for stride in strides if stride >= 4] if strides[-1] >= 8 else strides
    reads = [last[stride] for stride in strides]
    head = Detector(reads, [maps[name][0] for name in reads], strides, classes, plan)
    return Solver(trunk, head)


def _c4(
    trunk: Classifier, maps: dict[str, tuple[int, int]], last: dict[int, str], classes: int, plan: Plan
) -> Solver:
    if plan.masks:
        raise UsageError("detect.masks=true: masks are built on the pyramid; take detect.head=fpn")
    names, coarsest = list(maps), max(last)
    stride = sorted(last)[-2] if len(last) > 1 else coarsest
    read = last[stride]
    after = names[names.index(read) + 1 :]
    if not after:
        raise UsageError(f"detect.head=c4: {trunk.name} has no stage behind its map of stride {stride}")
    stages = [(name, trunk.stages[name]) for name in after]
    head = Detector(
        [read], [maps[read][0]], [stride], classes, plan, (stages, maps[after[-1]][0])
    )  # the modules stay, although the trunk lets go of them
    return Solver(trunk, head)
