"""Policies: operations chosen for each sample from one list (RandAugment and its like).

Names, strengths and fixed points are torchvision's: shears leave the top left corner where it is. Here every
sample has its own choice, pictures are resampled bilinearly, shifts are not rounded to whole pixels, and what
comes in from outside is black.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.data.augment import colour, filters, moves
from resight.data.augment.draws import Draws
from resight.data.augment.warp import Warp, resample


@dataclass(frozen=True)
class Space:
    """The strongest that each operation of a policy may be.

    Attributes:
        shear: what a step along one axis adds to the other.
        shift: share of the side.
        shift_pixels: if not 0, the shift in pixels instead.
        turn: degrees.
        enhance: factors of brightness, saturation, contrast and sharpness are 1 plus or minus this.
        bits: of 8 that posterizing takes away.
        fewest: of 8 that posterizing takes away at level 0.
    """

    shear: float
    shift: float
    shift_pixels: float
    turn: float
    enhance: float
    bits: int
    fewest: int = 0


USUAL = Space(shear=0.3, shift=150 / 331, shift_pixels=0, turn=30, enhance=0.9, bits=4)
WIDE = Space(shear=0.99, shift=1.0, shift_pixels=32, turn=135, enhance=0.99, bits=6)
MIXED = Space(shear=0.3, shift=1 / 3, shift_pixels=0, turn=30, enhance=0.9, bits=8, fewest=4)
"""AugMix's: posterizing keeps 4 bits at level 0, and none at level 1."""
NAMES = (
    "Identity", "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize", "Invert",
)  # fmt: skip
ENHANCING = NAMES.index("Brightness")
"""From here on operations change colours."""
OFFERED = len(NAMES) - 1
"""RandAugment and TrivialAugment offer all but Invert."""
ENHANCEMENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "Brightness": colour.brightness,
    "Color": colour.saturation,
    "Contrast": colour.contrast,
    "Sharpness": filters.sharpness,
}
PLAIN: dict[str, Callable[[Tensor], Tensor]] = {
    "AutoContrast": colour.autocontrast,
    "Equalize": colour.equalize,
    "Invert": colour.invert,
}
CHAINS, DEPTH = 3, 3
"""Of AugMix (Hendrycks et al. 2019): copies that are mixed, and most operations of one."""


@dataclass(frozen=True)
class Choice:
    """One operation for each sample.

    Attributes:
        numbers: into NAMES, (B,).
        levels: how strong, in [0, 1], (B,).
        signs: 1 or -1, (B,).
    """

    numbers: NDArray[np.int64]
    levels: NDArray[np.float64]
    signs: NDArray[np.float64]

    def only(self, on: NDArray[np.bool_]) -> "Choice":
        """Return the same for some samples, and nothing for the others."""
        return Choice(np.where(on, self.numbers, 0), self.levels, self.signs)

    def matrices(self, space: Space, side: int) -> Tensor:
        """Return how each picture is moved, (B, 3, 3); most are not."""
        shift = min(1.0, space.shift_pixels / side) if space.shift_pixels else space.shift
        strength = self.levels * self.signs

        def of(name: str, most: float) -> NDArray[np.float64]:
            return np.where(self.numbers == NAMES.index(name), most * strength, 0.0)

        sheared = moves.cornered(of("ShearX", space.shear), of("ShearY", space.shear))
        shifted = moves.shifted(of("TranslateX", shift), of("TranslateY", shift))
        return sheared @ shifted @ moves.turned(np.radians(of("Rotate", space.turn)))

    def apply(self, images: Tensor, space: Space, draws: Draws) -> Tensor:
        """Return images (B, 3, S, S) in [0, 1], each after its own operation."""
        images = images.clone()
        moving = (self.numbers > 0) & (self.numbers < ENHANCING)
        groups = {name: np.flatnonzero(self.numbers == NAMES.index(name)) for name in NAMES[ENHANCING:]}
        for name, rows in {"": np.flatnonzero(moving), **groups}.items():
            if len(rows):
                where = torch.from_numpy(rows).to(images.device)
                images[where] = self._changed(images[where], rows, name, space, draws)
        return images

    def _changed(self, images: Tensor, rows: NDArray, name: str, space: Space, draws: Draws) -> Tensor:
        """Return some of the images after one operation; no single name covers all moves."""
        levels, signs = self.levels[rows], self.signs[rows]
        if not name:
            return resample(images, Warp((self.matrices(space, images.shape[-1])[rows],)))
        if name in PLAIN:
            return PLAIN[name](images)
        if name == "Posterize":
            return colour.posterize(images, draws.column(space.fewest + levels * (space.bits - space.fewest)))
        if name == "Solarize":
            return colour.solarize(images, draws.column(levels))
        return ENHANCEMENTS[name](images, draws.column(1 + space.enhance * levels * signs))


