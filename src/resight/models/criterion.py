"""The loss between logits and targets."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Criterion:
    """Softmax cross-entropy over the classes: a picture is of one class.

    Attributes:
        smoothing: share of a target spread over all classes (Szegedy et al. 2015, section 7).
        weights: weight of a picture of each class, (classes,); None for equal weights.
    """

    smoothing: float = 0.0
    weights: Tensor | None = None

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over pictures.

        Args:
            logits: (B, classes).
            targets: class numbers (B,), or the share of each class in a picture, (B, classes) in [0, 1].
        """
        losses = F.cross_entropy(
            logits, targets, self.weights, reduction="none", label_smoothing=self.smoothing
        )
        return losses.mean()


class BinaryCriterion(Criterion):
    """Binary cross-entropy of each class: a picture has any number of classes, each a yes or a no.

    A target is smoothed over yes and no of each class; a weight is that of a class's yes.
    """

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over pictures and classes.

        Args:
            logits: (B, classes).
            targets: whether, or how much, a picture has each class, (B, classes) in [0, 1].
        """
        wanted = targets * (1 - self.smoothing) + self.smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if self.weights is not None:
            losses = losses * (1 + targets * (self.weights - 1))  # a rarer class has a larger weight
        return losses.mean()


PLAIN = Criterion()
