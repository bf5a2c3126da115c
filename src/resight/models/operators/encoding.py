"""From local descriptors to a vector for a picture: codebooks, pyramids, Fisher vectors, VLAD.

Everything learned is a buffer, whose shape follows from the options, so that a model file holds it;
`resight.classic` fits it. A fresh buffer is random, so that the network runs. Notation: T descriptors a
picture, D numbers a descriptor, K words, n x n cells at the finest level of a pyramid.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError

NEAREST = 5
"""Number of nearest words that share a descriptor in soft assignment (Liu et al. 2011, section 4)."""
ENCODINGS = ("hard", "soft", "triangle")
MOST_LEVEL = 4


class Projection(nn.Module):
    """Principal components of every descriptor: (B, S * D, h, w) to (B, S * D', h, w).

    Args:
        channels: D.
        components: D'.

    Attributes:
        mean: (D,).
        basis: (D', D), orthonormal rows.
    """

    mean: Tensor
    basis: Tensor

    def __init__(self, channels: int, components: int) -> None:
        super().__init__()
        if not 1 <= components <= channels:
            raise UsageError(f"{components} principal components: must be 1 to {channels}")
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("basis", torch.eye(components, channels))
        self.dense_inputs = channels  # what an output reads, for the summary

    def forward(self, x: Tensor) -> Tensor:
        """Project every descriptor of a map."""
        width = self.mean.shape[0]
        scales = x.shape[1] // width
        each = x.unflatten(1, (scales, width)).flatten(0, 1) - self.mean[:, None, None]
        return F.conv2d(each, self.basis[:, :, None, None]).unflatten(0, (-1, scales)).flatten(1, 2)


class Reduction(Projection):
    """Principal components of a vector: (N, D) to (N, D')."""

    def forward(self, x: Tensor) -> Tensor:
        """Project vectors."""
        return F.linear(x - self.mean, self.basis)


class Words(nn.Module):
    """Assignment of the descriptors at each position to codebook words: (B, S * D, h, w) to (B, K, h, w).

    The assignments of several patch sizes at a position are summed.

    Args:
        words: K.
        channels: D.
        encoding: "hard": 1 for the nearest word (Lazebnik et al. 2006). "soft": shares of the five nearest,
            exp(-beta d^2) over their sum (Liu et al. 2011, equation 6). "triangle": max(0, mean distance -
            distance) (Coates, Ng and Lee 2011, equation 3).

    Attributes:
        centres: (K, D).
        beta: of "soft", (); fitted to the spacing of the words.
    """

    centres: Tensor
    beta: Tensor

    def __init__(self, words: int, channels: int, encoding: str) -> None:
        super().__init__()
        if encoding not in ENCODINGS:
            raise UsageError(f"encoding={encoding!r} is not one of {', '.join(ENCODINGS)}")
        if words < 2:
            raise UsageError(f"words={words} must be 2 or more")
        self.encoding = encoding
        self.register_buffer("centres", torch.rand(words, channels) / channels**0.5)
        self.register_buffer("beta", torch.tensor(10.0))
        self.dense_inputs = channels

    def forward(self, features: Tensor) -> Tensor:
        """Return the assignments of a map."""
        width = self.centres.shape[1]
        scales = features.shape[1] // width
        each = features.unflatten(1, (scales, width)).flatten(0, 1)
        shares = self.shares(squared_distances(each, self.centres))
        return shares.unflatten(0, (-1, scales)).sum(1)

    def shares(self, distances: Tensor) -> Tensor:
        """Turn squared distances (N, K, h, w) into assignments (N, K, h, w)."""
        if self.encoding == "triangle":
            plain = distances.clamp(min=0).sqrt()
            return (plain.mean(1, keepdim=True) - plain).clamp(min=0)
        # Not zeros_like: a request for the gradient at the pixels must fail with an error.
        nothing = 0 * distances
        if self.encoding == "hard":
            nearest = distances.argmin(1, keepdim=True)
            return nothing.scatter(1, nearest, torch.ones_like(distances))
        near = distances.topk(min(NEAREST, self.centres.shape[0]), dim=1, largest=False)
        weights = (-self.beta * near.values).softmax(1)
        return nothing.scatter(1, near.indices, weights)


def squared_distances(features: Tensor, centres: Tensor) -> Tensor:
    """Return |x - c|^2 of every position of a map (N, D, h, w) and every centre (K, D): (N, K, h, w)."""
    products = F.conv2d(features, centres[:, :, None, None])
    own = features.square().sum(1, keepdim=True)
    return own - 2 * products + centres.square().sum(1)[:, None, None]


def cell_bounds(extent: int, cells: int) -> list[int]:
    """Return the starts of the cells along a side and the end of the last; cells nest in coarser ones."""
    return [extent * number // cells for number in range(cells + 1)]


class SpatialPyramid(nn.Module):
    """Histograms of 1, 4, 16, ... cells, weighted: (B, K, h, w) to (B, K * cells).

    Level l has 2^l x 2^l cells and the weight 2^-L for l = 0, else 2^-(L - l + 1), so that one intersection
    of two such vectors is the pyramid match kernel; counts are divided by the picture's total (Lazebnik et
    al. 2006, equations 1 to 3). Order: coarse levels first; in a level, cells by rows; in a cell, words.

    Args:
        levels: L, the finest level; 0 for one histogram.

    Raises:
        UsageError: if there are too many levels.
    """

    def __init__(self, levels: int) -> None:
        super().__init__()
        if not 0 <= levels <= MOST_LEVEL:
            raise UsageError(f"levels={levels} must be 0 to {MOST_LEVEL}")
        self.levels = levels
        self.weights = level_weights(levels)

    def forward(self, features: Tensor) -> Tensor:
        """Return the weighted histograms."""
        finest = 2**self.levels
        rows, columns = (cell_bounds(int(extent), finest) for extent in features.shape[2:])
        sums = torch.stack([features[:, :, a:b].sum(2) for a, b in pairwise(rows)], 2)
        sums = torch.stack([sums[..., a:b].sum(3) for a, b in pairwise(columns)], 3)
        total = sums.sum((1, 2, 3), keepdim=True).clamp(min=1e-12)
        cells = sums / total
        parts = []
        for level in range(self.levels, -1, -1):
            parts.append(self.weights[level] * cells.permute(0, 2, 3, 1).flatten(1))
            if level:
                cells = 4 * F.avg_pool2d(cells, 2)
        return torch.cat(parts[::-1], 1)


def level_weights(levels: int) -> list[float]:
    """Return the weight of each level of a pyramid match, coarsest first; they sum to 1."""
    return [2.0**-levels, *(2.0 ** -(levels - level + 1) for level in range(1, levels + 1))]


def cells_of(levels: int) -> int:
    """Return the cells of all levels together."""
    return sum(4**level for level in range(levels + 1))


class CellPooling(nn.Module):
    """A vector for each cell of a pyramid, from the descriptors in it; power and L2 normalized, joined.

    Args:
        channels: D.
        levels: the finest level; every cell counts alike, as in Perronnin et al. 2010, section 3.3.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        if not 0 <= levels <= MOST_LEVEL:
            raise UsageError(f"levels={levels} must be 0 to {MOST_LEVEL}")
        self.channels, self.levels = channels, levels

    def forward(self, features: Tensor) -> Tensor:
        """Turn a map (B, S * D, h, w) into vectors of length 1, (B, cells * ...)."""
        height, width = (int(extent) for extent in features.shape[2:])
        each = features.unflatten(1, (-1, self.channels)).permute(0, 1, 3, 4, 2)
        parts = []
        for level in range(self.levels + 1):
            rows, columns = cell_bounds(height, 2**level), cell_bounds(width, 2**level)
            for top, bottom in pairwise(rows):
                for left, right in pairwise(columns):
                    cell = each[:, :, top:bottom, left:right].flatten(1, 3)
                    parts.append(F.normalize(signed_root(self.encode(cell)), dim=1))
        return torch.cat(parts, 1) / len(parts) ** 0.5

    def encode(self, descriptors: Tensor) -> Tensor:
        """Return the vectors (B, ...) of the descriptors (B, T, D) of a cell."""
        raise NotImplementedError


class FisherVector(CellPooling):
    """Fisher vectors of a mixture of Gaussians: (B, S * D, h, w) to (B, 2KD * cells).

    Covariances are diagonal. Means, then deviations; the block of weights is left out. Improved: signed
    square roots and length 1 (Perronnin, Sanchez and Mensink 2010, sections 2 and 3).

    Args:
        words: K.
        channels: D.
        levels: see `CellPooling`.

    Attributes:
        shares: weights of the Gaussians, (K,).
        means: (K, D).
        variances: (K, D).
    """

    shares: Tensor
    means: Tensor
    variances: Tensor

    def __init__(self, words: int, channels: int, levels: int) -> None:
        super().__init__(channels, levels)
        if words < 1:
            raise UsageError(f"words={words} must be 1 or more")
        self.register_buffer("shares", torch.full((words,), 1 / words))
        self.register_buffer("means", torch.randn(words, channels) / channels**0.5)
        self.register_buffer("variances", torch.full((words, channels), 1 / channels))
        self.outputs = 2 * words * channels * cells_of(levels)

    def posteriors(self, descriptors: Tensor) -> Tensor:
        """Return the posteriors of the Gaussians for descriptors: (B, T, D) to (B, T, K), rows sum to 1."""
        precisions = 1 / self.variances
        quadratic = descriptors.square() @ precisions.T - 2 * (descriptors @ (self.means * precisions).T)
        own = (self.means.square() * precisions + self.variances.log()).sum(1)
        return (self.shares.log() - 0.5 * (quadratic + own)).softmax(2)

    def encode(self, descriptors: Tensor) -> Tensor:
        """Return the gradients with respect to means and deviations, (B, 2KD), not yet normalized."""
        count = max(descriptors.shape[1], 1)
        gamma = self.posteriors(descriptors).transpose(1, 2)
        zeroth = gamma.sum(2)[..., None]
        first, second = gamma @ descriptors, gamma @ descriptors.square()
        sigma, root = self.variances.sqrt(), self.shares.sqrt()[:, None]
        by_mean = (first - zeroth * self.means) / (sigma * root)
        squares = second - 2 * first * self.means + zeroth * self.means.square()
        by_sigma = (squares / self.variances - zeroth) / (2**0.5 * root)
        return torch.cat([by_mean, by_sigma], 1).flatten(1) / count


class Vlad(CellPooling):
    """Vectors of locally aggregated descriptors: (B, S * D, h, w) to (B, KD * cells).

    v_k is the sum of x - c_k over the descriptors whose nearest centre is c_k (Jegou et al. 2010, equation
    1); signed square roots and length 1 (Jegou et al. 2012, section 3).

    Args:
        words: K.
        channels: D.
        levels: see `CellPooling`.

    Attributes:
        centres: (K, D).
    """

    centres: Tensor

    def __init__(self, words: int, channels: int, levels: int) -> None:
        super().__init__(channels, levels)
        if words < 1:
            raise UsageError(f"words={words} must be 1 or more")
        self.register_buffer("centres", torch.randn(words, channels) / channels**0.5)
        self.outputs = words * channels * cells_of(levels)

    def encode(self, descriptors: Tensor) -> Tensor:
        """Return the sums of differences, (B, KD), not yet normalized."""
        distances = self.centres.square().sum(1) - 2 * (descriptors @ self.centres.T)
        nearest = distances.argmin(2, keepdim=True)
        chosen = torch.zeros_like(distances).scatter(2, nearest, torch.ones_like(distances)).transpose(1, 2)
        return (chosen @ descriptors - chosen.sum(2)[..., None] * self.centres).flatten(1)


def signed_root(x: Tensor) -> Tensor:
    """Return sign(x) sqrt(|x|); its gradient at 0 is 0, so that absent words get no saliency."""
    there = x != 0
    return torch.where(there, x.sign() * torch.where(there, x, torch.ones_like(x)).abs().sqrt(), 0 * x)


class IntersectionKernel(nn.Module):
    """The sum of minima of a vector and each support vector: (B, D) to (B, N).

    Args:
        support: N.
        channels: D.

    Attributes:
        vectors: the support vectors, (N, D), not negative.
    """

    vectors: Tensor

    def __init__(self, support: int, channels: int) -> None:
        super().__init__()
        self.register_buffer("vectors", torch.full((support, channels), 1 / channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return the kernel's values."""
        return intersections(x, self.vectors).to(x.dtype)


def intersections(x: Tensor, y: Tensor) -> Tensor:
    """Return the sum over d of min(x_d, y_d) for every pair of rows (N, D), (M, D): (N, M) float32.

    It uses min(a, b) = (a + b - |a - b|) / 2 and the L1 distance, which never needs an N x M x D array.
    """
    x, y = x.float(), y.float()
    return (x.sum(1)[:, None] + y.sum(1) - torch.cdist(x, y, p=1)) / 2
