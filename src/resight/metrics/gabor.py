"""Gabor functions fitted to the filters of a first layer.

A Gabor function is a grating under a Gaussian window (Marcelja 1980; Daugman 1985, of receptive fields in the
visual cortex):

    g(x, y) = exp(-(u^2 + ratio^2 v^2) / (2 sigma^2)) cos(2 pi u / wavelength + phase)

with u along the direction in which the grating changes and v across it.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

LEAST_SIDE = 5
"""A smaller filter has too few values: a 3x3 one has 9 per colour, the function 6 parameters and a phase."""
GOOD = 0.7
"""A fit that explains more than this share of a filter's variance is called good."""
STARTS, STEPS, RATE = 3, 120, 0.08
"""Number of best grid points that are refined, and Adam's steps and rate."""
NOISE = 100
"""Number of noise filters that the same fit is applied to."""


@dataclass(frozen=True)
class GaborFit:
    """The Gabor function closest to each of N filters.

    Attributes:
        r2: share of the filter's variance about each colour's mean that it explains, (N,).
        orientation: of its stripes, in degrees from horizontal, counter-clockwise, in [0, 180), (N,).
        wavelength: in pixels of the filter; at most four times its side, (N,).
        directed: whether the fitted function has a direction, or is a round spot, (N,).
        filters: the functions in the filters' own colours, without the mean, (N, C, k, k).
    """

    r2: Tensor
    orientation: Tensor
    wavelength: Tensor
    directed: Tensor
    filters: Tensor


@torch.inference_mode(mode=False)
def fit_gabors(filters: Tensor) -> GaborFit:
    """Fit a Gabor function to each filter by least squares.

    The filter, less each colour's mean, is first approximated by one pattern times one colour (the first
    singular vectors). The function, plus a constant, is fitted to the pattern. What the approximation loses
    counts as unexplained. Amplitude, phase and constant follow in closed form from the other six parameters
    (variable projection); these start from the best points of a grid and are refined with Adam. Nothing is
    random.

    Args:
        filters: (N, C, k, k), k at least `LEAST_SIDE`.
    """
    count, side = len(filters), filters.shape[-1]
    own = filters.detach().float().cpu().flatten(2).clone()
    values = own - own.mean(2, keepdim=True)
    left, strength, right = torch.linalg.svd(values, full_matrices=False)
    pattern, colour = right[:, 0], left[:, :, 0] * strength[:, :1]
    pattern = pattern / pattern.norm(dim=1, keepdim=True).clamp(min=1e-12)  # of a zero filter too
    grid = _grid(side)
    explained = _explained(_basis(grid, side), pattern)  # (places of the grid, N)
    starts = grid[explained.topk(STARTS, 0).indices]  # (STARTS, N, 6)
    words = _refined(starts, pattern, side)
    with torch.no_grad():
        shares = torch.stack([_share(_basis(w, side), pattern) for w in words])
        best = shares.max(0)
        chosen = words[best.indices, torch.arange(count)]
        basis = _basis(chosen, side)
        fitted = torch.einsum("nkp,nk->np", basis, torch.einsum("nkp,np->nk", basis, pattern))
    total = strength.square().sum(1)
    r2 = best.values * strength[:, 0].square() / total.clamp(min=1e-30)
    r2 = torch.where(
        total > 1e-9 * own.square().sum((1, 2)), r2, torch.zeros_like(r2)
    )  # a flat one is rounding
    along = chosen[:, 2]
    return GaborFit(
        r2.float(),
        ((90 - along.rad2deg()) % 180).float(),
        _wavelength(chosen[:, 3], side).float(),
        _directed(fitted.unflatten(1, (side, side))),
        (colour[..., None] * fitted[:, None]).float().unflatten(2, (side, side)),
    )


