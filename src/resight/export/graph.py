"""One module from pictures to answers: what an exported file computes.

pictures (B, H, W, 3) uint8 --resize, crop--> squares --normalize--> images --trunk--> features
--head--> logits --temperature--> probabilities (B, classes)
features --the head's own weights--> maps (B, classes, h, w) --> picture_maps (B, H, W)
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.prepare import contrast_normalized
from resight.export.resizing import length, squares, window
from resight.models.classifier import Classifier
from resight.models.folding import Inference
from resight.models.hooks import hooked
from resight.models.probabilities import to_probabilities
from resight.saliency.capture import Layout, logits_of, module_at, split_at
from resight.saliency.layers import last_map_layer
from resight.saliency.look import Look, Question

INPUT = "pictures"
ALL = 0
"""Of `maps`: those of all classes; a number k asks for those of the k best classes of each picture."""


@dataclass(frozen=True)
class ClosedForm:
    """A head whose maps need no gradient: pooling and one linear layer.

    Attributes:
        layer: whose map is read.
        layout: how its output holds the map.
        weight: of the linear layer, (classes, K).
        pooling: "gap" or "gmp".
        rectified: whether the head reads the positive part of the map.
        cells: (h, w) of the map.
    """

    layer: str
    layout: Layout
    weight: Tensor
    pooling: str
    rectified: bool
    cells: tuple[int, int]

    @property
    def method(self) -> str:
        """The name of the method that these maps are of."""
        return "cam" if self.pooling == "gap" else "gmp_cam"


def closed_form(model: nn.Module, images: Tensor) -> ClosedForm | None:
    """Return the closed form of a network's maps; None if its head has none.

    Args:
        model: the network.
        images: normalized pictures to recognize the head by, (B, 3, S, S).
    """
    try:
        layer = last_map_layer(model, images)
        split = split_at(model, images, [layer])
    except UsageError:
        return None
    logits = logits_of(split.output)
    if logits is None:
        return None
    look = Look(model, images, split, Question(logits.argmax(1, keepdim=True), None))
    if look.head is None:
        return None
    layout, head = split.layouts[0], look.head
    weight = head.weight.detach().float().cpu().clone()
    return ClosedForm(layer, layout, weight, head.pooling, head.rectified, (layout.height, layout.width))


class Deployed(nn.Module):
    """A network with all that happens before and after it.

    Args:
        model: the network; it is copied.
        card: its preprocessing.
        temperature: its logits are divided by it.
        rule: how they become probabilities, see `resight.models.probabilities`.
        form: of its maps; None if there is none.
        maps: how many classes' maps of a picture are given, `ALL` or a number.
        picture_maps: whether the map of the best class at the picture's size is given.
    """

    together = True
    """Pictures of one size can share a batch."""

    def __init__(
        self,
        model: nn.Module,
        card: Preprocessing,
        temperature: float,
        rule: str,
        form: ClosedForm | None,
        maps: int = ALL,
        *,
        picture_maps: bool = False,
    ) -> None:
        super().__init__()
        self.card, self.temperature, self.rule = card, temperature, rule
        self.form, self.maps, self.picture_maps = form, maps, picture_maps
        self.normalize = Normalizer(card)
        if isinstance(model, Classifier):
            self.network: nn.Module = Inference(copy.deepcopy(model).cpu(), torch.float32)
        else:
            self.network = copy.deepcopy(model).cpu().eval()
        if form is not None:
            self.register_buffer("map_weight", form.weight[:, :, None, None].clone())

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of what `forward` returns, in order."""
        names = ["probabilities", "logits"]
        if self.form is not None:
            names += ["maps"] if self.maps == ALL else ["maps", "map_classes"]
            names += ["picture_maps"] if self.picture_maps else []
        return tuple(names)

    @property
    def inside(self) -> tuple[str, ...]:
        """The names of the values inside that `forward` returns behind the outputs."""
        return ("images",) if self.form is None else ("images", "features")

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        """Turn pictures (B, H, W, 3) uint8 into `outputs`, and what `inside` names."""
        images = self.normalize(squares(pictures, self.card))
        logits, features = self._run(images)
        answers = to_probabilities(logits / self.temperature, self.rule)
        if self.form is None or features is None:
            return answers, logits, images
        read = features.relu() if self.form.rectified else features
        maps = F.conv2d(read, self.get_buffer("map_weight"))
        found = [answers, logits, maps]
        if self.maps != ALL:
            chosen = answers.topk(self.maps, dim=1).indices
            found = [answers, logits, _of_classes(maps, chosen), chosen]
        if self.picture_maps:
            best = _of_classes(maps, answers.argmax(1, keepdim=True))[:, 0]
            found.append(self._placed(best, pictures))
        return (*found, images, features)

    def _run(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits (B, classes) and the map (B, K, h, w) that the head reads."""
        if not isinstance(self.network, Inference):
            with _kept(self.network, self.form) as kept:
                logits = logits_of(self.network(images))
            assert logits is not None  # the network was tried before
            return logits, kept[0] if kept else None
        trunk = self.network.exact(images)
        with _kept(self.network.model, self.form) as kept:
            logits = self.network.model.forward_head(trunk)
        return logits, (kept[0] if kept else trunk) if self.form else None

    def _placed(self, maps: Tensor, pictures: Tensor) -> Tensor:
        """Return maps (B, h, w) on their whole pictures, (B, H, W), bilinear; 0 where nothing was seen."""
        height, width = length(pictures.shape[1]), length(pictures.shape[2])
        rows = _spread(height, width, pictures.shape[1], maps.shape[1], self.card)
        columns = _spread(width, height, pictures.shape[2], maps.shape[2], self.card)
        return rows @ maps @ columns.T


class Normalizer(nn.Module):
    """Squares (B, 3, S, S) of 0 to 255 to images; see `resight.data.prepare.Normalize`."""

    def __init__(self, card: Preprocessing) -> None:
        super().__init__()
        self.card = card
        shape = (1, 3, card.size, card.size)
        mean = torch.tensor(card.pixel_mean).view(shape) if card.pixel_mean else torch.tensor(card.mean)
        mean = mean.view(1, 3, *mean.shape[2:]) if card.pixel_mean else mean.view(1, 3, 1, 1)
        # A number for each column: runtimes that keep the channels last broadcast three numbers slowly.
        std = torch.tensor(card.std).view(1, 3, 1, 1).expand(1, 3, 1, card.size)
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)
        if card.contrast:
            self.register_buffer("mean", mean.flatten(1) if card.pixel_mean else torch.zeros(1, 1))
        if card.whitening is not None:
            self.register_buffer("whitening", torch.from_numpy(card.whitening))

    def forward(self, pixels: Tensor) -> Tensor:
        """Turn squares (B, 3, S, S) of 0 to 255 into images (B, 3, S, S)."""
        if not self.card.contrast:
            return pixels * self.get_buffer("scale") + self.get_buffer("shift")
        flat = contrast_normalized(pixels, self.card.contrast) - self.get_buffer("mean")
        if self.card.whitening is not None:
            flat = flat @ self.get_buffer("whitening")
        return flat.view(-1, 3, self.card.size, self.card.size)


@contextmanager
def _kept(model: nn.Module, form: ClosedForm | None) -> Iterator[list[Tensor]]:
    """Keep the map of the closed form's layer in a list while the block runs the network."""
    kept: list[Tensor] = []
    if form is None:
        yield kept
        return
    layer, layout = module_at(model, form.layer), form.layout

    def keep(_: nn.Module, __: object, output: Tensor) -> None:
        kept.append(layout.read(output))

    with hooked([lambda: layer.register_forward_hook(keep)]):
        yield kept


def _of_classes(maps: Tensor, classes: Tensor) -> Tensor:
    """Return of maps (B, classes, h, w) those of some classes (B, k), (B, k, h, w)."""
    index = classes[:, :, None, None].expand(-1, -1, maps.shape[2], maps.shape[3])
    return maps.gather(1, index)


def _spread(own: Tensor, other: Tensor, count: int, cells: int, card: Preprocessing) -> Tensor:
    """Return the bilinear weights of a map's cells in the pixels of one side, (count, cells) float32."""
    inner, start, scaled, first = window(own, other, card)
    scale = scaled.to(torch.float64) / inner.to(torch.float64)
    seen = (torch.arange(count) - start + 0.5).to(torch.float64) * scale - first
    place = (seen * (cells / card.size) - 0.5).clamp(0.0, cells - 1.0)
    weights = (1.0 - (place[:, None] - torch.arange(cells).to(torch.float64)[None]).abs()).clamp(min=0.0)
    inside = (seen >= 0.0) & (seen <= card.size)
    return (weights * inside[:, None]).to(torch.float32)
