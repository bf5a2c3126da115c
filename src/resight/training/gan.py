"""Training parts of a conditional GAN: settings, losses, real pictures, noise, shifts.

Sources: the losses are those of Odena, Olah and Shlens, "Conditional Image Synthesis with Auxiliary
Classifier GANs", 2016, section 3, or of Miyato and Koyama, "cGANs with Projection Discriminator", 2018,
section 3; the shifts are the translation of Zhao, Liu, Lin, Zhu and Han, "Differentiable Augmentation for
Data-Efficient GAN Training", 2020.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core import seeds
from resight.core.errors import UsageError
from resight.core.settings import require_choices
from resight.data.order import Order
from resight.models.gan import SIDES, Critic, Generator

CHOICES = {"condition": ("projection", "acgan"), "flip": ("auto", "on", "off")}
STEPS = 5000
"""Steps that a training takes where the epochs are not said."""
LEAST_EPOCHS = 10


@dataclass(frozen=True, kw_only=True)
class GanSettings:
    """All settings of GAN training, except the data.

    Attributes:
        epochs: passes over the training pictures; 0 for as many as make 5,000 steps, but at least 10.
        batch_size: real pictures per step, and as many generated ones; DCGAN has 128.
        lr: of the generator's Adam, constant.
        critic_lr: of the critic's Adam; five times the generator's (the same in DCGAN): with a slow critic
            every class collapses to one mode.
        beta1: of Adam; its beta2 is 0.999.
        noise: Z, normal numbers from which a picture is generated.
        width: channels of the critic's first layer; the generator's last one has twice as many.
        side: of the pictures, in pixels; 0 for the next of 16, 32, 64 and 128 to that of the data.
        condition: how the critic learns classes. "projection": a picture is judged as one of its class, by
            the sum of both logits, and there is no other loss. "acgan": it is judged as a picture, and
            classified; with few pictures each class collapses to one mode, which may drift to another class.
        flip: whether real pictures are mirrored at random: "auto" (where the data set allows it), "on" or
            "off".
        shift: real and generated pictures are both shifted before the critic sees them, by up to this share
            of their side in either direction, so that few pictures are not memorized.
        ema: decay per step of the generator's averaged weights, which are kept; 0 keeps the weights
            themselves.
        val_share: as for train: share of the training pictures that is held out, where the data set has no
            val split of its own. It must equal that of train, or the GAN learns validation pictures.
        memory_gib: limit of the decoded training set.
        seed: of every random choice.
    """

    epochs: int = 0
    batch_size: int = 64
    lr: float = 2e-4
    critic_lr: float = 1e-3
    beta1: float = 0.5
    noise: int = 100
    width: int = 64
    side: int = 0
    condition: str = "projection"
    flip: str = "auto"
    shift: float = 0.0625
    ema: float = 0.99
    val_share: float = 0.1
    memory_gib: float = 2.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: naming the setting, its value and the range.
        """
        require_choices(self, CHOICES)
        if self.side not in (0, *SIDES):
            raise UsageError(f"side={self.side} must be one of {', '.join(map(str, (0, *SIDES)))}")
        for name, least in (("epochs", 0), ("batch_size", 2), ("noise", 1), ("width", 1), ("seed", 0)):
            if not least <= getattr(self, name) < 2**63:
                raise UsageError(f"{name}={getattr(self, name)} must be {least} or more, and below 2**63")
        for name in ("beta1", "ema", "val_share"):
            if not 0 <= getattr(self, name) < 1:
                raise UsageError(f"{name}={getattr(self, name)} must be in [0, 1)")
        if not 0 <= self.shift <= 0.5:
            raise UsageError(f"shift={self.shift} must be in [0, 0.5]")
        for name in ("lr", "critic_lr", "memory_gib"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name}={getattr(self, name)} must be above 0")


Judged = tuple[Tensor, Tensor]
"""What `Critic` says of pictures."""


class Adversaries(nn.Module):
    """Generator, critic and the sums of the current epoch, which are trained and saved together.

    Attributes:
        sums: losses of critic and generator; misclassified real pictures; pictures judged real,
            among the real and among the generated ones, (5,).
    """

    sums: Tensor

    def __init__(self, generator: Generator, critic: Critic) -> None:
        super().__init__()
        self.generator, self.critic = generator, critic
        self.register_buffer("sums", torch.zeros(5))


