"""Draws of an operation: numbers for each sample, and whole fields of them on the device.

A sample's numbers depend on (seed, epoch, sample, operation) and on nothing else: not on the batch that it is
in, not on the device, not on what was drawn before. Where a sample comes several times in an epoch, its draw
key, which counts the occurrences, stands for it (see `resight.data.order.draw_keys`).
"""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.core import seeds


def _signed(word: int) -> int:
    """Return an unsigned 64-bit word as torch holds it."""
    return word - 2**64 if word >= 2**63 else word


GOLDEN, FIRST, SECOND = (
    _signed(word) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)
BITS = 24
"""Of a float32 in [0, 1)."""


@dataclass(frozen=True)
class Draws:
    """The draws of some samples in an epoch.

    Attributes:
        seed: of the run.
        epoch: from 0.
        samples: sample numbers, or draw keys where samples repeat, (B,).
        device: where fields and columns are wanted.
        name: of the operation that draws.
        full: strengths are as large as they may be, of either sign: for a picture of what a value means.
    """

    seed: int
    epoch: int
    samples: NDArray[np.int64]
    device: torch.device = torch.device("cpu")  # noqa: RUF009 - it cannot be changed
    name: str = ""
    full: bool = False

    def of(self, name: str) -> "Draws":
        """Return the draws of another operation."""
        return replace(self, name=name)

    def at(self, rows: NDArray) -> "Draws":
        """Return the draws of some of the samples."""
        return replace(self, samples=self.samples[rows])

    def uniform(self, what: str = "") -> NDArray[np.float64]:
        """Return a number in [0, 1) for each sample, (B,)."""
        return seeds.uniform(self.seed, self.epoch, self.samples, self._path(what))

    def normal(self, what: str) -> NDArray[np.float64]:
        """Return a standard normal number for each sample, (B,)."""
        return seeds.normal(self.seed, self.epoch, self.samples, self._path(what))

    def amount(self, what: str, most: float) -> NDArray[np.float64]:
        """Return a strength in [0, most] for each sample, (B,)."""
        return np.full(len(self.samples), most) if self.full else most * self.uniform(what)

    def signed(self, what: str, most: float) -> NDArray[np.float64]:
        """Return a strength in [-most, most] for each sample, (B,)."""
        share = 2 * self.uniform(what) - 1
        return most * (np.where(share < 0, -1.0, 1.0) if self.full else share)

    def factor(self, what: str, most: float) -> NDArray[np.float64]:
        """Return a factor in [1 / (1 + most), 1 + most], log-uniform, for each sample, (B,)."""
        return np.exp(self.signed(what, math.log1p(most)))

    def happens(self, share: float) -> NDArray[np.bool_]:
        """Return to which samples the operation happens, (B,)."""
        return self.uniform("happens") < share

    def column(self, values: NDArray) -> Tensor:
        """Return numbers (B,) or (B, C) on the device, shaped to meet images: (B, C, 1, 1) float32."""
        tensor = torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self.device)
        return tensor.view(len(values), -1, 1, 1)

    def field(self, what: str, *shape: int) -> Tensor:
        """Return numbers in [0, 1) for each sample, (B, *shape) float32: multiples of 2^-24."""
        hashed = self._hashed(what, math.prod(shape))
        return _fraction(hashed, 64 - BITS).view(-1, *shape)

    def normal_field(self, what: str, *shape: int) -> Tensor:
        """Return standard normal numbers for each sample, (B, *shape) float32 (Box and Muller 1958).

        Each 64-bit word gives a radius and an angle, and these the two numbers of a pair.
        """
        count = math.prod(shape)
        hashed = self._hashed(what, -(-count // 2))
        radius = (-2 * (1 - _fraction(hashed, 64 - BITS)).log()).sqrt()
        angle = 2 * math.pi * _fraction(hashed, 64 - 2 * BITS)
        pairs = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)
        return pairs[:, :count].reshape(-1, *shape)

    def _path(self, what: str) -> str:
        return f"{self.name}/{what}" if what else self.name

    def _hashed(self, what: str, count: int) -> Tensor:
        """Return the first `count` words (B, count) of a generator that starts at each sample's word.

        SplitMix64 (Steele, Lea and Flood 2014). torch's int64 wraps around as unsigned numbers do; its right
        shift copies the sign, so what comes in from the left is cleared.
        """
        words = seeds.bits(self.seed, self.epoch, self.samples, self._path(what)).view(np.int64)
        start = torch.from_numpy(words).to(self.device)
        z = start[:, None] + torch.arange(1, count + 1, device=self.device) * GOLDEN
        for shift, factor in ((30, FIRST), (27, SECOND)):
            z = z.bitwise_xor_((z >> shift).bitwise_and_((1 << (64 - shift)) - 1)).mul_(factor)
        return z.bitwise_xor_((z >> 31).bitwise_and_((1 << 33) - 1))


def _fraction(words: Tensor, shift: int) -> Tensor:
    """Return the 24 bits of each word above `shift` as a float32 in [0, 1)."""
    return (words >> shift).bitwise_and_((1 << BITS) - 1).float().mul_(2.0**-BITS)
