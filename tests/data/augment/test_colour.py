"""Colours and filters against torchvision's, a sample at a time."""

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional as theirs

from resight.data.augment import colour, filters
from resight.data.augment.draws import Draws

DRAWS = Draws(0, 0, np.arange(6))


def images():
    pixels = torch.rand(6, 3, 12, 14)
    pixels[0] = pixels[0, :1]  # grey: no hue
    pixels[1, :, :6] = 0
    return pixels


def column(values):
    return torch.tensor(values).view(-1, 1, 1, 1)


FACTORS = [0.0, 0.4, 0.9, 1.0, 1.3, 1.9]


@pytest.mark.parametrize(
    ("ours", "reference", "strengths"),
    [
        (colour.brightness, theirs.adjust_brightness, FACTORS),
        (colour.contrast, theirs.adjust_contrast, FACTORS),
        (colour.saturation, theirs.adjust_saturation, FACTORS),
        (filters.sharpness, theirs.adjust_sharpness, FACTORS),
        (colour.hue, theirs.adjust_hue, [-0.5, -0.2, -0.05, 0.0, 0.1, 0.4]),
        (colour.solarize, lambda x, s: theirs.solarize(x, 1 - s), [0.0, 0.2, 0.4, 0.5, 0.7, 1.0]),
    ],
)
def test_colours_are_torchvisions(ours, reference, strengths):
    pixels = images()
    expected = torch.cat([reference(pixels[i : i + 1], s) for i, s in enumerate(strengths)])
    # torchvision's weight of red is 0.2989, ours 0.299.
    loose = 2e-4 if ours in (colour.contrast, colour.saturation) else 2e-6
    torch.testing.assert_close(ours(pixels, column(strengths)), expected, atol=loose, rtol=1e-5)


def test_posterize_is_torchvisions():
    pixels = (images() * 255).round() / 255
    lost = [0.0, 1.0, 2.0, 4.0, 6.0, 7.0]
    whole = (pixels * 255).round().to(torch.uint8)
    expected = torch.stack([theirs.posterize(whole[i], 8 - int(b)) for i, b in enumerate(lost)])
    torch.testing.assert_close(colour.posterize(pixels, column(lost)) * 255, expected.float())


def test_gamma_is_a_power():
    exponent = DRAWS.factor("exponent", 0.5)
    assert (exponent >= 1 / 1.5).all() and (exponent <= 1.5).all() and np.ptp(exponent) > 0.2
    pixels = images()
    expected = torch.stack([theirs.adjust_gamma(x, float(e)) for x, e in zip(pixels, exponent, strict=True)])
    torch.testing.assert_close(colour.gamma(pixels, DRAWS, 0.5), expected, atol=1e-6, rtol=1e-5)


def test_blur_is_torchvisions_inside():
    pixels = torch.rand(6, 3, 30, 30)
    sigma = DRAWS.amount("sigma", 1.5)
    ours = filters.gaussian_blur(pixels, DRAWS, 1.5)
    for i, s in enumerate(sigma):
        expected = theirs.gaussian_blur(pixels[i], [11, 11], [float(s), float(s)])
        torch.testing.assert_close(ours[i, :, 5:-5, 5:-5], expected[:, 5:-5, 5:-5], atol=1e-5, rtol=0)


def test_jitter_takes_every_order():
    pixels = torch.rand(1, 3, 8, 8)
    many = Draws(0, 0, np.arange(300))
    done = colour.colour_jitter(pixels.expand(300, -1, -1, -1), many, 0.5)
    orders = np.argsort([many.uniform(f"order/{i}") for i in range(3)], axis=0)
    assert len({tuple(o) for o in orders.T}) == 6
    names = ("brightness", "contrast", "saturation")
    functions = (theirs.adjust_brightness, theirs.adjust_contrast, theirs.adjust_saturation)
    for i in range(20):
        expected = pixels
        for which in orders[:, i]:
            factor = 1 + many.signed(names[which], 0.5)[i]
            expected = functions[which](expected, float(factor))
        torch.testing.assert_close(done[i], expected[0], atol=3e-4, rtol=0)


def test_a_colour_cast_shifts_some_channels_of_a_picture():
    pixels, many = torch.full((400, 3, 2, 2), 0.5), Draws(0, 0, np.arange(400))
    shift = (colour.colour_cast(pixels, many, 0.1) - 0.5)[:, :, 0, 0]
    assert shift.abs().max() <= 0.1 + 1e-6
    share = (shift != 0).float().mean(0)
    assert ((share > 0.4) & (share < 0.6)).all()


def test_pca_colour_is_one_shift_a_picture_of_the_published_size():
    many = Draws(0, 0, np.arange(4000), name="pca-colour")
    images = colour.pca_colour(torch.zeros(4000, 3, 2, 2), many, 0.1)
    assert (images == images[:, :, :1, :1]).all()
    covariance = np.cov(images[:, :, 0, 0].numpy().T)
    expected = colour.PCA_VECTORS @ np.diag((0.1 * colour.PCA_VALUES) ** 2) @ colour.PCA_VECTORS.T
    assert np.allclose(covariance, expected, rtol=0.15, atol=2e-6)


def test_edges_and_emboss_of_a_step_are_where_the_step_is():
    step = torch.zeros(1, 3, 9, 9)
    step[..., 5:] = 0.2
    edge = filters.edges(step, column([1.0]))[0, 0, 4]
    assert edge.tolist() == pytest.approx([0, 0, 0, 0, 0.8, 0.8, 0, 0, 0], abs=1e-6)
    relief = (filters.emboss(step, column([1.0])) - step)[0, 0, 4]
    assert relief[4] > 0.1 and relief[5] > 0.1 and relief[:4].abs().max() == 0
