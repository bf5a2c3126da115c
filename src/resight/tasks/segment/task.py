"""A class for every pixel: fully convolutional heads and DeepLabv3 on any trunk.

Long, Shelhamer and Darrell 2015, "Fully Convolutional Networks for Semantic Segmentation"; Chen et al. 2017,
"Rethinking Atrous Convolution for Semantic Image Segmentation". A picture is seen whole, the longer side
resized; scores of a coarse map are enlarged to the picture's own pixels, and the largest one is the answer.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.device import autocast
from resight.core.errors import DataError, PictureError, UsageError
from resight.data.dataset import VOID, Dataset, Split
from resight.data.labelling import Rule
from resight.data.layouts.mapped import READ, Mapped
from resight.data.map_marks import LabelMaps
from resight.data.prepare import Normalize
from resight.evaluate.asked import Asked, Place, seen
from resight.metrics.segmentation import Overlaps, confusion, mean_iou, pixel_accuracy
from resight.models.classifier import Classifier
from resight.models.heads.segmentation import FINER, OUTPUT_STRIDES, Plan, enlarged, segmenter_on
from resight.models.solver import Solver
from resight.render.label_map import index_image
from resight.tasks.segment.result import Segmented, SegmentResult, shares_of
from resight.tasks.task import Aids, Aim, Best, Learned, Loss, SolverTask

BATCH = 4
"""Pictures that are judged at once."""
AT_ONCE = 2**24
"""Scores that are enlarged at once to a picture's own size."""
AUX = 0.4
"""Weight of the second head's loss (Zhao et al. 2017, "Pyramid Scene Parsing Network", section 3.3)."""
SAID = 8
"""Classes that predict prints of a picture."""


