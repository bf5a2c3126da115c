"""Verification: are two pictures of the same person, also of people who were never seen in training?

Embeddings of length 1 are learned with the people of training as classes, by the cosine with a direction for
each of them and a margin that the true one must win by (Wang et al. 2018, "CosFace: Large Margin Cosine Loss
for Deep Face Recognition", equation 4). Afterwards the classes are no longer needed: two pictures are of one
person if the distance of their embeddings is below a threshold, which is chosen on the pairs of validation
people, who are other people too.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from resight.core.errors import PictureError, UsageError
from resight.data.dataset import Dataset, Split
from resight.data.marks import ClassMarks
from resight.evaluate.asked import Asked, seen
from resight.metrics import verification as figures
from resight.models.classifier import Classifier
from resight.models.criterion import Criterion
from resight.models.solver import Solver
from resight.tasks.task import Aids, Aim, Best, Learned, Loss, SolverTask
from resight.tasks.verify import people
from resight.tasks.verify.head import EmbeddingHead
from resight.tasks.verify.result import Answer, VerifyResult
from resight.tasks.verify.rows import UNKNOWN, compared

AS_RELEASED = Learned((), {"released": True})
"""What a network knows whose weights have no classes."""
ENOUGH = 2000
"""Validation pictures whose pairs are compared; of more, evenly spaced ones."""


@dataclass(frozen=True)
class Verify(SolverTask):
    """The same person or not.

    Attributes:
        false_match: share of the pairs of two people that the threshold may accept, in (0, 1).
        scale: what cosines are multiplied by before the softmax, above 0.
        margin: by how much the cosine with the true person is made smaller in training, in [0, 1).
    """

    false_match: float = 1e-3
    scale: float = 24.0
    margin: float = 0.2

    name: ClassVar[str] = "verify"
    kind: ClassVar[type[ClassMarks]] = ClassMarks
    counts: ClassVar[tuple[str, ...]] = ("wrong",)
    columns: ClassVar[tuple[str, ...]] = ("train_error", "val_eer", "val_auc", "val_true_accepts")
    best: ClassVar[Best] = Best("val_eer")
    frame: ClassVar[str] = "pad"
    open_set: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse values out of range."""
        for name, value, high in (("false_match", self.false_match, 1), ("margin", self.margin + 1e-9, 1)):
            if not 0 < value < high:
                raise UsageError(f"verify.{name}={value:g}: must lie between 0 and {high}")
        if not self.scale > 0:
            raise UsageError(f"verify.scale={self.scale:g}: must be above 0")

    def defaults(self, dataset: Dataset) -> tuple[str, ...]:
        """Return what is changed in every recipe: pictures are mirrored only, so that faces stay whole."""
        return ("augment=flip",) if dataset.mirrors else ("augment=",)

    def divided(self, dataset: Dataset) -> Dataset:
        """Return a data set with validation and test splits of other people."""
        return people.divided(dataset)

    def network(self, trunk: Classifier, learned: Learned) -> Solver:
        """Return the trunk under a head that gives embeddings.

        Released weights without classes (see `AS_RELEASED`) are used as they are: not scaled to length 1, and
        with the threshold that they were released with.
        """
        released = bool(learned.about.get("released", False))
        head = EmbeddingHead(trunk, len(learned.classes), unit=not released)
        if released:
            head.get_buffer("fitted").copy_(torch.tensor([trunk.same_below, UNKNOWN, UNKNOWN]))
        return Solver(trunk, head)

    def objective(self, network: Solver, aids: Aids) -> "VerifyLoss":
        """Return the loss, which counts wrong people.

        Raises:
            UsageError: if a teacher is named.
        """
        aids.refuse_teacher(self.name)
        return VerifyLoss(network, self, aids)

    def row(self, sums: dict[str, float], seen: int) -> dict[str, float]:
        """Return the training error in percent."""
        return {"train_error": 100 * sums["wrong"] / max(seen, 1)}

    def judged(self, outputs: Tensor, marks: ClassMarks) -> dict[str, float]:
        """Return the equal error rate in percent, the area under ROC and the true accepts, in [0, 1]."""
        pairs = pairs_among(outputs, marks.labels)
        if not pairs.both:
            return {}
        curve = figures.roc(pairs)
        accepts = figures.true_accepts(*curve, self.false_match)
        error = 100 * figures.equal_error(*curve)
        return {"val_eer": error, "val_auc": figures.auc(*curve), "val_true_accepts": accepts}

    def words(self, row: dict[str, float]) -> str:
        """Return the errors of an epoch in words."""
        val = ""
        if "val_auc" in row:
            accepts = f"{100 * row['val_true_accepts']:.1f} % at {self.false_match:g}"
            val = (
                f"  val equal error {row['val_eer']:5.2f} %, AUC {row['val_auc']:.4f}, true accepts {accepts}"
            )
        return f"train error {row['train_error']:6.2f} %{val}"

    def settle(self, network: Solver, outputs: Tensor, marks: ClassMarks) -> None:
        """Keep the threshold that validation people give, and the rate that their pairs can tell."""
        pairs = pairs_among(outputs, marks.labels)
        if pairs.both:
            head = network.head
            assert isinstance(head, EmbeddingHead)  # `network` makes no other
            threshold, rate = figures.threshold_at(pairs, self.false_match)
            count = len(np.unique(pairs.people))
            head.get_buffer("fitted").copy_(torch.tensor([threshold, rate, float(count)]))

    def answers(self, asked: Asked) -> Iterator[tuple[int, Answer | PictureError]]:
        """Yield what is known of each picture; in float32, as the threshold was fitted."""
        asked = replace(asked, precision=torch.float32)
        fitted = tuple(asked.network.get_buffer("head.fitted").tolist())
        for index, output, place in seen(asked):
            yield index, output if place is None else Answer(output.numpy(), fitted)

    def result(
        self, answers: Sequence[tuple[int, Answer]], split: Split, train: Split | None
    ) -> VerifyResult:
        """Return what a test gave; training pictures tell nothing about other people."""
        del train
        return VerifyResult.of(answers, split)

    def rows(self, answers: Iterable[tuple[str, Any]], network: Solver) -> Iterator[dict[str, Any]]:
        """Yield the JSON of `resight predict`.

        One picture: its embedding. Two: {"a", "b", "distance", "threshold", "same"}. More: for each picture
        its distances to all, in their order, and the number of its group, by average linkage at the
        threshold. "same" and "group" are None where no threshold was fitted.
        """
        del network
        read = list(answers)
        faults = [(name, answer) for name, answer in read if isinstance(answer, PictureError)]
        good = [(name, answer) for name, answer in read if not isinstance(answer, PictureError)]
        said = [answer for _, answer in good]
        threshold = said[0].fitted[0] if said else UNKNOWN
        yield from compared([name for name, _ in good], [one.embedding for one in said], threshold)
        for name, fault in faults:
            yield {"path": name, "error": f"{fault.fault}; {fault.cure}"}

    def aims(
        self, network: Solver, image: Tensor, target: str | None, read: Callable[[str], Tensor]
    ) -> list[Aim]:
        """Return the cosine with the embedding of another picture, for similarity:PATH.

        Raises:
            UsageError: if no other picture is named, or it cannot be read.
        """
        del image
        word, _, path = (target or "").partition(":")
        if word != "similarity" or not path:
            raise UsageError(
                f"--target {target or 'is missing'}: --task verify explains what makes a picture like "
                "another one; give --target similarity:PATH"
            )
        with torch.no_grad():
            other = network(read(path))
        return [Aim(f"similarity:{Path(path).name}", lambda outputs: F.cosine_similarity(outputs, other))]


