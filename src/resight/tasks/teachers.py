"""Networks that a training listens to: a teacher, or the network as it was."""

from dataclasses import dataclass

import torch
from torch import Tensor

from resight.models.classifier import Classifier
from resight.models.old_tasks import old_logits


@dataclass(frozen=True)
class Teacher:
    """A trained network that another one learns from.

    Attributes:
        model: in eval mode, on the device.
        order: for each class of the student, the teacher's own logit number, (classes,).
        scale: the student's images times this, (3, 1, 1), plus `shift`, are the teacher's.
        shift: see `scale`, (3, 1, 1).
    """

    model: Classifier
    order: Tensor
    scale: Tensor
    shift: Tensor

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Return the teacher's logits (B, classes) in the student's order."""
        return self.model(images * self.scale + self.shift).float()[:, self.order]

    @torch.no_grad()
    def map_at(self, images: Tensor, layer: str) -> Tensor:
        """Return what a layer of the teacher's trunk gives, (B, K, h, w)."""
        return self.model.forward_to(images * self.scale + self.shift, layer).float()


@dataclass(frozen=True)
class OldSelf:
    """The network as it was before it began a new task.

    Attributes:
        model: in eval mode, on the device.
    """

    model: Classifier

    @torch.no_grad()
    def answers(self, images: Tensor) -> list[Tensor]:
        """Return its logits (B, classes) for each old task of its successor, in their order."""
        features = self.model.forward_features(images)
        answers = (*old_logits(self.model, features), self.model.forward_head(features))
        return [logits.float() for logits in answers]
