"""One object of each picture: its class and its box, from one trunk.

L = alpha S + (1 - alpha) R, with S the loss of the class and R that of the box. Losses of different alpha
cannot be compared, so the kept weights are chosen by the localization error of ILSVRC (Russakovsky et al.
2015, section 4.2): a picture is wrong if its class is, or if its box overlaps the true one by less than half.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.data.dataset import Dataset, Split
from resight.data.marks import OneBox
from resight.models.classifier import Classifier
from resight.models.solver import Head, Solver
from resight.tasks.classify.task import OneClass
from resight.tasks.task import Aids, Best, Loss

GRID = 4
"""Places along each side of the map that the box is read from: one mean over the map would tell no place."""
OVERLAP = 0.5
"""Of a box that counts as found."""
MIDDLE = (0.25, 0.25, 0.75, 0.75)
"""The box that a fresh head says, in shares of the sides."""
NO_AIDS = Aids()


class BoxHead(Head):
    """Says a class and a box: class logits from the mean of the map, and edges from its places.

    Args:
        stage: that it reads.
        channels: K, of its map.
        classes: how many there are.
        boxes: how many: one for all classes, or one for each.
        scale: what the network multiplies its map by before the last layer, see `Classifier.logit_scale`.
    """

    def __init__(self, stage: str, channels: int, classes: int, boxes: int, scale: float = 1.0) -> None:
        super().__init__()
        self.reads, self.scale = (stage,), scale
        self.named = nn.Linear(channels, classes)
        self.edges = nn.Linear(channels * GRID**2, 4 * boxes)
        nn.init.normal_(self.edges.weight, std=0.001)
        with torch.no_grad():
            self.edges.bias.copy_(torch.tensor(MIDDLE).repeat(boxes))

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Turn a map (B, K, h, w) into (B, classes + 4 boxes): logits, then x0, y0, x1, y1 of each box."""
        features = maps[self.reads[0]] * self.scale
        mean = torch.flatten(F.adaptive_avg_pool2d(features, 1), 1)
        # As long as the vector of one place, so that rates for classes fit boxes too.
        places = torch.flatten(F.adaptive_avg_pool2d(features, GRID), 1) / GRID
        return torch.cat([self.named(mean), self.edges(places)], 1)


