"""An opened .onnx file as a module of torch, for the commands that read networks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resight.core.console import counted
from resight.core.distributed import world
from resight.core.errors import ModelFileError, PictureError, UsageError
from resight.export.deployed import Onnx, session
from resight.export.graph import INPUT
from resight.export.writing import map_layer
from resight.models.adopted import adopt

BATCH = 32
"""Pictures that are read before they go through the network, those of one size together."""


class OnnxNetwork(nn.Module):
    """A network whose layers run in onnxruntime.

    It takes normalized images, as other networks do, and gives logits. Where a file of `resight export` has
    maps, its trunk runs in onnxruntime and its head, which has a closed form, in torch: methods that need
    gradients only behind the last map work. Of other files only the answers are known.

    Args:
        opened: the file.
    """

    def __init__(self, opened: Onnx) -> None:
        super().__init__()
        self.opened = opened
        kind = opened.export.get("map") if opened.own else None
        head = _head_of(opened) if kind else None
        self.trunk = _Part(opened, head.value) if head else None
        self.head = _Head(head, opened.export["map"]["pooling"]) if head else None
        self.answer = None if kind else _Part(opened, "logits") if opened.own else _Whole(opened)
        adopt(self, opened.path.name, opened.classes, opened.preprocessing, opened.rule)

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (B, 3, S, S) into logits (B, classes)."""
        if self.trunk is not None and self.head is not None:
            return self.head(self.trunk(images))
        assert self.answer is not None  # one of both is there
        return self.answer(images)


def answers_of(
    opened: Onnx, read: Callable[[int], object], count: int
) -> Iterator[tuple[int, Tensor | PictureError]]:
    """Yield (index, probabilities (classes,) or the fault) of pictures as the file itself answers.

    Args:
        opened: the file.
        read: gives picture `index` as an RGB image, or raises PictureError.
        count: number of pictures; those of this process are taken.
    """
    share = world().share(count)
    for start in counted(range(0, len(share), BATCH), "testing pictures", len(share), BATCH):
        good: dict[int, Any] = {}
        faults: dict[int, PictureError] = {}
        for index in share[start : start + BATCH]:
            try:
                good[index] = read(index)
            except PictureError as error:
                faults[index] = error
        answers = dict(zip(good, opened.answer(list(good.values())) if good else [], strict=True))
        for index in share[start : start + BATCH]:
            yield index, faults[index] if index in faults else torch.from_numpy(answers[index].probabilities)


class _Part(nn.Module):
    """The part of a file of `resight export` from the images to one of its values."""

    def __init__(self, opened: Onnx, value: str) -> None:
        super().__init__()
        self.opened, self.value = opened, value
        self._session: Any = None

    def forward(self, images: Tensor) -> Tensor:
        if missing := self.opened.export.get("tables"):
            raise UsageError(
                f"{self.opened.name}: its preprocessing has tables ({', '.join(missing)}) that only the file "
                "itself applies; test, predict and explain with its own maps take it"
            )
        if self._session is None:
            self._session = session(_behind_images(self.opened, self.value), self.opened.name)
        count = np.zeros((len(images), 1, 1, 3), np.uint8)  # only the number of pictures is read of them
        given = {"images": images.detach().cpu().numpy(), INPUT: count}
        (found,) = self._session.run([self.value], given)
        return torch.from_numpy(found).to(images.device)


class _Whole(nn.Module):
    """A file of another program: from the images to its output."""

    def __init__(self, opened: Onnx) -> None:
        super().__init__()
        self.opened = opened

    def forward(self, images: Tensor) -> Tensor:
        found = self.opened.logits(np.ascontiguousarray(images.detach().cpu().numpy()))
        return torch.from_numpy(found).to(images.device)


class _Head(nn.Module):
    """Pooling and the linear layer whose weights the maps are made with."""

    def __init__(self, found: "_Linear", pooling: str) -> None:
        super().__init__()
        self.pooling = pooling
        self.linear = nn.Linear(found.weight.shape[1], found.weight.shape[0])
        with torch.no_grad():
            self.linear.weight.copy_(found.weight)
            self.linear.bias.copy_(found.bias)

    def forward(self, features: Tensor) -> Tensor:
        return self.linear(_pooled(features, self.pooling))


def _loaded(opened: Onnx) -> Any:
    import onnx

    return onnx.load(str(opened.path))


def _behind_images(opened: Onnx, end: str) -> bytes:
    """Return the part of a file from the normalized images to one of its values as a model of its own."""
    from onnx import helper
    from onnx.utils import Extractor

    model = _loaded(opened)
    known = {value.name for value in (*model.graph.value_info, *model.graph.output)}
    for name in {"images", end} - known:
        rank = 2 if name == "logits" else 4
        model.graph.value_info.append(helper.make_tensor_value_info(name, 1, [None] * rank))
    return Extractor(model).extract_model(["images", INPUT], [end]).SerializeToString()


@dataclass(frozen=True)
class _Linear:
    """The linear layer behind the map: the value that is pooled, weight (classes, K) and bias (classes,)."""

    value: str
    weight: Tensor
    bias: Tensor


def _head_of(opened: Onnx) -> _Linear:
    """Return the linear layer of a file with maps.

    The weight is that of the convolution that gives the maps; the bias is what it leaves of the logits.

    Raises:
        ModelFileError: if the file was changed, so that neither is found.
    """
    from onnx import numpy_helper

    model = _loaded(opened)
    held = {tensor.name: tensor for tensor in model.graph.initializer}
    node = map_layer(model)
    if node is not None and node.input[1] in held:
        weight = torch.from_numpy(numpy_helper.to_array(held[node.input[1]]).copy())[:, :, 0, 0]
        return _Linear(node.input[0], weight, _bias(opened, node.input[0], weight))
    raise ModelFileError(f"{opened.name}: its maps are not made as resight export writes them")


def _bias(opened: Onnx, value: str, weight: Tensor) -> Tensor:
    side = opened.preprocessing.size
    images = torch.zeros(1, 3, side, side)
    read, logits = _Part(opened, value)(images), _Part(opened, "logits")(images)
    return logits[0] - (_pooled(read, opened.export["map"]["pooling"]) @ weight.T)[0]


def _pooled(features: Tensor, pooling: str) -> Tensor:
    return features.mean((2, 3)) if pooling == "gap" else features.amax((2, 3))
