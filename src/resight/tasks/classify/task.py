"""Classification as a task: a picture is of one class, or has any number of them."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from resight.core.errors import UsageError
from resight.data.dataset import Dataset, Split
from resight.data.marks import ClassMarks
from resight.evaluate.multi_label import ANSWERED
from resight.metrics.multi_label import one_wrong
from resight.models.classifier import Classifier
from resight.models.criterion import Criterion
from resight.tasks.classify.objective import Objective
from resight.tasks.task import Aids, Best, Learned, Task


@dataclass(frozen=True)
class OneClass(Task):
    """A picture is of one class."""

    name: ClassVar[str] = "classify"
    kind: ClassVar[type[ClassMarks]] = ClassMarks
    counts: ClassVar[tuple[str, ...]] = ("wrong",)
    columns: ClassVar[tuple[str, ...]] = ("train_error", "val_loss", "val_error")
    best: ClassVar[Best] = Best("val_error")
    several: ClassVar[bool] = False
    """Whether a picture may have any number of classes: what model files call multi-label."""

    def network(self, trunk: Classifier, learned: Learned | Dataset) -> Classifier:
        """Return the network itself, which knows the classes from now on."""
        trunk.classes, trunk.multi_label = learned.classes, self.several
        return trunk

    def criterion(self, smoothing: float = 0.0, weights: Tensor | None = None) -> Criterion:
        """Return how far logits are from their targets; see `Criterion`."""
        return Criterion(smoothing, weights)

    def wrong(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return which pictures are not named right, (N,).

        Args:
            logits: (N, classes).
            labels: (N,), or (N, classes) of 0 and 1 where there are several.
        """
        return logits.argmax(1) != labels

    def guess(self, classes: int) -> float:
        """Return the loss of the same score for every class."""
        return math.log(classes)

    def weights(self, train: Split) -> Tensor:
        """Return what a picture of each class counts, (classes,): classes alike, a picture 1 in the mean."""
        counts = torch.from_numpy(train.class_counts()).clamp(min=1)
        return (len(train) / (len(counts) * counts)).float()

    def objective(self, network: Classifier, aids: Aids) -> Objective:
        """Return the loss, which counts wrong answers.

        Raises:
            UsageError: if a teacher or an attention loss does not go with the network or the pictures.
        """
        return Objective(network, aids, self.criterion(aids.smoothing, aids.weights), self.wrong)

    def row(self, sums: dict[str, float], seen: int) -> dict[str, float]:
        """Return the training error in percent."""
        return {"train_error": 100 * sums["wrong"] / max(seen, 1)}

    def judged(self, outputs: Tensor, marks: ClassMarks) -> dict[str, float]:
        """Return loss and error in percent of validation from logits (N, classes)."""
        error = 100 * float(self.wrong(outputs, marks.labels).double().mean())
        return {"val_loss": float(self.criterion()(outputs, marks.labels)), "val_error": error}

    def words(self, row: dict[str, float]) -> str:
        """Return the errors of an epoch in words."""
        val = f"  val error {row['val_error']:6.2f} %" if "val_error" in row else ""
        return f"train error {row['train_error']:6.2f} %{val}"

    def labels(self, probabilities: Tensor, classes: tuple[str, ...]) -> dict[str, list[str]]:
        """Return what an answer says besides its first classes: nothing."""
        del probabilities, classes
        return {}


@dataclass(frozen=True)
class AnyClasses(OneClass):
    """A picture has any number of classes, each a yes or a no of its own: multi-label."""

    several: ClassVar[bool] = True

    def criterion(self, smoothing: float = 0.0, weights: Tensor | None = None) -> Criterion:
        """Return the mean over the classes, each for itself; see `Criterion`."""
        return Criterion(smoothing, weights, multi_label=True)

    def wrong(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return which pictures have a first answer that is none of their classes, see `one_wrong`."""
        return one_wrong(logits, labels, 0.0)

    def guess(self, classes: int) -> float:
        """Return the loss of the same score for every class: of a yes and a no."""
        del classes
        return math.log(2)

    def weights(self, train: Split) -> Tensor:
        """Return what a yes of each class counts, (classes,): as much as its no in the whole."""
        counts = torch.from_numpy(train.class_counts()).clamp(min=1)
        return ((len(train) - counts).clamp(min=1) / counts).float()

    def objective(self, network: Classifier, aids: Aids) -> Objective:
        """Return the loss, which counts wrong answers.

        Raises:
            UsageError: if the loss needs one class per picture: the network's own, a teacher's, attention's.
        """
        if type(network).loss is not Classifier.loss:
            raise UsageError(f"{network.name}: has its own loss, which needs one class per picture")
        if aids.teacher or aids.old or network.sharpen:
            raise UsageError("teacher= and sharpen= need one class per picture; this data set is multi-label")
        return super().objective(network, aids)

    def labels(self, probabilities: Tensor, classes: tuple[str, ...]) -> dict[str, list[str]]:
        """Return all classes of a probability of 0.5 or more."""
        return {"labels": [classes[i] for i in range(len(classes)) if probabilities[i] >= ANSWERED]}


ONE_CLASS = OneClass()


def of(labelled: Dataset | Split | Classifier) -> OneClass:
    """Return the task of a data set, a split or a network: one class per picture, or any number."""
    return AnyClasses() if labelled.multi_label else OneClass()