@dataclass(frozen=True)
class Localize:
    """One class and one box a picture.

    Attributes:
        alpha: share of the class's loss, in (0, 1).
        per_class: a box for each class, of which the true one's learns; else one for all.
        smooth: smooth l1 in place of l2 as the loss of a box.
    """

    alpha: float = 0.5
    per_class: bool = False
    smooth: bool = False

    name: ClassVar[str] = "localize"
    kind: ClassVar[type[OneBox]] = OneBox
    counts: ClassVar[tuple[str, ...]] = ("wrong", "missed")
    columns: ClassVar[tuple[str, ...]] = (
        "train_error", "train_localization_error", "val_loss", "val_error", "val_localization_error",
        "val_iou",
    )  # fmt: skip
    best: ClassVar[Best] = Best("val_localization_error")

    def __post_init__(self) -> None:
        """Refuse a share that leaves one of the two unlearned."""
        if not 0 < self.alpha < 1:
            raise UsageError(f"localize.alpha={self.alpha:g}: must lie between 0 and 1")

    def network(self, trunk: Classifier, dataset: Dataset) -> Solver:
        """Return the trunk under a head that says a class and a box."""
        last, classes = list(trunk.stages)[-1], len(dataset.classes)
        boxes = classes if self.per_class else 1
        head = BoxHead(last, trunk.num_features, classes, boxes, trunk.logit_scale)
        return Solver(trunk, head)

    def weights(self, train: Split) -> Tensor:
        """Return what a picture of each class counts where classes shall count alike, (classes,)."""
        return OneClass().weights(train)

    def objective(self, network: Solver, aids: Aids) -> "LocalizeLoss":
        """Return the loss, which counts wrong classes and missed objects.

        Raises:
            UsageError: if a teacher is named.
        """
        if aids.teacher or aids.old:
            raise UsageError("teacher= is of classes alone; leave it out with --task localize")
        return LocalizeLoss(network, self, aids)

    def loss(self, outputs: Tensor, marks: OneBox, aids: Aids = NO_AIDS) -> Tensor:
        """Return alpha S + (1 - alpha) R, a mean over the pictures; a box out of sight teaches nothing.

        Args:
            outputs: of the head, (B, classes + 4 boxes).
            marks: moved as the pictures are.
            aids: smoothing and weights of the classes.
        """
        logits, boxes = self.parts(outputs, marks.labels)
        named = OneClass().criterion(aids.smoothing, aids.weights)(logits, marks.labels)
        apart = F.smooth_l1_loss if self.smooth else F.mse_loss
        found = apart(boxes, marks.boxes, reduction="none").sum(1) * (marks.seen > 0)
        return self.alpha * named + (1 - self.alpha) * found.mean()

    def parts(self, outputs: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return class logits (B, classes) and boxes (B, 4): of the given classes, else of the named ones."""
        classes = (outputs.shape[1] // 5) if self.per_class else outputs.shape[1] - 4
        logits, boxes = outputs[:, :classes], outputs[:, classes:]
        if self.per_class:
            chosen = logits.argmax(1) if labels is None else labels
            boxes = boxes.view(len(boxes), -1, 4)[torch.arange(len(boxes), device=boxes.device), chosen]
        return logits, boxes

    def row(self, sums: dict[str, float], seen: int) -> dict[str, float]:
        """Return the training errors in percent."""
        return {
            "train_error": 100 * sums["wrong"] / max(seen, 1),
            "train_localization_error": 100 * sums["missed"] / max(seen, 1),
        }

    def judged(self, outputs: Tensor, marks: OneBox) -> dict[str, float]:
        """Return loss, errors in percent and mean overlap on validation squares."""
        logits, boxes = self.parts(outputs)
        wrong, shared = logits.argmax(1) != marks.labels, overlaps(boxes, marks.boxes)
        return {
            "val_loss": float(self.loss(outputs, marks)),
            "val_error": 100 * float(wrong.double().mean()),
            "val_localization_error": 100 * float((wrong | (shared < OVERLAP)).double().mean()),
            "val_iou": float(shared.double().mean()),
        }

    def words(self, row: dict[str, float]) -> str:
        """Return the localization errors of an epoch in words."""
        val = row.get("val_localization_error")
        more = "" if val is None else f"  val {val:6.2f} %, mean IoU {row['val_iou']:.3f}"
        return f"localization error: train {row['train_localization_error']:6.2f} %{more}"


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over the union of boxes (N, 4) and (N, 4), row by row, (N,)."""
    corner, end = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    shared = (end - corner).clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (first, second)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-12)


class LocalizeLoss(Loss):
    """Loss of a batch, with wrong classes and missed objects counted.

    Args:
        model: the network.
        task: gives the loss.
        aids: smoothing and weights of the classes.
    """

    def __init__(self, model: Solver, task: Localize, aids: Aids) -> None:
        super().__init__(model)
        self.task, self.aids = task, aids

    def forward(self, images: Tensor, marks: OneBox, done: float) -> tuple[Tensor, Tensor]:
        """Return the loss, a mean over the pictures, and (wrong, missed), (2,).

        Args:
            images: (B, C, H, W).
            marks: of the B pictures, moved as they are.
            done: share of the training that is done.
        """
        del done
        outputs = self.model(images).float()
        loss = self.task.loss(outputs, marks, self.aids)
        with torch.no_grad():
            logits, boxes = self.task.parts(outputs)
            wrong = logits.argmax(1) != marks.labels
            missed = wrong | (overlaps(boxes, marks.boxes) < OVERLAP)
            return loss, torch.stack([wrong.sum(), missed.sum()])