def _choice(draws: Draws, what: str, offered: int, levels: NDArray, first: int = 0) -> Choice:
    numbers = first + (draws.uniform(f"{what}/operation") * (offered - first)).astype(np.int64)
    return Choice(numbers, levels, np.where(draws.uniform(f"{what}/sign") < 0.5, -1.0, 1.0))


def randaugment(draws: Draws, magnitude: float) -> tuple[Space, list[Choice]]:
    """Return two operations out of 14 for each sample, at `magnitude` of 30 (Cubuk et al. 2019)."""
    levels = np.full(len(draws.samples), magnitude / 30)
    return USUAL, [_choice(draws, f"{turn}", OFFERED, levels) for turn in range(2)]


def trivial(draws: Draws, magnitude: float) -> tuple[Space, list[Choice]]:
    """Return one operation for each sample, its strength uniform of 31 steps (TrivialAugmentWide, 2021)."""
    levels = np.floor(draws.uniform("level") * 31) / 30 * (magnitude / 30)
    return WIDE, [_choice(draws, "0", OFFERED, levels)]


def autoaugment(draws: Draws, policy: str) -> tuple[Space, list[Choice]]:
    """Return two operations for each sample, a random pair of a published policy (Cubuk et al. 2018).

    Args:
        draws: of the samples.
        policy: "imagenet", "cifar10" or "svhn"; torchvision holds their tables.
    """
    from torchvision.transforms import AutoAugment, AutoAugmentPolicy

    table = AutoAugment(AutoAugmentPolicy(policy)).policies
    pairs = (draws.uniform("pair") * len(table)).astype(np.int64)
    choices = []
    for turn in range(2):
        names, shares, steps = zip(*(table[pair][turn] for pair in pairs), strict=True)
        on = draws.uniform(f"{turn}/happens") < np.array(shares)
        numbers = np.where(on, [NAMES.index(name) for name in names], 0)
        levels = np.array([(step or 0) / 9 for step in steps])
        choices.append(Choice(numbers, levels, np.where(draws.uniform(f"{turn}/sign") < 0.5, -1.0, 1.0)))
    return USUAL, choices


def augmix(images: Tensor, draws: Draws, severity: float) -> Tensor:
    """Mix the image with three copies of it, each after one to three operations (Hendrycks et al. 2019).

    Weights of the copies ~ Dirichlet(1, 1, 1), of their sum against the image ~ Beta(1, 1); levels are
    uniform of the first `severity` steps of 10. All 13 operations are offered, as in torchvision;
    the paper leaves out four of them, which its test of corrupted pictures contains: Brightness, Color,
    Contrast and Sharpness. Moved copies are laid over the image, so marks stay where they are. The authors'
    loss between several such images is not part of it.
    """
    exponential = -np.log1p(-np.stack([draws.uniform(f"{i}/weight") for i in range(CHAINS)]))
    weights = exponential / exponential.sum(0)
    mixed = torch.zeros_like(images)
    for chain in range(CHAINS):
        copy, depth = images, 1 + np.floor(draws.uniform(f"{chain}/depth") * DEPTH)
        for turn in range(DEPTH):
            what = f"{chain}/{turn}"
            levels = np.floor(draws.uniform(f"{what}/level") * severity) / 9
            choice = _choice(draws, what, OFFERED, levels, first=1)
            numbers = np.where(turn < depth, choice.numbers, 0)
            copy = Choice(numbers, levels, choice.signs).apply(copy, MIXED, draws)
        mixed += draws.column(weights[chain]) * copy
    return colour.blend(images, mixed, draws.column(draws.uniform("image")))
