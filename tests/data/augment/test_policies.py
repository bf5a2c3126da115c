"""RandAugment, TrivialAugment, AutoAugment, AugMix: choices for each sample, strengths as torchvision's."""

import numpy as np
import pytest
import torch
from torchvision.transforms import (
    AugMix,
    AutoAugment,
    AutoAugmentPolicy,
    InterpolationMode,
    RandAugment,
    TrivialAugmentWide,
)
from torchvision.transforms.autoaugment import _apply_op
from torchvision.transforms.v2 import functional as theirs

from resight.data.augment import policies
from resight.data.augment.draws import Draws
from resight.data.augment.policies import MIXED, NAMES, USUAL, WIDE, Choice

COS = np.cos(np.radians(30))
MANY = Draws(0, 0, np.arange(4000))


def shares(numbers):
    return np.bincount(numbers, minlength=len(NAMES)) / len(numbers)


def test_randaugment_takes_two_of_fourteen_at_one_magnitude():
    space, choices = policies.randaugment(MANY.of("randaugment"), 9)
    assert space is USUAL and len(choices) == 2
    for choice in choices:
        assert np.allclose(shares(choice.numbers)[:14], 1 / 14, atol=0.02) and choice.numbers.max() == 13
        assert (choice.levels == 0.3).all() and abs(choice.signs.mean()) < 0.05
    assert abs(np.corrcoef(choices[0].numbers, choices[1].numbers)[0, 1]) < 0.05


def test_trivial_takes_one_at_any_strength():
    space, (choice,) = policies.trivial(MANY.of("trivial"), 30)
    assert space is WIDE and len(np.unique(choice.levels)) == 31
    assert choice.levels.min() == 0 and choice.levels.max() == 1


def test_autoaugment_draws_pairs_of_the_published_table():
    _, choices = policies.autoaugment(MANY.of("autoaugment"), "imagenet")
    table = AutoAugment(AutoAugmentPolicy.IMAGENET).policies
    expected = np.zeros((2, len(NAMES)))
    for pair in table:
        for turn, (name, share, _) in enumerate(pair):
            expected[turn, NAMES.index(name)] += share / len(table)
    for turn, choice in enumerate(choices):
        assert np.allclose(shares(choice.numbers)[1:], expected[turn, 1:], atol=0.025)


def one(name, level, sign=1.0, count=2):
    return Choice(np.full(count, NAMES.index(name)), np.full(count, level), np.full(count, sign))


@pytest.mark.parametrize(
    ("name", "level", "sign", "reference"),
    [
        ("Identity", 0.5, 1, lambda x: x),
        ("Brightness", 0.5, -1, lambda x: theirs.adjust_brightness(x, 1 - 0.45)),
        ("Color", 0.5, 1, lambda x: theirs.adjust_saturation(x, 1.45)),
        ("Contrast", 1.0, -1, lambda x: theirs.adjust_contrast(x, 0.1)),
        ("Sharpness", 0.5, 1, lambda x: theirs.adjust_sharpness(x, 1.45)),
        ("Posterize", 1.0, 1, lambda x: theirs.posterize((x * 255).round().to(torch.uint8), 4) / 255),
        ("Solarize", 0.25, 1, lambda x: theirs.solarize(x, 0.75)),
        ("AutoContrast", 0.0, 1, theirs.autocontrast),
        ("Equalize", 0.0, 1, theirs.equalize),
        ("Invert", 0.0, 1, theirs.invert),
    ],
)
def test_strengths_are_torchvisions(name, level, sign, reference):
    images = (torch.rand(2, 3, 16, 16) * 200).round() / 255
    changed = one(name, level, sign).apply(images, USUAL, Draws(0, 0, np.arange(2)))
    torch.testing.assert_close(changed, reference(images).float(), atol=3e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "space", "expected"),
    [
        ("ShearX", USUAL, [[1, 0.3, 0], [0, 1, 0]]),
        ("ShearY", WIDE, [[1, 0, 0], [0.99, 1, 0]]),
        ("TranslateX", USUAL, [[1, 0, 150 / 331], [0, 1, 0]]),
        ("TranslateY", WIDE, [[1, 0, 0], [0, 1, 32 / 64]]),
        ("Rotate", USUAL, [[COS, -0.5, 0.5 - 0.5 * (COS - 0.5)], [0.5, COS, 0.5 - 0.5 * (0.5 + COS)]]),
        ("Color", USUAL, [[1, 0, 0], [0, 1, 0]]),
    ],
)  # fmt: skip
def test_moves_are_as_far_as_torchvisions(name, space, expected):
    stage = one(name, 1.0).matrices(space, 64)[0, :2]
    torch.testing.assert_close(stage, torch.tensor(expected, dtype=torch.float64), atol=1e-9, rtol=0)