class VerifyLoss(Loss):
    """Cross-entropy over the people of training, of cosines with a margin; wrong people are counted.

    Args:
        model: the network.
        task: gives scale and margin.
        aids: smoothing, and what a picture of each person counts.
    """

    def __init__(self, model: Solver, task: Verify, aids: Aids) -> None:
        super().__init__(model)
        self.task, self.aids = task, aids

    def forward(self, images: Tensor, marks: ClassMarks, done: float) -> tuple[Tensor, Tensor]:
        """Return the loss, a mean over the pictures, and the number of wrong ones, (1,).

        Args:
            images: (B, C, H, W).
            marks: of the B pictures; those that were blended have no margin.
            done: share of the training that is done.
        """
        del done
        cosines = self.model.head.cosines(self.model(images).float())
        wrong = (cosines.argmax(1) != marks.labels).sum()
        shown = marks.shown if marks.shown.dim() == 2 else F.one_hot(marks.shown, cosines.shape[1]).float()
        logits = self.task.scale * (cosines - self.task.margin * (shown == 1))
        criterion = Criterion(self.aids.smoothing, self.aids.weights)
        return criterion(logits, marks.shown), wrong[None]


def pairs_among(embeddings: Tensor, labels: Tensor) -> figures.Pairs:
    """Return the pairs of pictures, of evenly spaced ones where there are too many.

    Args:
        embeddings: (N, D), of length 1.
        labels: numbers of the people, (N,).
    """
    rows = np.unique(np.linspace(0, len(labels) - 1, min(ENOUGH, len(labels))).astype(int))
    vectors, who = embeddings.double().numpy()[rows], labels.numpy()[rows]
    return figures.pairs_of(figures.distances_of(vectors, vectors), who)
