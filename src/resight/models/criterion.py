"""How far logits are from their targets."""

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Criterion:
    """Cross-entropy over the classes, or each class for itself.

    Attributes:
        smoothing: share of a target spread over all classes (Szegedy et al. 2015, section 7); of one class
            for itself, over yes and no.
        weights: what a picture of each class counts, (classes,); None for all the same.
        multi_label: whether a picture may have several classes, each a yes or a no of its own.
    """

    smoothing: float = 0.0
    weights: Tensor | None = None
    multi_label: bool = False

    def __call__(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over pictures, and over classes for multi-label targets.

        Args:
            logits: (B, classes).
            targets: class numbers (B,), or how much of a picture is of each class, (B, classes) in [0, 1].
        """
        if not self.multi_label:
            losses = F.cross_entropy(
                logits, targets, self.weights, reduction="none", label_smoothing=self.smoothing
            )
            return losses.mean()
        wanted = targets * (1 - self.smoothing) + self.smoothing / 2
        losses = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
        if self.weights is not None:
            losses = losses * (1 + targets * (self.weights - 1))  # the rarer a yes, the more it weighs
        return losses.mean()


PLAIN = Criterion()
