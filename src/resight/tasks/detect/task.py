"""Many objects of each picture: Faster R-CNN on any trunk (Ren et al. 2015; He et al. 2015, appendix A)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.device import autocast
from resight.core.errors import DataError, PictureError, UsageError
from resight.data.dataset import Dataset, Split
from resight.data.labelling import EveryObject, Rule
from resight.data.objects import MaskedObjects, ObjectMarks
from resight.data.prepare import Normalize
from resight.evaluate.asked import Asked, Place, seen
from resight.localize.segments import run_lengths_of
from resight.metrics.detection import FIFTY, matches_of, precision_of
from resight.metrics.matching import Detections, Truths
from resight.models.classifier import Classifier
from resight.models.heads.detector import KINDS, Found, Plan, Raw, Scale, detector_on
from resight.models.heads.instance_masks import pasted
from resight.models.heads.regions import Kept
from resight.models.heads.released import NETWORK, load_released
from resight.models.heads.sampling import Objects
from resight.models.solver import Solver
from resight.tasks.detect.aims import aims_of
from resight.tasks.detect.result import Detected, DetectResult
from resight.tasks.detect.row import row_of
from resight.tasks.task import Aids, Aim, Best, Learned, Loss, SolverTask

BATCH = 4
"""Pictures that are tested at once."""
MASK = 0.5
"""Probability above which a pixel is of the object."""


@dataclass(frozen=True)
class Detect(SolverTask):
    """Any number of objects a picture.

    Attributes:
        head: "fpn", a pyramid over the trunk's maps; or "c4", proposals on the map of half the last one's
            stride, and the stages behind it for what is in them.
        width: channels of the head's layers; torchvision's detectors have 256.
        anchor: smallest anchor of a map, in strides of that map.
        anchors: of a picture that learn in a step.
        regions: of a picture that learn in a step; torchvision's detectors take 512.
        score: that a detection must exceed.
        nms: overlap from which the lower of two detections of a class goes.
        most: detections of a picture.
        masks: whether each detection has a mask (Mask R-CNN); the data need masks.
        refine: in tests, regions are looked at again at the boxes that they led to, and boxes of a class
            that overlap vote (He et al. 2015, appendix B, with nms=0.3).
        context: a region is named with the whole picture in view (appendix B).
        scales: in tests, regions are read at two of these sizes of the picture, over that of training;
            proposals come from the size of training (appendix B). None: that size alone.
        released: "torchvision" for the weights of its released detector, which learned COCO; "" for those
            of the trunk alone.
    """

    head: str = "fpn"
    width: int = 64
    anchor: float = 0.0
    anchors: int = 256
    regions: int = 128
    score: float = 0.05
    nms: float = 0.5
    most: int = 100
    masks: bool = False
    refine: bool = False
    context: bool = False
    scales: tuple[float, ...] = ()
    released: str = ""

    name: ClassVar[str] = "detect"
    counts: ClassVar[tuple[str, ...]] = ("likely", "moved", "named", "refined", "drawn")
    columns: ClassVar[tuple[str, ...]] = (
        "train_proposal_loss", "train_region_loss", "train_mask_loss", "val_ap", "val_ap50",
    )  # fmt: skip
    best: ClassVar[Best] = Best("val_ap", lower=False, error=False)
    recipe: ClassVar[str] = "detect"
    frame: ClassVar[str] = "corner"
    balances: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: naming the setting and its range.
        """
        if self.head not in KINDS:
            raise UsageError(f"detect.head={self.head}: must be one of {', '.join(KINDS)}")
        for name in ("width", "anchors", "regions", "most"):
            if getattr(self, name) < 1:
                raise UsageError(f"detect.{name}={getattr(self, name)}: must be 1 or more")
        if not 0 <= self.score < 1 or not 0 < self.nms < 1:
            raise UsageError(
                f"detect.score={self.score:g}, detect.nms={self.nms:g}: must lie between 0 and 1"
            )
        if self.masks and self.head == "c4":
            raise UsageError("detect.masks=true: masks are built on the pyramid; take detect.head=fpn")
        if len(self.scales) == 1 or not all(0.25 <= scale <= 4 for scale in self.scales):
            raise UsageError(
                "detect.scales: give two sizes or more, over that of training, each between 0.25 and 4"
            )
        if self.released not in ("", "torchvision"):
            raise UsageError(f"detect.released={self.released}: must be torchvision, or left out")
        if self.anchor < 0:
            raise UsageError(f"detect.anchor={self.anchor:g}: must not be negative")

    @property
    def kind(self) -> type[ObjectMarks]:  # type: ignore[override]
        """Objects, with their masks where these are learned."""
        return MaskedObjects if self.masks else ObjectMarks

    @property
    def rule(self) -> Rule:
        """All boxes count; one class is enough, and a picture may have none."""
        return EveryObject()

    @property
    def plan(self) -> Plan:
        """What the head is built of: anchors of 8 strides on a pyramid, from 2 strides on a single map."""
        anchor = self.anchor or (8.0 if self.head == "fpn" else 2.0)
        return Plan(self.head, self.width, anchor, self.masks, self.context)

    @property
    def kept(self) -> Kept:
        """Which detections are kept."""
        return Kept(self.score, self.nms, self.most, refine=self.refine)

    def defaults(self, dataset: Dataset) -> tuple[str, ...]:
        """Return what a released detector was learned with; its trunk's weights come with it."""
        del dataset
        own = (
            "weights=none",
            f"model={NETWORK}",
            "normalize=imagenet",
            "frozen_norm=true",
            "trunk_lr=0.1,1.0,2",
        )
        return own if self.released else ()

    def start(self, network: Solver) -> str:
        """Load the weights of torchvision's detector, where they are asked for.

        Raises:
            ResightError: if they are of another network, or cannot be had.
        """
        return load_released(network, masks=self.masks) if self.released else ""

    def labelled(self, dataset: Dataset) -> Dataset:
        """Return a data set of the pictures whose size is known.

        Raises:
            DataError: if there are no boxes.
        """
        if all(split.boxes is None for split in dataset.splits.values()):
            raise DataError(
                f"{dataset.name}: has no boxes; --task detect learns from VOC, COCO, YOLO or CVAT"
            )
        if self.masks and all(split.masks is None for split in dataset.splits.values()):
            raise DataError(
                f"{dataset.name}: has no masks; detect.masks=true learns from COCO or YOLO outlines"
            )
        splits, notes = {}, list(dataset.notes)
        for name, split in dataset.splits.items():
            known = np.array([split.picture_size(i) is not None for i in range(len(split))], dtype=bool)
            splits[name] = split if known.all() else split.take(np.flatnonzero(known))
            if missing := int((~known).sum()):
                notes.append(f"{missing} {name} pictures have no known size and are left out")
        return replace(dataset, splits={k: v for k, v in splits.items() if len(v)}, notes=tuple(notes))

    def network(self, trunk: Classifier, learned: Learned | Dataset) -> Solver:
        """Return the trunk under a detector."""
        return detector_on(trunk, len(learned.classes), self.plan)

    def objective(self, network: Solver, aids: Aids) -> "DetectLoss":
        """Return the loss, which counts its four parts.

        Raises:
            UsageError: if a teacher or label smoothing is named.
        """
        aids.refuse_teacher(self.name)
        if aids.smoothing:
            raise UsageError("label_smoothing= is not used by --task detect; set it to 0")
        return DetectLoss(network, self)

    def row(self, sums: dict[str, float], seen: int) -> dict[str, float]:
        """Return the losses of proposals, of regions and of masks, means over the pictures."""
        count = max(seen, 1)
        row = {
            "train_proposal_loss": (sums["likely"] + sums["moved"]) / count,
            "train_region_loss": (sums["named"] + sums["refined"]) / count,
        }
        return {**row, "train_mask_loss": sums["drawn"] / count} if self.masks else row

    def outputs(
        self, network: nn.Module, squares: Tensor, normalize: Normalize, precision: torch.dtype
    ) -> list[Found]:
        """Return the detections of each square, boxes in shares of its sides, on the CPU."""
        return self.outputs_at(network, squares, normalize, precision, squares.shape[1])

    def outputs_at(
        self,
        network: nn.Module,
        squares: Tensor,
        normalize: Normalize,
        precision: torch.dtype,
        side: int,
        scales: Sequence[float] = (),
    ) -> list[Found]:
        """Return what `outputs` does of squares that are reduced to a side first, and to other sizes of it.

        Args:
            network: as in `outputs`.
            squares: the same, large enough for the largest size.
            normalize: the same.
            precision: the same.
            side: of the images that proposals come from.
            scales: sides of the images that regions are read from, over `side`; none for these alone.
        """
        found, canvas = [], (side, side)
        for start in range(0, len(squares), BATCH):
            pixels = squares[start : start + BATCH].to(normalize.device)
            with torch.inference_mode(), autocast(normalize.device, precision):
                raw: Raw = network(normalize(reduced(pixels, side)))
                seen = []
                for scale in scales:
                    other = round(scale * side)
                    maps = raw.maps if other == side else network(normalize(reduced(pixels, other))).maps
                    seen.append(Scale(maps, other / side, (other, other)))
                own = network.head.detections(raw, canvas, [canvas] * len(pixels), self.kept, seen)  # type: ignore[union-attr]
            for f in own:
                masks = None if f.masks is None else f.masks.cpu()
                found.append(Found(f.boxes.cpu() / side, f.labels.cpu(), f.scores.cpu(), masks))
        return found

    def targets(self, network: Solver) -> tuple[str, ...]:
        """Return the classes: the score of the best detection of one can be explained."""
        return network.classes

    def aims(
        self, network: Solver, image: Tensor, target: str | None, read: Callable[[str], Tensor]
    ) -> list[Aim]:
        """Return the scores of detections, see `aims_of`."""
        del read
        return aims_of(network, image, target, self.kept)

    def judged(self, outputs: Sequence[Found], marks: ObjectMarks) -> dict[str, float]:
        """Return the average precision on validation squares; nothing if they show no object."""
        found = [
            Detections(f.boxes.double().numpy(), f.labels.numpy(), f.scores.double().numpy()) for f in outputs
        ]
        columns = zip(marks.boxes, marks.labels, marks.ignored, marks.crowds, strict=True)
        truths = [
            Truths(boxes.cpu().double().numpy(), labels.cpu().numpy(), ignored.numpy(), crowds.numpy())
            for boxes, labels, ignored, crowds in columns
        ]
        classes = 1 + max((int(own.labels.max()) for own in (*found, *truths) if len(own.labels)), default=0)
        precision = precision_of(matches_of(found, truths, classes))
        figures = {"val_ap": precision.average(), "val_ap50": precision.average(overlap=FIFTY)}
        return {name: value for name, value in figures.items() if value is not None}

    def words(self, row: dict[str, float]) -> str:
        """Return the figures of an epoch in words."""
        val = f"  val AP {row['val_ap']:.3f}, AP50 {row['val_ap50']:.3f}" if "val_ap" in row else ""
        return f"proposals {row['train_proposal_loss']:.3f}, regions {row['train_region_loss']:.3f}{val}"

    def answers(self, asked: Asked) -> Iterator[tuple[int, Detected | PictureError]]:
        """Yield the objects of each picture."""
        card, outputs = asked.preprocessing, self.outputs
        if self.scales:
            outputs = partial(self.outputs_at, side=card.size, scales=self.scales)
            largest = round(card.size * max(1.0, *self.scales))
            asked = replace(
                asked, preprocessing=replace(card, size=largest, resize=max(largest, card.resize))
            )
        for index, found, place in seen(asked, outputs):
            yield index, found if place is None else detected(found, place)

    def result(
        self, answers: Sequence[tuple[int, Detected]], split: Split, train: Split | None
    ) -> DetectResult:
        """Return what a test gave."""
        del train
        return DetectResult.of(answers, split, masks=self.masks)

    def answer_row(self, answer: Detected, network: Solver) -> dict[str, Any]:
        """Return the objects, see `row_of`."""
        boxes, labels, scores = (own.tolist() for own in (answer.boxes, answer.labels, answer.scores))
        return row_of(network.classes, boxes, labels, scores, answer.masks, answer.size)


