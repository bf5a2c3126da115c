"""One look at a batch: everything that a method can ask of a network."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.models.cost import evaluating
from resight.models.probabilities import to_probabilities
from resight.saliency.capture import Layout, Split, logits_of, rerun_from, split_at
from resight.saliency.explanation import ScoreFunction
from resight.saliency.head import Head, pooled_head


def wide(values: Tensor) -> Tensor:
    """Return values in float32, or in float64 if they are."""
    return values if values.dtype == torch.float64 else values.float()


@dataclass(frozen=True)
class Question:
    """What the maps explain.

    Attributes:
        targets: class numbers (B, T); None if the target is a function.
        function: of what the network returned; None if the targets are classes.
        rule: how logits become probabilities, see `resight.models.probabilities`.
        against: numbers of the classes that each target is compared with, (B, T, R); None if with none. The
            score is then y^target - sum_r strength_r y^against_r, y the logit or the probability.
        strength: (B, T, R), 0 or more; a class with strength 0 is not compared with.
    """

    targets: Tensor | None
    function: ScoreFunction | None
    rule: str = "softmax"
    against: Tensor | None = None
    strength: Tensor | None = None

    def of(self, owner: Tensor) -> "Question":
        """Return the question for M pictures, each made from an image `owner` (M,) of the batch."""
        return self._taken(lambda values: values[owner])

    def repeated(self, owner: int, count: int) -> "Question":
        """Return the question for `count` pictures that are all made from one image."""
        return self._taken(lambda values: values[owner].expand(count, *values.shape[1:]))

    def asking_for(self, columns: slice) -> "Question":
        """Return the question for some of the targets."""
        return self._taken(lambda values: values[:, columns])

    def _taken(self, take: Callable[[Tensor], Tensor]) -> "Question":
        parts = (self.targets, self.against, self.strength)
        targets, against, strength = (None if part is None else take(part) for part in parts)
        return replace(self, targets=targets, against=against, strength=strength)

    @property
    def named_against(self) -> Tensor | None:
        """The class that the user compares each target with, (B, T), -1 for none; None if with none."""
        if self.against is None or self.strength is None:
            return None
        return self.against[..., 0].where(self.strength[..., 0] > 0, -1)

    def read(self, values: Tensor) -> Tensor:
        """Return the scores (M, T) of the logits or probabilities (M, classes) of M pictures."""
        assert self.targets is not None  # the caller asks for classes
        found = values.gather(1, self.targets)
        if self.against is None or self.strength is None:
            return found
        rest = values[:, None].expand(-1, found.shape[1], -1).gather(2, self.against)
        rest = rest.where(self.strength > 0, torch.zeros_like(rest))  # a class that is never right has -inf
        return found - (self.strength.to(rest.dtype) * rest).sum(2)

    def weights(self, table: Tensor) -> Tensor:
        """Return the weights of the scores, (B, T, K), of a table with those of the logits, (classes, K)."""
        assert self.targets is not None  # only a classifier's head has such a table
        if self.against is None or self.strength is None:
            same = self.targets.stride(0) == 0  # the same targets for every image: one row serves the batch
            found = table[self.targets[:1] if same else self.targets]
            return found.expand(*self.targets.shape, -1)
        rest = torch.einsum("btr,btrk->btk", self.strength.to(table.dtype), table[self.against])
        return table[self.targets] - rest

    def scores(self, output: Any, owner: Tensor | None = None, *, probability: bool = False) -> Tensor:
        """Return the scores (M, T) from what a network returned for M pictures.

        Args:
            output: what the network returned.
            owner: for each of the M pictures, the image of the batch that it is made from.
            probability: for classes, return the probability instead of the logit.

        Raises:
            UsageError: if the output is not a classifier's and no function reads it.
        """
        if self.function is not None:
            scores = self.function(output)
            if not isinstance(scores, Tensor) or scores.ndim not in (1, 2):
                raise UsageError("the target function must return a tensor (B,) or (B, T)")
            return scores if scores.ndim == 2 else scores[:, None]
        logits = logits_of(output)
        if logits is None:
            raise UsageError(
                "the network does not return logits (B, classes); give target= a function of what it returns"
            )
        values = to_probabilities(wide(logits), self.rule) if probability else logits
        return (self if owner is None else self.of(owner)).read(values)


class Look:
    """A network's pass over a batch, cut at one layer.

    B images, T questions an image, K channels of h x w at the layer.

    Args:
        model: the network.
        images: (B, C, H, W).
        split: its pass.
        question: what the maps explain.
        place: index of the layer among the split's layers.
        seed: seed of all random draws of a method.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        split: Split,
        question: Question,
        place: int = 0,
        seed: int = 0,
    ) -> None:
        self.model, self.images, self.split, self.question = model, images, split, question
        self.place, self.seed = place, seed
        self.layer = split.layers[place] if split.layers else ""
        self.facts: dict[str, Any] = {}

    @property
    def layout(self) -> Layout:
        """How the layer's output holds the map."""
        return self.split.layouts[self.place]

    @cached_property
    def activation(self) -> Tensor:
        """The map A, (B, K, h, w), float32 or better, without gradient."""
        return wide(self.layout.read(self.split.captured[self.place]).detach())

    @cached_property
    def scores(self) -> Tensor:
        """The scores of the targets, (B, T), with gradient to the layer."""
        return self.question.scores(self.split.output)

    @cached_property
    def head(self) -> Head | None:
        """The head in closed form if it is pooling and a linear layer, and the targets are classes."""
        logits = logits_of(self.split.output)
        if self.question.targets is None or logits is None:
            return None
        return pooled_head(self.model, self.activation, wide(logits.detach()), self._first_slope)

    def _first_slope(self) -> Tensor:
        """Return the gradient of the first class's logits at the map, (B, K, h, w)."""
        captured, logits = self.split.captured[self.place], logits_of(self.split.output)
        assert logits is not None  # the head of a classifier is looked for
        slope = _gradient(logits[:, 0].sum(), captured)
        return wide(self.layout.read(torch.zeros_like(captured) if slope is None else slope))

    def gradients(self) -> Tensor:
        """Return dy^c / dA, (B, T, K, h, w); (B, T, K, 1, 1) where it is the same everywhere.

        With average pooling and a linear layer it is the weight over the area, without a backward pass.
        Otherwise each target takes one pass from the output back to the layer; no parameter gets a gradient.

        Raises:
            UsageError: if no score depends on the layer.
        """
        if self.head is not None and self.head.linear_in_the_map:
            return self.question.weights(self.head.weight / self.cells)[..., None, None]
        captured = self.split.captured[self.place]
        count = self.scores.shape[1]
        columns = [_gradient(self.scores[:, t].sum(), captured) for t in range(count)]
        if all(column is None for column in columns):
            raise UsageError(
                f"the target has no gradient at layer {self.layer!r}: give a layer= that it depends on, and "
                "a score that can be differentiated"
            )
        zero = torch.zeros_like(captured)
        read = [self.layout.read(zero if column is None else column) for column in columns]
        return wide(torch.stack(read, 1))

    @property
    def cells(self) -> int:
        """H w."""
        return self.layout.height * self.layout.width

    def at(self, images: Tensor, owner: int | None = None) -> "Look":
        """Look at other pictures with the same questions, at the same layer.

        Args:
            images: (B, C, H, W); or (M, C, H, W), all made from one image.
            owner: that image's place in the batch.
        """
        question = self.question
        if owner is not None and question.targets is not None:
            question = question.repeated(owner, len(images))
        split = split_at(self.model, images, [self.layer])
        return Look(self.model, images, split, question, 0, self.seed)

    def asking(self, question: Question) -> "Look":
        """Return the same pass with other questions."""
        look = Look(self.model, self.images, self.split, question, self.place, self.seed)
        if question.targets is not None and self.question.targets is not None:
            look.__dict__["head"] = self.head  # it does not depend on the targets
        return look

    def answer(
        self,
        pictures: Iterable[tuple[Tensor, Tensor]],
        *,
        probability: bool = False,
        precision: str = "fp32",
    ) -> Iterator[Tensor]:
        """Yield the scores (M, T) of pictures (M, C, H, W) made from images `owner` (M,), without a graph."""
        for made, owner in pictures:
            lower = torch.autocast(made.device.type, torch.bfloat16, enabled=precision == "bf16")
            with torch.inference_mode(), evaluating(self.model), lower:
                output = self.model(made)
            yield wide(self.question.scores(output, owner, probability=probability))

    @contextmanager
    def from_layer(self, image: int) -> Iterator[Callable[[Tensor], Tensor]]:
        """Return a function from maps (M, K, h, w), in place of one image's own, to scores (M, T)."""
        dtype = self.split.captured[self.place].dtype
        owner = torch.tensor(image, device=self.images.device)
        with rerun_from(self.model, self.images[image : image + 1], self.layer) as run:
            yield lambda maps: wide(self.question.scores(run(maps.to(dtype)), owner.expand(len(maps))))

    def input_gradients(self) -> Tensor:
        """Return the gradient of each score at the pictures, (B, T, C, H, W), float32 or better.

        Raises:
            UsageError: if a score has none.
        """
        return torch.stack(list(self.slopes(self.images)), 1)

    def slopes(self, pictures: Tensor, owner: Tensor | None = None) -> Iterator[Tensor]:
        """Yield, target by target, the gradients of its scores at pictures, (M, C, H, W), float32 or better.

        Args:
            pictures: (M, C, H, W), which go through the network once.
            owner: for each of the M pictures, the image of the batch that it is made from; by default they
                are the images themselves.

        Raises:
            UsageError: if a score has none.
        """
        pictures = pictures.detach().clone().requires_grad_()
        with torch.enable_grad(), evaluating(self.model):
            scores = self.question.scores(self.model(pictures), owner)
        for target in range(scores.shape[1]):
            found = _gradient(scores[:, target].sum(), pictures)
            if found is None:
                raise UsageError(
                    "the target has no gradient at the pictures: give a score that can be differentiated"
                )
            yield wide(found)


def _gradient(score: Tensor, at: Tensor) -> Tensor | None:
    """Return the gradient of a score, whose graph stays; None if it does not depend on `at`."""
    if not score.requires_grad:
        return None
    return torch.autograd.grad(score, at, retain_graph=True, allow_unused=True)[0]