class Reals:
    """The real pictures, in batches: a function of (seed, epoch, step).

    Args:
        squares: (N, S, S, C) uint8.
        labels: (N,).
        settings: batch size and seed.
        flips: whether they are mirrored at random.
        device: of the batches.
    """

    def __init__(
        self, squares: Tensor, labels: Tensor, settings: GanSettings, device: torch.device, *, flips: bool
    ) -> None:
        self.squares, self.labels = squares.permute(0, 3, 1, 2).contiguous().to(device), labels.to(device)
        self.order = Order(len(squares), settings.batch_size, settings.seed)
        self.seed, self.flips = settings.seed, flips
        self.steps = self.order.steps

    def epoch(self, epoch: int, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield pictures (B, C, S, S) in [-1, 1] and labels (B,), from step `start` on."""
        for indices in self.order.batches(epoch, start):
            chosen = torch.from_numpy(indices).to(self.labels.device)
            images = self.squares[chosen].float() / 127.5 - 1
            if self.flips:
                mirrored = torch.from_numpy(seeds.uniform(self.seed, epoch, indices, "flip") < 0.5)
                images = torch.where(mirrored.to(images.device).view(-1, 1, 1, 1), images.flip(3), images)
            yield images, self.labels[chosen]


def draw_noise(seed: int, step: int, count: int, width: int, name: str = "gan/noise") -> Tensor:
    """Return standard normal numbers (count, width) float32, a function of (seed, step, row, name)."""
    numbers = seeds.normal(seed, step, np.arange(count * width), name)
    return torch.from_numpy(numbers.reshape(count, width)).float()


def draw_offsets(seed: int, step: int, count: int, most: int, name: str) -> NDArray[np.int64]:
    """Return the shifts of the pictures of a step: from top and left, in 0..2 most, (2, count)."""
    draws = [seeds.uniform(seed, step, np.arange(count), f"{name}/{way}") for way in ("top", "left")]
    return (np.stack(draws) * (2 * most + 1)).astype(np.int64)


def shifted(images: Tensor, offsets: NDArray[np.int64], most: int) -> Tensor:
    """Return the shifted pictures, with gradients; new pixels are black.

    Args:
        images: (B, C, S, S) in [-1, 1].
        offsets: from the top and from the left, in 0..2 most, (2, B); `most` leaves a picture where it is.
        most: pixels.
    """
    side = images.shape[-1]
    padded = F.pad(images, (most,) * 4, value=-1.0).unbind()
    return torch.stack(
        [p[:, top : top + side, left : left + side] for p, top, left in zip(padded, *offsets, strict=True)]
    )


def loss_of_critic(real: Judged, drawn: Judged, labels: Tensor, condition: str) -> Tensor:
    """Return the loss of the critic: -L_S, and -L_C under "acgan".

    L_S = E log D(real) + E log(1 - D(drawn)); L_C = E log P(class | real) + E log P(class | drawn).

    Args:
        real: output of `Critic` for real pictures.
        drawn: its output for generated ones.
        labels: of both, (B,).
        condition: see `GanSettings`.
    """
    loss = F.softplus(-verdict(real, labels, condition)).mean()
    loss = loss + F.softplus(verdict(drawn, labels, condition)).mean()
    if condition == "acgan":
        loss = loss + F.cross_entropy(real[1], labels) + F.cross_entropy(drawn[1], labels)
    return loss


def loss_of_generator(drawn: Judged, labels: Tensor, condition: str) -> Tensor:
    """Return the loss of the generator: -E log D(drawn), and -E log P(class | drawn) under "acgan".

    The first replaces ACGAN's E log(1 - D(drawn)), whose gradient vanishes while the critic is right
    (Goodfellow et al., "Generative Adversarial Nets", 2014, section 3).

    Args:
        drawn: output of `Critic` for generated pictures.
        labels: their intended classes, (B,).
        condition: see `GanSettings`.
    """
    loss = F.softplus(-verdict(drawn, labels, condition)).mean()
    return loss + F.cross_entropy(drawn[1], labels) if condition == "acgan" else loss


def verdict(judged: Judged, labels: Tensor, condition: str) -> Tensor:
    """Return the logits of being real, (B,): as a picture, or under "projection" as one of its class."""
    source, naming = judged
    if condition == "acgan":
        return source
    return source + naming.gather(1, labels[:, None]).squeeze(1)