def reduced(pixels: Tensor, side: int) -> Tensor:
    """Return squares (B, S, S, 3) uint8 reduced, with antialiasing, to another side."""
    if pixels.shape[1] == side:
        return pixels
    planes = pixels.permute(0, 3, 1, 2).float()
    small = F.interpolate(planes, size=(side, side), mode="bilinear", antialias=True)
    return small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)


def detected(found: Found, place: Place) -> Detected:
    """Return detections of a square as objects of its picture; what lies beside the picture is left out."""
    whole = place.to_picture(found.boxes.view(-1, 2, 2)).view(-1, 4).numpy()
    width, height = place.size
    boxes = np.clip(whole, 0, [width, height, width, height])
    inside = (boxes[:, 2:] > boxes[:, :2]).all(1)
    masks = None
    if found.masks is not None:
        drawn = pasted(found.masks[torch.from_numpy(inside)], whole[inside].tolist(), (height, width))
        masks = tuple(run_lengths_of(mask) for mask in (drawn > MASK).numpy())
    return Detected(
        boxes[inside], found.labels.numpy()[inside], found.scores.double().numpy()[inside], place.size, masks
    )


class DetectLoss(Loss):
    """Loss of a batch, and its four parts.

    Args:
        model: the network.
        task: says how many boxes learn.
    """

    def __init__(self, model: Solver, task: Detect) -> None:
        super().__init__(model)
        self.task = task

    def forward(self, images: Tensor, marks: ObjectMarks, done: float) -> tuple[Tensor, Tensor]:
        """Return the loss, a mean over the pictures, and the sums of its parts, (5,); the last is of masks.

        Args:
            images: (B, C, H, W).
            marks: of the B pictures, moved as they are.
            done: share of the training that is done.
        """
        del done
        canvas = (images.shape[2], images.shape[3])
        parts = self.model.head.losses(
            self.model(images), targets_of(marks, canvas), canvas, self.task.anchors, self.task.regions
        )
        return parts.sum(), len(marks) * F.pad(parts.detach(), (0, 5 - len(parts)))


def targets_of(marks: ObjectMarks, canvas: tuple[int, int]) -> list[Objects]:
    """Return the objects of each picture in pixels of the canvas (H, W)."""
    targets, words = [], marks.words.tolist()
    columns = zip(marks.boxes, marks.labels, marks.ignored, words, strict=True)
    for row, (boxes, labels, ignored, word) in enumerate(columns):
        scaled = boxes * torch.tensor([canvas[1], canvas[0]] * 2, device=boxes.device)
        passed, masks = ignored.to(boxes.device), None
        if isinstance(marks, MaskedObjects):
            masks = marks.drawn_masks(row, canvas[0])[~ignored].to(boxes.device)
        targets.append(Objects(scaled[~passed], labels[~passed], scaled[passed], word, masks))
    return targets
