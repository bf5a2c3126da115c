"""A run that answers requests: pictures in memory to answers, maps and boxes.

Nothing here waits or locks: one thread computes at a time, see `resight.web.work`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resight.core.errors import DataError, NotFiniteError, ResightError, UsageError
from resight.core.figures import IfAny
from resight.core.registry import lookup
from resight.data.prepare import Normalize, fit, seen_window, whole_size
from resight.evaluate.scores import Member, logits_of
from resight.export.network import OnnxNetwork
from resight.geometry import heatmaps
from resight.localize.rule import Rule
from resight.models.locks import holding
from resight.models.probabilities import to_probabilities
from resight.render.original import Original
from resight.saliency.methods import METHODS, explain, fitting
from resight.service.explain.target import best_of
from resight.service.locate.locate import locate_in
from resight.service.run.run import Run, open_run
from resight.tasks.classify.task import of_network

CLOSED = ("cam", "gmp_cam")
ALL = "all"
"""The target that asks for the map of every class."""
MOST_MAPS = 64
"""Most maps of one answer."""
MOST_CLOSED = 5_000
"""The same, of a head of pooling and a linear layer: all maps come from one pass."""


@dataclass(frozen=True)
class ShownBox:
    """A box in a picture as displayed.

    Attributes:
        label: name of its class.
        score: of a box that is proposed; None of others.
        box: [x, y, w, h] in pixels.
    """

    label: str
    score: IfAny[float]
    box: list[float]


@dataclass(frozen=True)
class Maps:
    """Maps of one picture.

    Attributes:
        method: a name in `METHODS`.
        layer: the layer that was read.
        rectified: whether negative values are cut off before a map is shown.
        indices: the class of each map, T.
        scores: the logit of each class, T.
        probabilities: of each class, T.
        raw: (T, h, w) float32, signed, over the part of the picture that the network saw.
        side: of the square that the network saw, in pixels.
        size: (width, height) of the picture as displayed.
        window: the part that the network saw, (left, top, right, bottom) in pixels of the picture.
    """

    method: str
    layer: str
    rectified: bool
    indices: list[int]
    scores: list[float]
    probabilities: list[float]
    raw: NDArray[np.float32]
    side: int
    size: tuple[int, int]
    window: tuple[float, float, float, float]

    def shown(self, count: int) -> NDArray[np.float32]:
        """Return the first maps as `resight explain` does: (count, side, side) in [0, 1]."""
        raw = torch.from_numpy(self.raw[:count])
        resized = heatmaps.resize(heatmaps.rectify(raw) if self.rectified else raw, self.side, self.side)
        return heatmaps.normalize(resized).numpy()


@dataclass(frozen=True)
class Served:
    """A run, ready for requests.

    Attributes:
        name: of the run, without the folder that it is in.
        run: the run; maps and boxes come from its network.
        member: the same network for answers alone: folded, in the hardware's fastest precision.
        normalize: the preprocessing of a batch.
        methods: the saliency methods that fit the network and need one forward and one backward pass.
    """

    name: str
    run: Run
    member: Member
    normalize: Normalize
    methods: tuple[str, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names."""
        return self.run.model.classes

    @property
    def method(self) -> str | None:
        """The method of requests that name none: exact for a head of pooling and a linear layer.

        None of an .onnx file without maps: of its network only the answers are known.
        """
        return next((name for name in (*CLOSED, "grad_cam") if name in self.methods), None)

    @property
    def closed(self) -> bool:
        """Whether the maps of all classes follow from one pass: the head is pooling and a linear layer."""
        return self.method in CLOSED

    def prepared(self, image: Image.Image) -> NDArray[np.uint8]:
        """Return the square (S, S, 3) that the network sees of a picture."""
        return np.array(fit(image, self.run.preprocessing))  # its own memory, which torch may take

    def answers(self, squares: Sequence[NDArray[np.uint8]]) -> list[Tensor | ResightError]:
        """Return the probabilities (classes,) of each square, or why there are none."""
        batch = torch.from_numpy(np.stack(squares))
        logits = logits_of(self.member.network, batch, self.normalize, self.member.precision)
        scaled = logits[:, self.member.order].double() / self.member.temperature
        likely = to_probabilities(scaled, self.member.probabilities)
        sound = logits.isfinite().all(1)
        return [row if good else _not_finite() for row, good in zip(likely, sound, strict=True)]

    def row(self, answer: Tensor, top: int) -> dict[str, Any]:
        """Return an answer as the row of `resight predict --json`, without the path."""
        best = answer.topk(min(top, len(self.classes)))
        numbers = best.indices.tolist()
        pairs = [[self.classes[i], p] for p, i in zip(best.values.tolist(), numbers, strict=True)]
        return {
            "label": pairs[0][0],
            "index": numbers[0],
            "probability": pairs[0][1],
            "top": pairs,
            **of_network(self.run.model).labels(answer, self.classes),
        }

    def maps(self, image: Image.Image, target: str | None, method: str | None) -> Maps:
        """Explain a picture.

        Args:
            image: RGB, as `decode` returns it.
            target: a class name or number, "topK" or "all"; by default the best class.
            method: one of `methods`.

        Raises:
            UsageError: for an unknown class or method, or more maps than one answer holds.
            NotFiniteError: if the network's answer is no number.
        """
        method = self._method(method)
        card, model = self.run.preprocessing, self.run.model
        images = self.normalize(torch.from_numpy(self.prepared(image))[None].to(self.run.device))
        with holding(model), torch.no_grad():
            logits = model(images).float()
        if not logits.isfinite().all():
            raise _not_finite()
        likely = to_probabilities(logits.double() / self.run.temperature, model.probabilities)[0]
        targets = self._targets(logits, target)
        answer = explain(model, images, method, targets)
        size = whole_size(image)
        numbers = answer.targets[0].tolist()
        raw = answer.raw[0].float().cpu().numpy()
        return Maps(
            method, answer.layer, answer.rectified, numbers, answer.scores[0].tolist(),
            [float(likely[i]) for i in numbers], raw, card.size, size, seen_window(size, card),
        )  # fmt: skip

    def boxes(self, image: Image.Image, target: str | None, method: str | None, rule: Rule) -> list[ShownBox]:
        """Return boxes in a whole picture, as `resight locate` finds them.

        Args:
            image: RGB, the whole picture.
            target: a class name or number, or "topK"; by default the best class.
            method: one of `methods`.
            rule: how a map becomes boxes.

        Returns:
            In pixels of the picture as displayed.

        Raises:
            UsageError: for an unknown class or method.
        """
        method, top, label = self._method(method), best_of(target, self.classes), None
        if not top:
            label = self.classes[self._number(str(target))]
        with holding(self.run.model):
            found = locate_in(self.run, image, method, rule, label=label, top=max(top, 1))
        return [ShownBox(box.label, box.score, list(box.box)) for box in found]

    def overlay(self, image: Image.Image, maps: Maps) -> NDArray[np.uint8]:
        """Return a picture under its first map, (H, W, 3), as `resight explain` draws it."""
        return Original(image, self.run.preprocessing).under(maps.shown(1)[0])

    def _method(self, name: str | None) -> str:
        if self.method is None:
            raise UsageError("this network gives no maps, and so no boxes: only its answers are known")
        if name is None:
            return self.method
        lookup(METHODS, name, "saliency method")
        if name not in self.methods:
            raise UsageError(f"method {name!r}: is not served; use one of {', '.join(self.methods)}")
        return name

    def _number(self, word: str) -> int:
        table = {label: number for number, label in enumerate(self.classes)}
        if word not in table and word.isdecimal() and len(word) < 10 and int(word) < len(self.classes):
            return int(word)
        return lookup(table, word, "class of this network")

    def _targets(self, logits: Tensor, target: str | None) -> Tensor:
        """Return class numbers (1, T)."""
        every = target == ALL and ALL not in self.classes
        best = 0 if every else best_of(target, self.classes)
        if not every and not best:
            return torch.tensor([[self._number(str(target))]], device=logits.device)
        count = len(self.classes) if every else min(best, len(self.classes))
        most = MOST_CLOSED if self.closed else MOST_MAPS
        if count > most:
            raise UsageError(
                f"target {target!r}: asks for {count:,} maps; one answer holds {most:,}: use topK"
            )
        return logits.topk(count, dim=1).indices


def _not_finite() -> NotFiniteError:
    return NotFiniteError("the network's answer is not finite; train it again with --set precision=fp32")


def _gives_maps(model: OnnxNetwork, noise: Tensor, method: str) -> bool:
    """Return whether a method works on an .onnx file: most of its network, or all of it, has no gradients."""
    try:
        explain(model, noise, method)
    except (UsageError, RuntimeError):
        return False
    return True


def open_served(name: str) -> Served:
    """Open a run for requests.

    Raises:
        ResightError: in one line, if it cannot be opened, or does not know its class names.
    """
    run = open_run(name)
    if not run.model.classes:
        raise DataError(f"{name}: does not know its class names")
    side = run.preprocessing.size
    noise = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0)).to(run.device)
    fit_it, _ = fitting(run.model, noise)
    kept = tuple(method for method in fit_it if not METHODS[method].sweeps)
    if isinstance(run.model, OnnxNetwork):
        kept = tuple(method for method in kept if _gives_maps(run.model, noise, method))
    shown = Path(name).name if not name.startswith("zoo:") else name
    member = run.member(run.model.classes, fast=True)
    return Served(shown or "run", run, member, Normalize(run.preprocessing, run.device), kept)