def noise_floor(colours: int, side: int, seed: int = 0) -> float:
    """Return the R^2 that 95 of 100 noise filters stay below, by the same fit."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(NOISE, colours, side, side, generator=generator)
    return float(fit_gabors(noise).r2.quantile(0.95))


def _grid(side: int) -> Tensor:
    """Return the starting points of the search: (places, 6), see `_basis`."""
    angles = torch.arange(8) * math.pi / 8
    waves = torch.tensor([2.5, 0.4 * side, 0.7 * side, 1.2 * side, 2.5 * side])
    sigmas = torch.tensor([0.15, 0.25, 0.45]) * side
    centres = torch.tensor([-0.25, 0.0, 0.25]) * side
    ratios = torch.tensor([0.5, 1.0])
    waves = ((waves.clamp(2.01, 3.99 * side) - 2) / (4 * side - 2)).logit()
    sigmas = ((sigmas.clamp(0.51, 0.99 * side) - 0.5) / (side - 0.5)).logit()
    return torch.cartesian_prod(centres, centres, angles, waves, sigmas, ratios.log())


def _wavelength(word: Tensor, side: int) -> Tensor:
    return 2 + (4 * side - 2) * word.sigmoid()


def _basis(words: Tensor, side: int) -> Tensor:
    """Return two orthonormal patterns (..., 2, side^2) of mean 0 that span the Gabor functions of any phase.

    Args:
        words: (..., 6): centre x and y from the middle, direction in radians, then wavelength (2 to 4 sides),
            sigma (half a pixel to a side) as logits of their place in these ranges, and log of the ratio.
        side: of the filters.
    """
    x0, y0, along, wave, sigma, ratio = (w[..., None] for w in words.unbind(-1))
    line = torch.arange(side, dtype=words.dtype) - (side - 1) / 2
    y, x = (c.flatten() for c in torch.meshgrid(line, line, indexing="ij"))
    u = (x - x0) * along.cos() + (y - y0) * along.sin()
    v = (y - y0) * along.cos() - (x - x0) * along.sin()
    width = 0.5 + (side - 0.5) * sigma.sigmoid()
    window = (-(u**2 + (ratio.clamp(-1.2, 1.2).exp() * v) ** 2) / (2 * width**2)).exp()
    phase = 2 * math.pi * u / _wavelength(wave, side)
    even, odd = (_centred(window * wave) for wave in (phase.cos(), phase.sin()))
    even = even / (even.norm(dim=-1, keepdim=True) + 1e-9)
    odd = odd - (odd * even).sum(-1, keepdim=True) * even
    return torch.stack([even, odd / (odd.norm(dim=-1, keepdim=True) + 1e-9)], -2)


def _centred(values: Tensor) -> Tensor:
    return values - values.mean(-1, keepdim=True)


def _explained(basis: Tensor, patterns: Tensor) -> Tensor:
    """Return the share that each of P bases (P, 2, k^2) explains of each of N patterns (N, k^2): (P, N)."""
    return (basis @ patterns.T).square().sum(1)


def _share(basis: Tensor, patterns: Tensor) -> Tensor:
    """Return the share that each pattern's own basis (N, 2, k^2) explains, (N,)."""
    return (basis * patterns[:, None]).sum(-1).square().sum(-1)


def _refined(starts: Tensor, patterns: Tensor, side: int) -> Tensor:
    """Return the parameters (STARTS, N, 6) of the highest share, refined from their starting points."""
    flat = patterns.expand(len(starts), -1, -1).flatten(0, 1)
    with torch.enable_grad():
        words = starts.flatten(0, 1).clone().requires_grad_()
        optimizer = torch.optim.Adam([words], RATE)
        for step in range(STEPS):
            optimizer.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
            optimizer.zero_grad()
            (-_share(_basis(words, side), flat).sum()).backward()
            optimizer.step()
    return words.detach().unflatten(0, starts.shape[:2])


def _directed(patterns: Tensor) -> Tensor:
    """Return whether patterns (N, k, k) change mainly along one direction, (N,).

    Criterion on the structure tensor: the larger of the mean squared slopes along its two axes is at least
    three times the smaller.
    """
    down, right = torch.gradient(patterns, dim=(1, 2))
    a, b, c = ((p * q).mean((1, 2)) for p, q in ((right, right), (right, down), (down, down)))
    spread = ((a - c).square() + 4 * b.square()).sqrt()
    return spread >= 0.5 * (a + c).clamp(min=1e-30)
