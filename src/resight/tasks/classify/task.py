"""Classification as a task: a picture is of one class, or has any number of them."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from resight.core.errors import DataError, ResightError, UsageError
from resight.data.dataset import Dataset, Split
from resight.data.label_kinds import ANY, ONE
from resight.data.marks import ClassMarks
from resight.metrics.calibration import fit_binary_temperature, fit_temperature
from resight.metrics.multi_label import one_wrong
from resight.models.activations import SIGMOID, SOFTMAX, said_of
from resight.models.classifier import Classifier
from resight.models.criterion import BinaryCriterion, Criterion
from resight.tasks.classify.any_result import AnyClassesResult
from resight.tasks.classify.objective import Objective
from resight.tasks.classify.one_result import OneClassResult
from resight.tasks.classify.result import TestResult
from resight.tasks.classify.row import LABELS
from resight.tasks.task import Aids, Best, Learned, Task


@dataclass(frozen=True)
class OneClass(Task):
    """A picture is of one class."""

    name: ClassVar[str] = "classify"
    kind: ClassVar[type[ClassMarks]] = ClassMarks
    counts: ClassVar[tuple[str, ...]] = ("wrong",)
    columns: ClassVar[tuple[str, ...]] = ("train_error", "val_loss", "val_error")
    best: ClassVar[Best] = Best("val_error")
    activation: ClassVar[str] = SOFTMAX
    """What turns the logits into probabilities."""
    result: ClassVar[type[TestResult]] = OneClassResult
    """What a test gives."""

    def network(self, trunk: Classifier, learned: Learned | Dataset) -> Classifier:
        """Return the network itself, which knows the classes from now on."""
        trunk.classes, trunk.logit_activation = learned.classes, self.activation
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

    def temperature(self, logits: Tensor, labels: Tensor) -> float:
        """Return what logits (N, classes) are divided by, fitted on held-out labels."""
        return fit_temperature(logits, labels)

    def chance(self, balance: str) -> bool:
        """Return whether one class guessed is as good as another under the recipe's balance of classes."""
        return balance != "none"

    def doubt(self, probabilities: Tensor) -> float:
        """Return how unsure an answer (classes,) is, in [0, 1]."""
        return 1 - float(probabilities.max())

    def labels(self, probabilities: Tensor, classes: tuple[str, ...]) -> dict[str, list[str]]:
        """Return what an answer says besides its first classes."""
        return LABELS[self.activation](classes, probabilities.tolist())

    def said(self) -> dict[str, bool]:
        """Return what JSON says of the kind of labels."""
        return said_of(self.activation)

    def require_one(self, name: str, why: str, error: type[ResightError] = DataError) -> None:
        """Refuse pictures that may have several classes.

        Args:
            name: of the data set or run.
            why: what needs one class per picture, in words.
            error: what is raised.

        Raises:
            ResightError: see `error`.
        """


@dataclass(frozen=True)
class AnyClasses(OneClass):
    """A picture has any number of classes, each a yes or a no of its own: multi-label."""

    activation: ClassVar[str] = SIGMOID
    result: ClassVar[type[TestResult]] = AnyClassesResult

    def criterion(self, smoothing: float = 0.0, weights: Tensor | None = None) -> Criterion:
        """Return the mean over the classes, each for itself; see `Criterion`."""
        return BinaryCriterion(smoothing, weights)

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

    def temperature(self, logits: Tensor, labels: Tensor) -> float:
        """Return what logits (N, classes) are divided by, fitted on the yes and no of held-out labels."""
        return fit_binary_temperature(logits, labels)

    def chance(self, balance: str) -> bool:
        """Return False: no balance makes the classes of these pictures equally frequent."""
        del balance
        return False

    def doubt(self, probabilities: Tensor) -> float:
        """Return how unsure the least sure yes or no is, in [0, 1]."""
        return 1 - float((2 * probabilities - 1).abs().min())

    def require_one(self, name: str, why: str, error: type[ResightError] = DataError) -> None:
        """Refuse: these pictures may have several classes."""
        raise error(f"{name}: is multi-label; {why}")


ONE_CLASS, ANY_CLASSES = OneClass(), AnyClasses()
OF_LABELS = {ONE: ONE_CLASS, ANY: ANY_CLASSES}
OF_ACTIVATION = {task.activation: task for task in (ONE_CLASS, ANY_CLASSES)}


def of_labels(data: Dataset | Split) -> OneClass:
    """Return the task of pictures by their labels: one class each, or any number."""
    return OF_LABELS[data.kind]


def of_network(network: Classifier) -> OneClass:
    """Return the task that a network was trained for: one class per picture, or any number."""
    return OF_ACTIVATION[network.logit_activation]
