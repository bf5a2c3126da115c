"""The training loss: the network's own, or that of a student with its teacher."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.data.marks import ClassMarks
from resight.models.classifier import Classifier
from resight.models.cost import evaluating
from resight.models.criterion import Criterion
from resight.models.old_tasks import old_logits
from resight.tasks.classify.attention import attention_losses
from resight.tasks.task import Aids, Loss
from resight.tasks.teachers import Teacher

TEMPERATURE = 3.0
"""Softens both answers (Romero et al. 2014, section 4)."""
OLD_TEMPERATURE = 2.0
"""Softens the answers for old tasks (Li and Hoiem 2016, section 3)."""
HINT_SHARE = 0.25
"""Share of the training that a network with a regressor spends on hints; the paper gives none."""


class Objective(Loss):
    """Loss of a batch, and how many of its answers are wrong.

    Args:
        model: the network.
        aids: a teacher, whose answers are learned too, and first its hint layer if the network has a
            regressor; the network as it was, whose answers for the old tasks shall not be forgotten.
        criterion: how far logits are from their targets.
        wrong: which pictures are not named right, (N,), from logits (N, classes) and labels.

    Raises:
        UsageError: if a teacher or an attention loss does not go with the network.
    """

    def __init__(
        self,
        model: Classifier,
        aids: Aids,
        criterion: Criterion,
        wrong: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__(model)
        self.teacher, self.old = aids.teacher, aids.old
        self.criterion, self.wrong = criterion, wrong
        self.answer: Callable[[Tensor], tuple[Tensor, ...]] = model.forward_training
        if model.sharpen and (len(model.stages) < 2 or model.num_classes < 2):
            raise UsageError("sharpen= needs two stages, whose attention is compared, and two classes")
        if aids.teacher and model.guided_layer:
            _require_hint(model, aids.teacher, aids.image_size)
        if aids.compiled and not model.sharpen:  # a compiled pass cannot be differentiated twice
            self.answer = torch.compile(model.forward_training)

    @property
    def uneven(self) -> bool:
        """Whether there are steps in which some weights have no gradient: those of hints."""
        return bool(self.teacher and self.model.guided_layer)

    def forward(self, images: Tensor, marks: ClassMarks, done: float) -> tuple[Tensor, Tensor]:
        """Return the loss, a mean over the pictures, and how many are not named right, (1,).

        Args:
            images: (B, C, H, W).
            marks: of the B pictures.
            done: share of the training that is done, in [0, 1).
        """
        loss, logits = self._answered(images, marks.shown, done)
        with torch.no_grad():
            return loss, self.wrong(logits, marks.labels).sum()[None]

    def _answered(self, images: Tensor, targets: Tensor, done: float) -> tuple[Tensor, Tensor]:
        """Return the loss, and the logits (B, classes) that the training error is counted on."""
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
        now = [logits.float() for logits in old_logits(self.model, features)]
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
