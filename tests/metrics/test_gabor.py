"""Gabor functions fitted to planted ones, and to noise."""

import math

import torch

from resight.metrics.gabor import fit_gabors, noise_floor


def gabor(side, direction, wavelength, sigma, ratio, phase, x0, y0):
    """Marcelja's formula, written out. The stripes stand across `direction`, in radians, y down."""
    filters = torch.zeros(side, side)
    for i in range(side):
        for j in range(side):
            x, y = j - (side - 1) / 2 - x0, i - (side - 1) / 2 - y0
            u = x * math.cos(direction) + y * math.sin(direction)
            v = y * math.cos(direction) - x * math.sin(direction)
            window = math.exp(-(u * u + ratio * ratio * v * v) / (2 * sigma * sigma))
            filters[i, j] = window * math.cos(2 * math.pi * u / wavelength + phase)
    return filters


def test_planted_gabors_are_found():
    generator = torch.Generator().manual_seed(2)
    draws = torch.rand(24, 7, generator=generator).tolist()
    colours = torch.randn(24, 3, 1, 1, generator=generator)
    rows, planted = [], []
    for r in draws:
        direction, wave = math.pi * r[0], 3 + 5 * r[1]
        rows.append((direction, wave))
        planted.append(
            gabor(
                11, direction, wave, 1.6 + 2 * r[2], 0.6 + 0.6 * r[3], 6.28 * r[4], 2 * r[5] - 1, 2 * r[6] - 1
            )
        )
    patterns = torch.stack(planted)[:, None] * colours
    fit = fit_gabors(patterns + 0.3)  # a constant takes nothing away
    assert fit.r2.min() > 0.99
    stripes = torch.tensor([(90 - math.degrees(d)) % 180 for d, _ in rows])
    off = (fit.orientation - stripes).abs()
    assert torch.minimum(off, 180 - off).max() < 1
    assert (fit.wavelength / torch.tensor([w for _, w in rows]) - 1).abs().max() < 0.05
    centred = patterns - patterns.mean((2, 3), keepdim=True)
    torch.testing.assert_close(fit.filters, centred, rtol=0, atol=0.1 * float(centred.abs().max()))


def test_orientation_is_that_of_the_stripes():
    upright, lying = gabor(7, 0, 4, 2, 1, 0, 0, 0), gabor(7, math.pi / 2, 4, 2, 1, 0, 0, 0)
    assert torch.equal(upright[0].sign(), upright[-1].sign())  # columns
    fit = fit_gabors(torch.stack([upright, lying])[:, None])
    assert abs(float(fit.orientation[0]) - 90) < 0.5
    assert min(float(fit.orientation[1]), 180 - float(fit.orientation[1])) < 0.5
    assert fit.directed.all()


def test_noise_is_no_gabor_and_less_so_in_larger_filters():
    noise = torch.randn(60, 3, 7, 7, generator=torch.Generator().manual_seed(9))
    fit = fit_gabors(noise)
    assert fit.r2.max() < 0.4
    floors = [noise_floor(3, side) for side in (5, 7, 11)]
    assert floors[0] > floors[1] > floors[2] and (fit.r2 < 1.3 * floors[1]).float().mean() > 0.9
    assert noise_floor(1, 5) > 0.5  # 25 values tell nothing


def test_half_a_gabor_in_another_colour_counts_as_unexplained():
    pattern, other = gabor(9, 0.4, 5, 2.5, 1, 0, 0, 0), gabor(9, 2.0, 3, 1.5, 1, 1, 1, -1)
    red = torch.stack([pattern, torch.zeros(9, 9), torch.zeros(9, 9)])
    mixed = torch.stack([pattern, other / other.norm() * pattern.norm(), torch.zeros(9, 9)])
    alone, both = fit_gabors(torch.stack([red, mixed])).r2.tolist()
    assert alone > 0.99 and both < 0.75


def test_a_round_spot_has_no_direction_and_a_dead_filter_no_fit():
    spot = gabor(7, 0, 1e6, 1.3, 1, 0, 0, 0)
    fit = fit_gabors(torch.stack([spot, torch.zeros(7, 7), torch.full((7, 7), 0.4)])[:, None])
    assert fit.r2[0] > 0.98 and not fit.directed[0]
    assert fit.r2[1:].tolist() == [0, 0] and fit.filters.isfinite().all()


def test_the_same_filters_get_the_same_fit_and_random_state_is_left():
    torch.manual_seed(4)
    state = torch.random.get_rng_state()
    filters = torch.randn(4, 3, 7, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with torch.inference_mode():
        first = fit_gabors(filters)
    assert torch.equal(first.r2, fit_gabors(filters).r2) and filters.grad is None
    noise_floor(1, 5)
    assert torch.equal(state, torch.random.get_rng_state())
