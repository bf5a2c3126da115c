"""One object of each picture: its class and its box, from one trunk.

L = alpha S + (1 - alpha) R, with S the loss of the class and R that of the box. Losses of different alpha
cannot be compared, so the kept weights are chosen by the localization error of ILSVRC (Russakovsky et al.
2015, section 4.2): a picture is wrong if its class is, or if its box overlaps the true one by less than half.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from resight.core.errors import DataError, PictureError, UsageError
from resight.data.class_boxes import ClassBoxes
from resight.data.dataset import Dataset, Split
from resight.data.labelling import LargestBox, Rule
from resight.data.marks import OneBox
from resight.evaluate.asked import Asked, Place, seen
from resight.metrics.calibration import fit_temperature
from resight.models.classifier import Classifier
from resight.models.heads.class_proposals import ClassProposals
from resight.models.heads.sampling import Objects
from resight.models.solver import Solver
from resight.tasks.classify.task import OneClass, of_labels
from resight.tasks.localize.head import BoxHead
from resight.tasks.localize.result import GUESSES, OVERLAP, LocalizeResult, Located, overlaps
from resight.tasks.localize.row import row_of
from resight.tasks.localize.views import VIEWS, Seen, views_of
from resight.tasks.task import Aids, Best, Learned, Loss, SolverTask

HEADS = ("box", "rpn")
EDGES = ("left", "top", "right", "bottom")
ROUND = 0.1
"""Share of a side up to which smooth l1 is a parabola: with 1 it would be half of l2 wherever an edge is."""
NO_AIDS = Aids()


@dataclass(frozen=True)
class Localize(SolverTask):
    """One class and one box a picture.

    Attributes:
        alpha: share of the class's loss, in (0, 1).
        per_class: a box for each class, of which the true one's learns; else one for all.
        smooth: smooth l1 in place of l2 as the loss of a box.
        mirrored: answers are of a picture and its mirror image; for pictures whose mirror image shows
            something else, false.
        head: "box", one box by regression; or "rpn", proposals in per-class form (He et al. 2015,
            appendix C).
        anchor: of rpn, side of the smallest anchors in shares of the picture's sides.
        anchors: of rpn, how many of a picture learn in a step, half of them of the object.
        stages: of rpn, 1, or 2 for regions that are looked at again.
        regions: of the second stage, how many of a picture learn in a step.
        views: of rpn, what is seen of a test picture: "whole", "dense" (the whole at several sizes), or
            "ten" crops.
    """

    alpha: float = 0.5
    per_class: bool = False
    smooth: bool = False
    mirrored: bool = True
    head: str = "box"
    anchor: float = 0.25
    anchors: int = 8
    stages: int = 1
    regions: int = 32
    views: str = "whole"

    name: ClassVar[str] = "localize"
    counts: ClassVar[tuple[str, ...]] = ("wrong", "missed")
    columns: ClassVar[tuple[str, ...]] = (
        "train_error", "train_localization_error", "val_loss", "val_error", "val_localization_error",
        "val_iou",
    )  # fmt: skip
    best: ClassVar[Best] = Best("val_localization_error")
    frame: ClassVar[str] = "stretch"

    def __post_init__(self) -> None:
        """Refuse values out of range, and settings of the other head.

        Raises:
            UsageError: naming the setting and what it may be.
        """
        if not 0 < self.alpha < 1:
            raise UsageError(f"localize.alpha={self.alpha:g}: must lie between 0 and 1")
        for name, allowed in (("head", HEADS), ("stages", (1, 2)), ("views", VIEWS)):
            if (value := getattr(self, name)) not in allowed:
                raise UsageError(f"localize.{name}={value}: must be one of {', '.join(map(str, allowed))}")
        if not 0.01 <= self.anchor <= 1:
            raise UsageError(f"localize.anchor={self.anchor:g}: must lie between 0.01 and 1")
        for name in ("anchors", "regions"):
            if getattr(self, name) < 2:
                raise UsageError(f"localize.{name}={getattr(self, name)}: must be 2 or more")
        if self.head == "box" and (self.stages, self.views) != (1, "whole"):
            raise UsageError("localize.stages and localize.views are settings of localize.head=rpn")
        if self.head == "rpn" and (self.per_class or self.smooth):
            raise UsageError(
                "localize.per_class and localize.smooth are settings of localize.head=box; rpn has a box of "
                "each class, and smooth l1, always"
            )

    @property
    def kind(self) -> type[OneBox]:  # type: ignore[override]
        """The object of each picture; where anchors learn, all other objects too."""
        return ClassBoxes if self.head == "rpn" else OneBox

    @property
    def scored(self) -> bool:
        """Whether an answer says how sure it is that there is an object."""
        return self.head == "rpn"

    def defaults(self, dataset: Dataset) -> tuple[str, ...]:
        """Return what differs from a classifier's recipe: a crop can cut the object off."""
        return (f"augment={'flip' if dataset.mirrors else ''}",)

    @property
    def rule(self) -> Rule:
        """A picture is about its largest box; one class is enough."""
        return LargestBox(least=1)

    def labelled(self, dataset: Dataset) -> Dataset:
        """Return a data set of the pictures that have a box of their class.

        Raises:
            DataError: if there are no boxes, or the data set is multi-label.
        """
        of_labels(dataset).require_one(dataset.name, "--task localize finds one object a picture")
        if all(split.boxes is None for split in dataset.splits.values()):
            raise DataError(
                f"{dataset.name}: has no boxes; --task localize learns from VOC, COCO, YOLO, Tiny-ImageNet, "
                "or shards of these"
            )
        if all(split.sizes is None for split in dataset.splits.values()):
            raise DataError(f"{dataset.name}: does not say how large its pictures are; pack it again")
        splits, notes = {}, list(dataset.notes)
        for name, split in dataset.splits.items():
            marked = np.array([_is_marked(split, index) for index in range(len(split))], dtype=bool)
            splits[name] = split if marked.all() else split.take(np.flatnonzero(marked))
            if missing := int((~marked).sum()):
                notes.append(f"{missing} {name} pictures have no box of their class and are left out")
        if not len(splits.get("train", ())) and "train" in splits:
            raise DataError(f"{dataset.name}: no training picture has a box of its class and a known size")
        return replace(dataset, splits={k: v for k, v in splits.items() if len(v)}, notes=tuple(notes))

    def network(self, trunk: Classifier, learned: Learned | Dataset) -> Solver:
        """Return the trunk under a head that says a class and a box."""
        last, classes = list(trunk.stages)[-1], len(learned.classes)
        if self.head == "rpn":
            proposals = ClassProposals(
                last,
                trunk.num_features,
                classes,
                self.anchor,
                twice=self.stages == 2,
                scale=trunk.logit_scale,
            )
            return Solver(trunk, proposals)
        boxes = classes if self.per_class else 1
        head = BoxHead(last, trunk.num_features, classes, boxes, trunk.logit_scale)
        return Solver(trunk, head)

    def objective(self, network: Solver, aids: Aids) -> "LocalizeLoss":
        """Return the loss, which counts wrong classes and missed objects.

        Raises:
            UsageError: if a teacher is named.
        """
        aids.refuse_teacher(self.name)
        return (ProposalLoss if self.head == "rpn" else LocalizeLoss)(network, self, aids)

    def loss(self, outputs: Tensor, marks: OneBox, aids: Aids = NO_AIDS) -> Tensor:
        """Return alpha S + (1 - alpha) R, a mean over the pictures; a box out of sight teaches nothing.

        Args:
            outputs: of the head, (B, classes + 4 boxes).
            marks: moved as the pictures are.
            aids: smoothing and weights of the classes.
        """
        logits, boxes = self.parts(outputs, marks.labels)
        named = OneClass().criterion(aids.smoothing, aids.weights)(logits, marks.labels)
        if self.smooth:
            apart = F.smooth_l1_loss(boxes, marks.boxes, reduction="none", beta=ROUND)
        else:
            apart = F.mse_loss(boxes, marks.boxes, reduction="none")
        found = apart.sum(1) * (marks.seen > 0)
        return self.alpha * named + (1 - self.alpha) * found.mean()

    def parts(self, outputs: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return class logits (B, classes) and boxes (B, 4): of the given classes, else of the named ones."""
        if self.head == "rpn":
            said = Seen.of(outputs)
            logits, boxes = said.logits, said.boxes.flatten(1)
        else:
            classes = (outputs.shape[1] // 5) if self.per_class else outputs.shape[1] - 4
            logits, boxes = outputs[:, :classes], outputs[:, classes:]
        if self.per_class or self.head == "rpn":
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
        """Return errors in percent and mean overlap on validation squares; of one box also the loss."""
        logits, boxes = self.parts(outputs)
        wrong, shared = logits.argmax(1) != marks.labels, overlaps(boxes, marks.boxes)
        loss = {} if self.head == "rpn" else {"val_loss": float(self.loss(outputs, marks))}
        return {
            **loss,
            "val_error": 100 * float(wrong.double().mean()),
            "val_localization_error": 100 * float((wrong | (shared < OVERLAP)).double().mean()),
            "val_iou": float(shared.double().mean()),
        }

    def words(self, row: dict[str, float]) -> str:
        """Return the localization errors of an epoch in words."""
        val = row.get("val_localization_error")
        more = "" if val is None else f"  val {val:6.2f} %, mean IoU {row['val_iou']:.3f}"
        return f"localization error: train {row['train_localization_error']:6.2f} %{more}"

    def temperature(self, outputs: Tensor, marks: OneBox) -> float:
        """Return what class logits are divided by, fitted on 20 pictures or more."""
        logits, _ = self.parts(outputs)
        return fit_temperature(logits, marks.labels) if len(marks) >= 20 and logits.shape[1] > 1 else 1.0

    def answers(self, asked: Asked) -> Iterator[tuple[int, Located | PictureError]]:
        """Yield the class and the box of each picture."""
        if self.head == "rpn":
            for index, found, place in views_of(asked, self.views, mirrored=self.mirrored):
                if isinstance(found, PictureError):
                    yield index, found
                    continue
                assert place is not None  # the picture could be read
                likely = (found.logits.double() / asked.temperature).softmax(1).mean(0)
                sure, boxes = found.best()
                yield index, answer_of(likely, boxes, place, sure.sigmoid())
            return
        for index, output, place in seen(asked, mirrored=self.mirrored):
            if place is None:
                yield index, output
                continue
            views = output if self.mirrored else output[None]
            logits = self.parts(views)[0]
            likely = (logits.double() / asked.temperature).softmax(1).mean(0)
            boxes = views[:, logits.shape[1] :].unflatten(1, (-1, 4))  # one for all classes, or one for each
            if self.mirrored:
                boxes = torch.stack([boxes[0], mirror_image(boxes[1])])
            yield index, answer_of(likely, boxes.mean(0), place)

    def result(
        self, answers: Sequence[tuple[int, Located]], split: Split, train: Split | None
    ) -> LocalizeResult:
        """Return what a test gave."""
        return LocalizeResult.of(answers, split, train)

    def answer_row(self, answer: Located, network: Solver) -> dict[str, Any]:
        """Return the class and the box, see `row_of`; with anchors also how sure it is of the object."""
        label = network.classes[answer.label]
        return row_of(label, answer.label, answer.probability, answer.box, answer.size, answer.score)

    def targets(self, network: Solver) -> tuple[str, ...]:
        """Return the classes, and the edges of the box."""
        return (*network.classes, *(f"box:{edge}" for edge in EDGES))

    def scalars(self, outputs: Tensor) -> Tensor:
        """Return class logits and edges, in shares of the sides, (B, classes + 4)."""
        logits, boxes = self.parts(outputs)
        return torch.cat([logits, boxes], 1)


def answer_of(likely: Tensor, boxes: Tensor, place: Place, scores: Tensor | None = None) -> Located:
    """Return the answer to a picture: the likeliest class and its box.

    Args:
        likely: probabilities of the classes, (classes,).
        boxes: in shares of the sides, of every class, (classes, 4), or one for all, (1, 4).
        place: where the square lies in the picture.
        scores: of each class, how sure it is that its box holds one, (classes,).
    """
    label = int(likely.argmax())
    return Located(
        label, float(likely[label]), place.box(boxes[label if len(boxes) > 1 else 0]), place.size,
        None if scores is None else float(scores[label]),
        tuple(likely.topk(min(GUESSES, len(likely))).indices.tolist()),
        place.boxes(boxes).float().numpy(),
    )  # fmt: skip


def mirror_image(boxes: Tensor) -> Tensor:
    """Return boxes (..., 4) in shares of the sides where they are in the mirror image."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    return torch.stack([1 - x1, y0, 1 - x0, y1], -1)


def objects_of(marks: ClassBoxes) -> list[Objects]:
    """Return of each picture the objects of its class; anchors on other objects do not learn."""
    every, found = marks.objects, []
    columns = zip(marks.labels.tolist(), every.boxes, every.labels, every.ignored, strict=True)
    for (label, boxes, labels, ignored), word in zip(columns, every.words.tolist(), strict=True):
        own = (labels == label) & ~ignored.to(labels.device)
        found.append(Objects(boxes[own], labels[own], boxes[~own], word))
    return found


def _is_marked(split: Split, index: int) -> bool:
    """Return whether a picture has a box of its class, and its size is known."""
    label, boxes = int(split.labels[index]), split.picture_boxes(index)
    return split.picture_size(index) is not None and any(box.label == label for box in boxes or ())


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
            return loss, self.counted(*self.task.parts(outputs), marks)

    @staticmethod
    def counted(logits: Tensor, boxes: Tensor, marks: OneBox) -> Tensor:
        """Return how many classes are wrong and objects missed, (2,), of logits and boxes (B, ...)."""
        wrong = logits.argmax(1) != marks.labels
        missed = wrong | (overlaps(boxes, marks.boxes) < OVERLAP)
        return torch.stack([wrong.sum(), missed.sum()])


class ProposalLoss(LocalizeLoss):
    """Loss of a head in per-class form: alpha S + (1 - alpha) R, R that of its anchors and regions."""

    def forward(self, images: Tensor, marks: Any, done: float) -> tuple[Tensor, Tensor]:
        """Return the loss, a mean over the pictures, and (wrong, missed), (2,).

        Args:
            images: (B, C, H, W).
            marks: of the B pictures, moved as they are; `ClassBoxes`.
            done: share of the training that is done.
        """
        del done
        task, aids, head = self.task, self.aids, self.model.head
        features = self.model.forward_maps(images)[head.reads[-1]]
        logits, found = head.losses(features, objects_of(marks), marks.labels, task.anchors, task.regions)
        named = OneClass().criterion(aids.smoothing, aids.weights)(logits, marks.labels)
        boxes = head.of_classes(features, logits.argmax(1))
        return task.alpha * named + (1 - task.alpha) * found, self.counted(logits, boxes, marks)
