"""What training makes small: the network's own loss, or that of a student beside its teacher."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.models.classifier import Classifier
from resight.models.cost import evaluating
from resight.models.criterion import Criterion
from resight.training.attention import attention_losses
from resight.training.recipe import Recipe

TEMPERATURE = 3.0
"""Softens both answers (Romero et al. 2014, section 4)."""
OLD_TEMPERATURE = 2.0
"""Softens the answers for old tasks (Li and Hoiem 2016, section 3)."""
HINT_SHARE = 0.25
"""Share of the training that a network with a regressor spends on hints; the paper gives none."""


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
        answers = (*self.model.old_logits(features), self.model.forward_head(features))
        return [logits.float() for logits in answers]


class Objective(nn.Module):
    """Loss and logits of a batch.

    A module, so that several processes can share its backward pass.

    Args:
        model: the network.
        recipe: gives the label smoothing.
        teacher: learn from its answers too, and first from its hint layer if the network has a regressor.
        compiled: whether to compile the forward pass.
        weights: what a picture of each class counts, (classes,); None for all the same.
        multi_label: whether a picture may have several classes.
        old: do not forget what this network answers for the old tasks.
    """

    def __init__(
        self,
        model: Classifier,
        recipe: Recipe,
        teacher: Teacher | None,
        *,
        compiled: bool,
        weights: Tensor | None = None,
        multi_label: bool = False,
        old: OldSelf | None = None,
    ) -> None:
        super().__init__()
        self.model, self.teacher, self.old = model, teacher, old
        self.criterion = Criterion(recipe.label_smoothing, weights, multi_label)
        self.answer: Callable[[Tensor], tuple[Tensor, ...]] = model.forward_training
        if multi_label and type(model).loss is not Classifier.loss:
            raise UsageError(f"{model.name}: has its own loss, which needs one class per picture")
        if multi_label and (teacher or old or model.sharpen):
            raise UsageError("teacher= and sharpen= need one class per picture; this data set is multi-label")
        if model.sharpen and (len(model.stages) < 2 or model.num_classes < 2):
            raise UsageError("sharpen= needs two stages, whose attention is compared, and two classes")
        if teacher and model.guided_layer:
            _require_hint(model, teacher, recipe.image_size)
        if compiled and not model.sharpen:  # a compiled pass cannot be differentiated twice
            self.answer = torch.compile(model.forward_training)

    def forward(self, images: Tensor, targets: Tensor, done: float) -> tuple[Tensor, Tensor]:
        """Return the loss, and the logits (B, classes) that the training error is counted on.

        Args:
            images: (B, C, H, W).
            targets: (B,) or (B, classes), see `Criterion`.
            done: share of the training that is done, in [0, 1).
        """
        guided = self.model.guided_layer if self.teacher else ""
        if guided and done < HINT_SHARE:
            return self._hint(images, guided)
        maps: list[Tensor] = []
        watched = self.model.sharpen or self.old
        outputs = self.model.forward_training(images, maps) if watched else self.answer(images)
        outputs = tuple(output.float() for output in outputs)
        loss = self.model.loss(outputs, targets, done, self.criterion)
        if self.model.sharpen:
            labels = targets if targets.dim() == 1 else targets.argmax(1)
            loss = loss + self.model.sharpen * attention_losses(maps[-2], maps[-1], outputs[0], labels)
        if self.teacher:
            begun = HINT_SHARE if guided else 0.0
            weight = 4 - 3 * (done - begun) / (1 - begun)  # from 4 to 1 (section 3)
            loss = loss + weight * soft_cross_entropy(outputs[0], self.teacher.logits(images))
        if self.old:
            loss = loss + self._forgetting(images, maps[-1])
        return loss, outputs[0]

    def _forgetting(self, images: Tensor, features: Tensor) -> Tensor:
        """Return the distance to the old answers, sum over the old tasks (Li and Hoiem 2016, equation 2)."""
        assert self.old is not None
        if not features.requires_grad:  # the new head warms up alone: the old answers cannot change
            return features.new_zeros(())
        now = [logits.float() for logits in self.model.old_logits(features)]
        pairs = zip(now, self.old.answers(images), strict=True)
        return sum((soft_cross_entropy(a, b, OLD_TEMPERATURE) for a, b in pairs), features.new_zeros(()))

    def _hint(self, images: Tensor, guided: str) -> tuple[Tensor, Tensor]:
        """Regress the guided layer onto the teacher's hint layer: 1/2 |u - r(v)|^2 (equation 3)."""
        assert self.teacher is not None
        regressed = self.model.get_submodule("regressor")(self.model.forward_to(images, guided)).float()
        hint = self.teacher.map_at(images, guided)
        loss = 0.5 * (regressed - hint).square().flatten(1).sum(1).mean()
        with torch.no_grad():
            return loss, self.model(images).float()


def _require_hint(model: Classifier, teacher: Teacher, size: int) -> None:
    """Refuse a teacher whose layer does not have the shape that the regressor gives.

    Raises:
        UsageError: naming both shapes.
    """
    device = next(model.parameters()).device
    image = torch.zeros(1, model.in_channels, size, size, device=device)
    with torch.no_grad(), evaluating(model):
        regressed = model.get_submodule("regressor")(model.forward_to(image, model.guided_layer))
    try:
        shape = tuple(teacher.map_at(image, model.guided_layer).shape[1:])
    except UsageError as error:
        raise UsageError(f"teacher: {error}; take a maxout network, or set hint=0") from error
    if tuple(regressed.shape[1:]) != shape:
        raise UsageError(
            f"the teacher's layer {model.guided_layer} gives {shape}, but the regressor gives "
            f"{tuple(regressed.shape[1:])}: set hint= to its channels, and image_size= to the teacher's"
        )


def soft_cross_entropy(logits: Tensor, teacher: Tensor, temperature: float = TEMPERATURE) -> Tensor:
    """Return the mean cross-entropy of a student's softened answers to the teacher's (equation 4).

    Args:
        logits: (B, classes).
        teacher: (B, classes).
        temperature: both are divided by it.
    """
    wanted = (teacher / temperature).softmax(1)
    return -(wanted * F.log_softmax(logits / temperature, 1)).sum(1).mean()
