"""Networks over pictures: logits of single views, probabilities averaged over views and networks."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from resight.core.console import counted
from resight.core.device import autocast
from resight.core.errors import DataError, ModelFileError, PictureError
from resight.core.preprocessing import Preprocessing
from resight.data.dataset import Split
from resight.data.prepare import Normalize
from resight.evaluate.dense import for_scales
from resight.evaluate.views import views_of
from resight.models.probabilities import to_probabilities

BATCH = 32
BATCH_PIXELS = 500 * 32 * 32
"""A batch of small pictures holds this many pixels, so that small networks are kept busy."""


def batch_size(pixels: int) -> int:
    """Return how many pictures of so many pixels go through a network at once."""
    return max(BATCH, BATCH_PIXELS // pixels) if pixels < 224 * 224 else BATCH


@torch.inference_mode()
def logits_of(network: nn.Module, squares: Tensor, normalize: Normalize, precision: torch.dtype) -> Tensor:
    """Return the logits (N, classes) float32, on the CPU, of prepared squares.

    Args:
        network: in eval mode.
        squares: (N, S, S, 3) uint8.
        normalize: its preprocessing.
        precision: of the products.
    """
    size = batch_size(squares.shape[1] * squares.shape[2])
    parts = []
    starts = range(0, len(squares), size)
    for start in counted(starts, "classifying pictures", len(squares), size):
        pixels = squares[start : start + size].to(normalize.device)
        with autocast(normalize.device, precision):
            parts.append(network(normalize(pixels)).float().cpu())
    return torch.cat(parts)


def require_finite(logits: Tensor) -> None:
    """Refuse answers that are no numbers: the softmax of NaN would name the first class.

    Raises:
        ModelFileError: if one is NaN or infinite.
    """
    bad = int((~logits.isfinite()).any(1).sum())
    if bad:
        raise ModelFileError(
            f"the network's answers to {bad} of {len(logits)} pictures are not finite numbers; they name no "
            "class; train it again with --set precision=fp32 or a lower lr="
        )


@dataclass(frozen=True)
class Member:
    """One network of an ensemble.

    Attributes:
        network: in eval mode, on its device.
        preprocessing: of its pictures.
        temperature: its logits are divided by it.
        precision: of its products.
        order: for each class of the ensemble, the network's own logit number, (classes,).
        probabilities: how its logits become probabilities, see `resight.models.probabilities`.
    """

    network: nn.Module
    preprocessing: Preprocessing
    temperature: float
    precision: torch.dtype
    order: Tensor
    probabilities: str = "softmax"


class _Views(TorchDataset):
    """The views of each picture for each distinct preprocessing; lives in worker processes."""

    def __init__(
        self,
        read: Callable[[int], "object"],
        indices: Sequence[int],
        cards: Sequence[Preprocessing],
        views: str,
        scales: tuple[int, ...],
    ) -> None:
        self.read, self.indices, self.cards = read, indices, cards
        self.views, self.scales = views, scales

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: int) -> tuple[int, list[list[NDArray[np.uint8]]] | PictureError]:
        index = self.indices[place]
        try:
            image = self.read(index)
        except PictureError as error:
            return index, error
        return index, [views_of(image, card, self.views, self.scales) for card in self.cards]  # type: ignore[arg-type]


Answer = Callable[
    [Sequence[Member], Sequence[Normalize], Sequence[Preprocessing], list[list[list[NDArray[np.uint8]]]]],
    Iterable[Tensor],
]
"""Networks, their preprocessing, each distinct one, and each picture's views for it, to its answer."""


def _keep(samples: list) -> list:
    return samples


@torch.inference_mode()
def probabilities_of(
    members: Sequence[Member],
    read: Callable[[int], object],
    indices: Sequence[int],
    views: str = "single",
    scales: tuple[int, ...] = (),
    workers: int = 0,
    answer: "Answer | None" = None,
) -> Iterator[tuple[int, Tensor | PictureError]]:
    """Yield (index, probabilities (classes,) or the fault) of each picture, in order.

    Probabilities, by each network's own rule (softmax, sigmoid), are averaged over the views of a network,
    then over the networks.

    Args:
        members: the networks.
        read: gives picture `index` as an RGB image, or raises PictureError.
        indices: which pictures.
        views: see `views_of`.
        scales: see `views_of`. There a head of fully connected layers is slid over the map, see `Dense`.
        workers: processes that read and cut the pictures.
        answer: says what a batch gives, in place of the mean.

    Raises:
        ModelFileError: if a network's answers are not finite numbers.
    """
    if scales:
        members = [replace(m, network=for_scales(m.network, m.preprocessing.size)) for m in members]
    cards = list(dict.fromkeys(m.preprocessing for m in members))
    normalizers = [Normalize(m.preprocessing, _device(m.network)) for m in members]
    side = scales[-1] if scales else cards[0].size
    loader = DataLoader(
        _Views(read, indices, cards, views, scales),
        batch_size=batch_size(side * side),
        num_workers=workers,
        collate_fn=_keep,
    )
    for samples in counted(loader, "testing pictures", len(indices), loader.batch_size or 1):
        good = [(index, views) for index, views in samples if not isinstance(views, PictureError)]
        means = (answer or _average)(members, normalizers, cards, [v for _, v in good]) if good else []
        answers: dict[int, Tensor | PictureError] = dict(zip((i for i, _ in good), means, strict=True))
        answers |= {index: views for index, views in samples if isinstance(views, PictureError)}
        for index, _ in samples:
            yield index, answers[index]


def _average(
    members: Sequence[Member],
    normalizers: Sequence[Normalize],
    cards: Sequence[Preprocessing],
    pictures: list[list[list[NDArray[np.uint8]]]],
) -> Iterable[Tensor]:
    """Return the mean probabilities (classes,) of each picture of a batch."""
    total = torch.zeros(len(pictures), len(members[0].order), dtype=torch.float64)
    for member, normalize in zip(members, normalizers, strict=True):
        card = cards.index(member.preprocessing)
        by_shape: dict[tuple[int, ...], list[tuple[int, NDArray[np.uint8]]]] = defaultdict(list)
        for number, of_cards in enumerate(pictures):
            for view in of_cards[card]:
                by_shape[view.shape].append((number, view))
        for group in by_shape.values():
            squares = torch.from_numpy(np.stack([view for _, view in group]))
            logits = logits_of(member.network, squares, normalize, member.precision)
            require_finite(logits)
            scaled = logits[:, member.order].double() / member.temperature
            likely = to_probabilities(scaled, member.probabilities)
            numbers = torch.tensor([number for number, _ in group])
            total.index_add_(0, numbers, likely / (len(pictures[0][card]) * len(members)))
    return total


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def split_reader(
    split: Split, cards: Sequence[Preprocessing], scales: tuple[int, ...]
) -> Callable[[int], object]:
    """Return what reads a split's pictures, no larger than the protocol needs them, by the networks' levels.

    Raises:
        DataError: if the networks learned pictures of more than 8 bits by different levels.
    """
    if len({card.levels for card in cards}) > 1:
        raise DataError(
            "these runs learned pictures of more than 8 bits by different levels of black and white; test "
            "each on its own"
        )
    split = replace(split, levels=cards[0].levels)
    side = max([*scales, *(c.resize for c in cards)])
    return _Reader(split, side)


@dataclass(frozen=True)
class _Reader:
    split: Split
    at_least: int

    def __call__(self, index: int) -> object:
        return self.split.decode(index, at_least=self.at_least)
