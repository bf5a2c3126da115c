"""The loss between logits and targets."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Criterion:
    """Softmax cross-entropy over the classes, or binary cross-entropy for each class (multi-label).

    Attributes:
        smoothing: share of a target spread over all classes (Szegedy et al. 2015, section 7); for
            multi-label, over yes and no of each class.
        weights: weight of a picture of each class, (classes,); None for equal weights.
        multi_label: whether a picture may have several classes, each an independent yes or no.
    """

    smoothing: float = 0.0
    weights: Tensor | None = None
    multi_label: bool = False

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over pictures, and over classes for multi-label targets.

        Args:
            logits: (B, classes).
            targets: class numbers (B,), or the share of each class in a picture, (B, classes) in [0, 1].
        """
        if not self.multi_label:
            losses = F.cross_entropy(
                logits, targets, self.weights, reduction="none", label_smoothing=self.smoothing
            )
            return losses.mean()
        wanted = targets * (1 - self.smoothing) + self.smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if self.weights is not None:
            losses = losses * (1 + targets * (self.weights - 1))  # a rarer class has a larger weight
        return losses.mean()


PLAIN = Criterion()