def offered(policy, bins):
    """The strengths that torchvision's policy gives its operations, and whether they have a sign."""
    return policy._augmentation_space(bins, (64, 64))


SPACES = {
    "randaugment": (USUAL, lambda: offered(RandAugment(), 31), 31),
    "trivial": (WIDE, lambda: TrivialAugmentWide()._augmentation_space(31), 31),
    "autoaugment": (USUAL, lambda: offered(AutoAugment(), 10), 10),
    "augmix": (MIXED, lambda: offered(AugMix(), 10), 10),
}


@pytest.mark.parametrize("policy", SPACES)
@pytest.mark.parametrize("name", ["ShearX", "ShearY"])
def test_shears_are_torchvisions_about_the_corner(policy, name):
    """Held against torchvision's own way to apply the operation, on pixels."""
    space, table, bins = SPACES[policy]
    images = torch.rand(2, 3, 64, 64)
    magnitudes, signed = table()[name]
    assert signed
    for step, sign in ((bins // 2, 1.0), (bins - 1, -1.0)):
        expected = _apply_op(
            images, name, sign * float(magnitudes[step]), InterpolationMode.BILINEAR, fill=None
        )
        changed = one(name, step / (bins - 1), sign).apply(images, space, Draws(0, 0, np.arange(2)))
        torch.testing.assert_close(changed, expected, atol=2e-4, rtol=0)


@pytest.mark.parametrize("policy", SPACES)
def test_posterizing_keeps_the_bits_that_torchvisions_keeps(policy):
    space, table, bins = SPACES[policy]
    kept = table()["Posterize"][0].tolist()
    assert len(kept) == bins and (policy != "augmix" or kept[:3] == [4, 4, 3])
    images = torch.arange(256).view(1, 1, 16, 16).expand(1, 3, 16, 16) / 255
    for step in range(bins):
        changed = one("Posterize", step / (bins - 1), count=1).apply(images, space, Draws(0, 0, np.arange(1)))
        expected = (torch.arange(256) >> (8 - kept[step])) << (8 - kept[step])
        assert torch.equal((changed[0, 0].flatten() * 255).round().long(), expected), step


def test_shifts_turns_and_factors_are_as_strong_as_torchvisions():
    for space, table, _ in SPACES.values():
        strongest = {name: float(magnitudes.max()) for name, (magnitudes, _) in table().items()}
        shift = space.shift_pixels or space.shift * 64
        for name, value in {
            "ShearX": space.shear, "TranslateX": shift, "TranslateY": shift, "Rotate": space.turn,
            "Brightness": space.enhance, "Color": space.enhance, "Contrast": space.enhance,
            "Sharpness": space.enhance,
        }.items():  # fmt: skip
            assert strongest[name] == pytest.approx(value), name


def test_each_sample_has_its_own_operation():
    images = torch.rand(6, 3, 16, 16)
    numbers = np.array([0, 5, 6, 10, 14, 3])
    both = Choice(numbers, np.full(6, 0.5), np.ones(6))
    draws = Draws(0, 0, np.arange(6))
    changed = both.apply(images, USUAL, draws)
    for i in range(6):
        alone = Choice(numbers[i : i + 1], np.array([0.5]), np.ones(1))
        assert torch.equal(alone.apply(images[i : i + 1], USUAL, draws.at(np.array([i])))[0], changed[i])
    assert torch.equal(changed[0], images[0]) and not torch.equal(changed[1], images[1])
    assert torch.equal(both.only(np.zeros(6, bool)).apply(images, USUAL, draws), images)


def test_augmix_stays_between_the_picture_and_its_copies():
    images = torch.full((300, 3, 8, 8), 0.5)
    draws = Draws(0, 0, np.arange(300)).of("augmix")
    mixed = policies.augmix(images, draws, 3)
    assert mixed.min() >= 0 and mixed.max() <= 1
    share = draws.uniform("image")
    near = (mixed - images).abs().amax((1, 2, 3)).numpy()
    assert near[share > 0.95].max() < 0.06 and near.max() > 0.2