@dataclass(frozen=True)
class Segment(SolverTask):
    """A class for every pixel of a picture.

    Attributes:
        head: "fcn8", "fcn16" or "fcn32": scores of the trunk's last map and of two, one or none finer ones;
            or "deeplab", a pyramid of kernels of several reaches over the last map.
        output_stride: pixels between two places of the trunk's last map, 8 or 16, of a trunk that can be
            dilated; 0 for the trunk's own.
        width: channels of DeepLab's layers; 256 in the paper.
        aux: whether a second head learns from a finer map.
        void: value of masks that does not count; -1 for none.
    """

    head: str = "fcn8"
    output_stride: int = 0
    width: int = 64
    aux: bool = False
    void: int = VOID

    name: ClassVar[str] = "segment"
    kind: ClassVar[type[LabelMaps]] = LabelMaps
    counts: ClassVar[tuple[str, ...]] = ("right", "counted")
    columns: ClassVar[tuple[str, ...]] = ("train_pixel_accuracy", "val_pixel_accuracy", "val_mean_iou")
    best: ClassVar[Best] = Best("val_mean_iou", lower=False, error=False)
    recipe: ClassVar[str] = "segment"
    frame: ClassVar[str] = "corner"
    balances: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: naming the setting and its range.
        """
        if self.head not in FINER:
            raise UsageError(f"segment.head={self.head}: must be one of {', '.join(FINER)}")
        if self.output_stride not in OUTPUT_STRIDES:
            raise UsageError(
                f"segment.output_stride={self.output_stride}: must be 8, 16, or 0 for the trunk's"
            )
        if self.width < 1:
            raise UsageError(f"segment.width={self.width}: must be 1 or more")
        if not -1 <= self.void <= VOID:
            raise UsageError(f"segment.void={self.void}: must be a value of masks, 0 to 255, or -1 for none")

    @property
    def rule(self) -> Rule:
        """Label maps are read."""
        return Mapped(self.void)

    def labelled(self, dataset: Dataset) -> Dataset:
        """Return a data set with label maps.

        Raises:
            DataError: if it has none.
        """
        if any(split.maps is None for split in dataset.splits.values()):
            raise DataError(f"{dataset.name}: has no label maps; {READ}")
        return dataset

    def noted(self, dataset: Dataset) -> list[str]:
        """Return the share of the pixels of each class, and of those that do not count, split by split."""
        notes = []
        for name, split in dataset.splits.items():
            shares = shares_of(split)
            each = ", ".join(f"{label} {100 * share:.1f} %" for label, share in shares.classes.items())
            notes.append(f"{name} pixels: {each}; void {100 * shares.void:.1f} % of all")
        return notes

    def network(self, trunk: Classifier, learned: Learned | Dataset) -> Solver:
        """Return the trunk under a head that says the class of every place."""
        plan = Plan(self.head, self.output_stride, self.width, self.aux)
        return segmenter_on(trunk, len(learned.classes), plan)

    def objective(self, network: Solver, aids: Aids) -> "SegmentLoss":
        """Return the loss, which counts right pixels.

        Raises:
            UsageError: if a teacher is named.
        """
        aids.refuse_teacher(self.name)
        return SegmentLoss(network, aids.smoothing)

    def row(self, sums: dict[str, float], seen: int) -> dict[str, float]:
        """Return the share of right pixels among those that count, of training pictures as they are moved."""
        del seen
        return {"train_pixel_accuracy": sums["right"] / max(sums["counted"], 1)}

    def outputs(
        self, network: nn.Module, squares: Tensor, normalize: Normalize, precision: torch.dtype
    ) -> Tensor:
        """Return the class number of each pixel of each square, (N, S, S) uint8, on the CPU."""
        said, side = [], squares.shape[1]
        for start in range(0, len(squares), BATCH):
            images = normalize(squares[start : start + BATCH].to(normalize.device))
            with torch.inference_mode(), autocast(normalize.device, precision):
                scores = network(images).float()
            said.append(enlarged(scores, (side, side)).argmax(1).to(torch.uint8).cpu())
        return torch.cat(said) if said else torch.zeros(0, side, side, dtype=torch.uint8)

    def judged(self, outputs: Tensor, marks: LabelMaps) -> dict[str, float]:
        """Return mean intersection over union and the share of right pixels on validation squares."""
        if not len(outputs):
            return {}
        true, said = marks.at(outputs.shape[-1]).numpy(), outputs.numpy()
        classes = 1 + max(int(said.max()), int(true[true != VOID].max(initial=0)))
        sums = Overlaps.of([confusion(said, true, classes)]).all()
        figures = {"val_pixel_accuracy": pixel_accuracy(*sums), "val_mean_iou": mean_iou(*sums)}
        return {
            name: float(value) for name, value in figures.items() if value == value
        }  # NaN: nothing counts

    def words(self, row: dict[str, float]) -> str:
        """Return the figures of an epoch in words."""
        val = row.get("val_mean_iou")
        more = "" if val is None else f"  val {100 * row['val_pixel_accuracy']:.1f} %, mean IoU {val:.3f}"
        return f"pixels right: train {100 * row['train_pixel_accuracy']:.1f} %{more}"

    def answers(self, asked: Asked) -> Iterator[tuple[int, Segmented | PictureError]]:
        """Yield the class of every pixel of each picture, at its own size."""
        for index, scores, place in seen(asked):
            yield index, scores if place is None else Segmented.of(pixels_of(scores, place).numpy())

    def result(
        self, answers: Sequence[tuple[int, Segmented]], split: Split, train: Split | None
    ) -> SegmentResult:
        """Return what a test gave."""
        return SegmentResult.of(answers, split, train)

    def answer_row(self, answer: Segmented, network: Solver) -> dict[str, Any]:
        """Return {"classes": [{"label", "index", "share"}], "size", "said"}, the largest share first.

        A share is of the picture's pixels, in [0, 1]; an index is the value of the class in the written map.
        """
        width, height = answer.size
        counts = torch.bincount(torch.from_numpy(answer.labels().reshape(-1)).long())
        order = counts.argsort(descending=True, stable=True)[: int((counts > 0).sum())].tolist()
        rows = [
            {"label": network.classes[i], "index": i, "share": int(counts[i]) / (width * height)}
            for i in order
        ]
        said = ", ".join(f"{row['label']} {100 * row['share']:.1f} %" for row in rows[:SAID])
        more = f" and {len(rows) - SAID} more" if len(rows) > SAID else ""
        return {"classes": rows, "size": [width, height], "said": said + more}

    def picture(self, answer: Segmented) -> Image.Image:
        """Return the label map with a palette: its values are class numbers."""
        return index_image(answer.labels())

    def targets(self, network: Solver) -> tuple[str, ...]:
        """Return the classes: the scores of one over its region can be explained."""
        return network.classes

    def aims(
        self, network: Solver, image: Tensor, target: str | None, read: Callable[[str], Tensor]
    ) -> list[Aim]:
        """Return the summed score of a class over its region, where it is the answer.

        The region is fixed, so that a map says what in the picture speaks for the class there (Vinogradova et
        al. 2020, "Towards Interpretable Semantic Segmentation via Gradient-weighted Class Activation
        Mapping", equation 2).

        Args:
            network: in eval mode.
            image: (1, 3, S, S).
            target: a class, its number, or "topK" for the K classes with most places; None for the first one.
            read: not used.

        Raises:
            UsageError: if there is no such class, or the answer shows none of it.
        """
        del read
        with torch.no_grad():
            said = network(image)[0].argmax(0)
        counts = torch.bincount(said.reshape(-1), minlength=len(network.classes))
        wanted = _wanted(target, network.classes, counts)
        for label in wanted:
            if not int(counts[label]):
                raise UsageError(
                    f"--target {target}: the answer shows no {network.classes[label]} in this picture"
                )

        def aim(label: int) -> Aim:
            region = said == label
            return Aim(network.classes[label], lambda scores: scores[:, label][:, region].sum(1))

        return [aim(label) for label in wanted]


def _wanted(target: str | None, classes: Sequence[str], counts: Tensor) -> list[int]:
    """Return the numbers of the classes that a target names."""
    word = "top1" if target is None else target
    if word in classes:
        return [classes.index(word)]
    if word.isdecimal() and int(word) < len(classes):
        return [int(word)]
    if word.startswith("top") and word[3:].isdecimal() and int(word[3:]):
        there = int((counts > 0).sum())
        return counts.argsort(descending=True, stable=True)[: min(there, int(word[3:]))].tolist()
    raise UsageError(
        f"--target {target}: is no class of this run; its classes: {', '.join(classes[:8])}; or topK for "
        "the K classes with the largest regions"
    )


def pixels_of(scores: Tensor, place: Place) -> Tensor:
    """Return the class of each pixel of a picture, (H, W) uint8, from the scores (C, h, w) of its square.

    Scores between the places of the map lie on straight lines; a part of the rows is enlarged at a time.
    """
    (width, height), (left, top, right, bottom) = place.size, place.window
    x = 2 * (torch.arange(width, dtype=torch.float64) + 0.5 - left) / (right - left) - 1
    y = 2 * (torch.arange(height, dtype=torch.float64) + 0.5 - top) / (bottom - top) - 1
    rows = max(1, AT_ONCE // (len(scores) * width))
    found = []
    for part in y.split(rows):
        grid = torch.stack(torch.broadcast_tensors(x[None, :], part[:, None]), -1)[None].to(scores.dtype)
        own = F.grid_sample(scores[None], grid, "bilinear", "border", align_corners=False)
        found.append(own[0].argmax(0).to(torch.uint8))
    return torch.cat(found)


class SegmentLoss(Loss):
    """Cross-entropy of the pixels that count: a mean over those of a picture, then over the pictures.

    Args:
        model: the network.
        smoothing: share of a target that is spread over all classes.
    """

    def __init__(self, model: Solver, smoothing: float = 0.0) -> None:
        super().__init__(model)
        self.smoothing = smoothing

    def forward(self, images: Tensor, marks: LabelMaps, done: float) -> tuple[Tensor, Tensor]:
        """Return the loss, and how many pixels are right and how many count, (2,).

        Args:
            images: (B, C, S, S).
            marks: of the B pictures, moved as they are.
            done: share of the training that is done.

        Raises:
            UsageError: if a step has one picture, whose mean DeepLab cannot normalize.
        """
        del done
        if len(images) < 2 and self.model.head.plan.kind == "deeplab" and self.model.head.training:
            raise UsageError(
                "batch_size=1: segment.head=deeplab normalizes means of pictures; take 2 or more"
            )
        true = marks.at(images.shape[-1]).to(images.device).long()
        maps = self.model.forward_maps(images)
        scores = self.model.head(maps).float()
        beside = self.model.head.beside(maps)
        loss = self._apart(scores, true)
        if beside is not None:
            loss = loss + AUX * self._apart(beside.float(), true)
        with torch.no_grad():
            said = enlarged(scores, (true.shape[-2], true.shape[-1])).argmax(1)
            counted = true != VOID
            return loss, torch.stack([((said == true) & counted).sum(), counted.sum()])

    def _apart(self, scores: Tensor, true: Tensor) -> Tensor:
        """Return the cross-entropy of scores (B, C, h, w), enlarged to the pixels' classes (B, S, S)."""
        whole = enlarged(scores, (true.shape[-2], true.shape[-1]))
        each = F.cross_entropy(
            whole, true, ignore_index=VOID, reduction="none", label_smoothing=self.smoothing
        )
        counted = (true != VOID).sum((1, 2)).clamp(min=1)
        return (each.sum((1, 2)) / counted).mean()
