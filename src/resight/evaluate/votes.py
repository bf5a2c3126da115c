"""Dropout left on while answering: each pass is a vote, and how far votes lie apart says how unsure it is.

Gal and Ghahramani 2016, "Dropout as a Bayesian Approximation", section 4: the mean of T passes with dropout
estimates the predictive distribution, and their spread its uncertainty. All other layers stay as in a test.
What a pass drops is a function of the picture's own pixels, the vote and the layer, so that neither batches
nor processes change an answer.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from resight.core import seeds
from resight.core.device import autocast
from resight.core.errors import PictureError, UsageError
from resight.data.prepare import Normalize
from resight.evaluate.scores import Member, probabilities_of, require_finite
from resight.models.probabilities import to_probabilities
from resight.saliency.capture import hooked

DROPOUTS = (nn.Dropout, nn.Dropout2d)


def dropouts_of(network: nn.Module, name: str) -> Mapping[str, nn.Module]:
    """Return the layers of a network that drop something, by name.

    Args:
        network: in eval mode.
        name: of its run, for the message.

    Raises:
        UsageError: if there are none.
    """
    found = {n: m for n, m in network.named_modules() if isinstance(m, DROPOUTS) and m.p > 0}
    if not found:
        raise UsageError(
            f"{name}: its network has no dropout, so all votes would be one; --votes is for networks with "
            "dropout, such as nin_cifar, maxout or squeezenet1_0"
        )
    return found


def votes_of(
    member: Member,
    name: str,
    read: Callable[[int], object],
    indices: Sequence[int],
    votes: int,
    workers: int = 0,
) -> Iterator[tuple[int, Tensor | PictureError]]:
    """Yield (index, probabilities of each vote (votes, classes) or the fault) of each picture, in order.

    Args:
        member: the network.
        name: of its run, for messages.
        read: gives picture `index` as an RGB image, or raises PictureError.
        indices: which pictures.
        votes: T, passes.
        workers: processes that read and cut the pictures.

    Raises:
        UsageError: if the network has no dropout.
        ModelFileError: if its answers are not finite numbers.
    """
    answer = partial(_voted, dropouts_of(member.network, name), votes)
    yield from probabilities_of([member], read, indices, workers=workers, answer=answer)


def mean_and_spread(votes: Tensor) -> tuple[Tensor, float]:
    """Return the mean of votes (T, classes) and the deviation of its most likely class's probability."""
    mean = votes.mean(0)
    return mean, float(votes[:, mean.argmax()].std(correction=0))


def _voted(
    layers: Mapping[str, nn.Module],
    votes: int,
    members: Sequence[Member],
    normalizers: Sequence[Normalize],
    cards: Sequence[object],
    pictures: list[list[list[NDArray[np.uint8]]]],
) -> Iterable[Tensor]:
    """Return the probabilities (votes, classes) of each picture of a batch, seen in one view."""
    del cards
    (member,), (normalize,) = members, normalizers
    squares = np.stack([of_cards[0][0] for of_cards in pictures])
    keys = [zlib.crc32(square.tobytes()) for square in squares]
    images = normalize(torch.from_numpy(squares).to(normalize.device))
    found = []
    for vote in range(votes):
        hooks = [
            partial(module.register_forward_hook, partial(_dropped, keys, vote, layer))
            for layer, module in layers.items()
        ]
        with hooked(hooks), autocast(normalize.device, member.precision):
            logits = member.network(images).float().cpu()
        require_finite(logits)
        scaled = logits[:, member.order].double() / member.temperature
        found.append(to_probabilities(scaled, member.probabilities))
    return torch.stack(found, 1)


def _dropped(
    keys: Sequence[int], vote: int, layer: str, module: nn.Module, inputs: tuple[Tensor], _: Tensor
) -> Tensor:
    """Return what a layer of dropout gives in training, by keyed draws in place of torch's generator."""
    (x,) = inputs
    rate = float(module.p)  # type: ignore[arg-type]
    shape = (x.shape[1], *(1,) * (x.ndim - 2)) if isinstance(module, nn.Dropout2d) else tuple(x.shape[1:])
    units = np.arange(int(np.prod(shape)))
    kept = np.stack([seeds.uniform(key, vote, units, f"votes/{layer}") >= rate for key in keys])
    mask = torch.from_numpy(kept.reshape(len(keys), *shape)).to(x.device)
    return x * mask.to(x.dtype) / (1 - rate) if rate < 1 else torch.zeros_like(x)
