"""Classic pipelines: local descriptors, a codebook, a vector for the picture, a support vector machine.

They follow the contract of every network: the trunk gives the map of coded descriptors, the head pools it and
gives one-vs-all scores. Nothing here learns by gradient descent; `resight train` fits them with
`resight.classic`. Parameters count only the support vector machine: codebooks, mixtures, principal components
and support vectors are buffers. Multiply-adds count products with these, not the descriptors themselves.

Sources: Lazebnik, Schmid and Ponce 2006 (dense SIFT, k-means, spatial pyramid); Perronnin, Sanchez and
Mensink 2010 (Fisher vectors); Jegou et al. 2010 (VLAD); Dalal and Triggs 2005 (HOG). Deviation: a picture is
the square that every network here takes, instead of a whole picture whose longer side is at most 300 pixels.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.models.classifier import Classifier
from resight.models.network import Network
from resight.models.operators.descriptors import SIFT, DenseSift, Hog
from resight.models.operators.encoding import (
    FisherVector,
    IntersectionKernel,
    Projection,
    Reduction,
    SpatialPyramid,
    Vlad,
    Words,
    cells_of,
    signed_root,
)

LAZEBNIK2006 = "Lazebnik et al., Beyond Bags of Features: Spatial Pyramid Matching, CVPR 2006"
PERRONNIN2010 = "Perronnin et al., Improving the Fisher Kernel for Large-Scale Classification, ECCV 2010"
JEGOU2010 = "Jegou et al., Aggregating Local Descriptors into a Compact Image Representation, CVPR 2010"
DALAL2005 = "Dalal and Triggs, Histograms of Oriented Gradients for Human Detection, CVPR 2005"

KERNELS = ("linear", "intersection")
SCALINGS = ("none", "hellinger", "l2", "standard")


class Scaling(nn.Module):
    """Scales a picture's vector, (B, D) to (B, D).

    Args:
        kind: "none"; "hellinger" (square roots: a linear kernel of them is Hellinger's); "l2" (length 1);
            "standard" (mean 0 and deviation 1 over the training pictures).
        channels: D.

    Attributes:
        mean: of "standard", (D,).
        std: the same.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, kind: str, channels: int) -> None:
        super().__init__()
        if kind not in SCALINGS:
            raise UsageError(f"scaling={kind!r} is not one of {', '.join(SCALINGS)}")
        self.kind = kind
        if kind == "standard":
            self.register_buffer("mean", torch.zeros(channels))
            self.register_buffer("std", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Return scaled vectors."""
        if self.kind == "hellinger":
            return signed_root(x)
        if self.kind == "l2":
            return F.normalize(x, dim=1)
        return (x - self.mean) / self.std if self.kind == "standard" else x


class Pipeline(Classifier):
    """A trunk of descriptors, a pooling, and a support vector machine.

    Attributes:
        pooling: turns the last map into a picture's vector (B, `pooled`).
        pooled: length of that vector.
        scaling: the head's first layer.
        svm: the head's last layer.
    """

    pooling: nn.Module
    pooled: int
    scaling: Scaling
    svm: nn.Linear

    def __init__(self, num_classes: int, in_channels: int) -> None:
        super().__init__(num_classes, in_channels, head="gap", grid=1)
        if in_channels not in (1, 3):
            raise UsageError(f"descriptors need 1 or 3 channels, not {in_channels}")

    def add_sift(self, patch: int, step: int, scales: int, norm: str, sigma: float, pca: int) -> int:
        """Add dense SIFT and, if `pca` is above 0, its principal components; return a descriptor's length."""
        if not 0 <= pca <= SIFT:
            raise UsageError(f"pca={pca}: a descriptor has {SIFT} numbers; 0 for no reduction")
        self.add("sift", "sift", DenseSift(patch, step, scales, norm, sigma))
        if pca:
            self.add("pca", "pca", Projection(SIFT, pca))
        self.num_features = scales * (pca or SIFT)
        return pca or SIFT

    def add_svm(
        self, pooled: int, scaling: str, reduce: int, kernel: str = "linear", support: int = 0
    ) -> None:
        """Add the head: scaling, reduction, kernel, and one score for each class.

        Args:
            pooled: length of the pooled vector.
            scaling: see `Scaling`.
            reduce: principal components of the scaled vector; 0 for no reduction.
            kernel: one of `KERNELS`.
            support: support vectors of the intersection kernel, found by the fit.
        """
        if kernel not in KERNELS:
            raise UsageError(f"kernel={kernel!r} is not one of {', '.join(KERNELS)}")
        if kernel == "intersection" and (reduce or scaling == "standard"):
            raise UsageError("kernel=intersection compares histograms: omit reduce= and scaling=standard")
        if support < 0 or reduce < 0:
            raise UsageError(f"support={support}, reduce={reduce} must not be negative")
        self.pooled, width = pooled, reduce or pooled
        self.add_head("scaling", Scaling(scaling, pooled))
        if reduce:
            self.add_head("reduce", Reduction(pooled, reduce))
        if kernel == "intersection":
            width = max(support, 1)
            self.add_head("kernel", IntersectionKernel(width, pooled))
        self.add_head("svm", nn.Linear(width, self.num_classes))

    def part(self, name: str) -> nn.Module | None:
        """Return sift, pca, words, reduce or kernel; None if the options omit it."""
        return self._modules.get(name)

    def pool(self, features: Tensor) -> Tensor:
        """Turn the last map (B, K, h, w) into the vector (B, `pooled`)."""
        return self.pooling(features)


class BagOfWords(Pipeline):
    """Dense SIFT, visual words, histograms of a spatial pyramid.

    Args:
        num_classes: scores.
        in_channels: channels of the image.
        words: of the codebook.
        patch: see `DenseSift`.
        step: the same.
        scales: the same.
        norm: the same.
        sigma: the same.
        pca: principal components of a descriptor; 0 for all 128 numbers.
        encoding: see `Words`.
        levels: see `SpatialPyramid`.
        kernel: "linear" or "intersection".
        scaling: see `Scaling`; "auto" is "hellinger" for the linear kernel and "none" for the other.
        reduce: principal components of the histograms; 0 for none.
        support: see `Pipeline.add_svm`.
    """

    def __init__(
        self,
        num_classes: int = 15,
        in_channels: int = 3,
        words: int = 200,
        patch: int = 16,
        step: int = 8,
        scales: int = 1,
        norm: str = "root",
        sigma: float = 1.6,
        pca: int = 0,
        encoding: str = "hard",
        levels: int = 2,
        kernel: str = "linear",
        scaling: str = "auto",
        reduce: int = 0,
        support: int = 0,
    ) -> None:
        super().__init__(num_classes, in_channels)
        width = self.add_sift(patch, step, scales, norm, sigma, pca)
        self.add("words", "words", Words(words, width, encoding))
        self.num_features = words
        self.pooling = SpatialPyramid(levels)
        if scaling == "auto":
            scaling = "none" if kernel == "intersection" else "hellinger"
        self.add_svm(words * cells_of(levels), scaling, reduce, kernel, support)


class Aggregated(Pipeline):
    """Dense SIFT, principal components, and Fisher vectors or VLAD of the descriptors about the words.

    Args:
        aggregate: `FisherVector`, whose words are Gaussians, or `Vlad`.
        num_classes: scores.
        in_channels: channels of the image.
        words: of the codebook, or Gaussians of the mixture.
        patch: see `DenseSift`.
        step: the same.
        scales: the same.
        norm: the same.
        sigma: the same.
        pca: principal components of a descriptor; 0 for all 128 numbers.
        levels: of the spatial pyramid, see `aggregate`.
        scaling: see `Scaling`.
        reduce: principal components of the vector; 0 for none.
    """

    def __init__(
        self,
        aggregate: type[FisherVector] | type[Vlad],
        num_classes: int = 20,
        in_channels: int = 3,
        words: int = 64,
        patch: int = 16,
        step: int = 8,
        scales: int = 3,
        norm: str = "root",
        sigma: float = 1.6,
        pca: int = 64,
        levels: int = 0,
        scaling: str = "none",
        reduce: int = 0,
    ) -> None:
        super().__init__(num_classes, in_channels)
        width = self.add_sift(patch, step, scales, norm, sigma, pca)
        self.pooling = aggregate(words, width, levels)
        self.add_svm(self.pooling.outputs, scaling, reduce)


class Blocks(nn.Module):
    """Blocks concatenated, (B, K, h, w) to (B, K n^2); other maps are averaged to n x n first."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, features: Tensor) -> Tensor:
        """Return the joined blocks."""
        return torch.flatten(F.adaptive_avg_pool2d(features, self.side), 1)


class HogClassifier(Pipeline):
    """Histograms of oriented gradients of every block, concatenated.

    Args:
        num_classes: scores.
        in_channels: channels of the image.
        cells: along a side of the picture.
        orientations: bins of unsigned orientation.
        scaling: see `Scaling`.
        reduce: principal components of the vector; 0 for none.
    """

    def __init__(
        self,
        num_classes: int = 2,
        in_channels: int = 3,
        cells: int = 16,
        orientations: int = 9,
        scaling: str = "l2",
        reduce: int = 0,
    ) -> None:
        super().__init__(num_classes, in_channels)
        hog = self.add("hog", "hog", Hog(cells, orientations))
        self.num_features = hog.channels
        self.pooling = Blocks(cells - 1)
        self.add_svm(hog.channels * (cells - 1) ** 2, scaling, reduce)


FAMILY = "classic"
NETWORKS = {
    "bovw": Network(partial(BagOfWords), FAMILY, 2006, LAZEBNIK2006, 256, 15, least_size=16),
    "fisher": Network(partial(Aggregated, FisherVector), FAMILY, 2010, PERRONNIN2010, 256, 20, least_size=16),
    "vlad": Network(partial(Aggregated, Vlad), FAMILY, 2010, JEGOU2010, 256, 20, least_size=16),
    "hog-svm": Network(partial(HogClassifier), FAMILY, 2005, DALAL2005, 128, 2, least_size=16),
}
