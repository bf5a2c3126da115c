"""Fits a pipeline: first the descriptors of the pictures, then codebook, vectors and SVM."""

import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resight.classic.recipe import ClassicRecipe
from resight.classic.svm import Machine, cross_validate, edge_of, gram_of, kernel_machine, linear_machine
from resight.core.console import counted
from resight.core.errors import UsageError
from resight.models.families.classic import Pipeline
from resight.models.operators.descriptors import SIFT, DenseSift
from resight.models.operators.encoding import (
    NEAREST,
    FisherVector,
    IntersectionKernel,
    Projection,
    Vlad,
    Words,
)

Batches = Callable[[], Iterator[Tensor]]
"""Goes through all training images, (B, C, S, S) in [0, 1], always in the same order."""


@dataclass
class Fitted:
    """The results of a fit, in addition to those stored in the network.

    Attributes:
        c: the chosen weight of the loss.
        errors: in cross-validation, in percent, by C; empty if nothing was compared.
        scores: of the training pictures, (N, classes).
        vectors: their number and length, (N, D).
        support: support vectors of a kernel; 0 without one.
        seconds: of each step, by its name.
    """

    c: float
    errors: dict[float, float]
    scores: Tensor
    vectors: tuple[int, int]
    support: int
    seconds: dict[str, float] = field(default_factory=dict)


class Clock:
    """Measures and reports the time of each step, and checks whether to stop."""

    def __init__(self, say: Callable[[str], None], check: Callable[[], None]) -> None:
        self.say, self.check = say, check
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def done(self, step: str, words: str) -> None:
        """Note that a step is done."""
        now = time.perf_counter()
        self.seconds[step], self._last = now - self._last, now
        self.say(f"{step}: {words}, {self.seconds[step]:.1f} s")
        self.check()


@torch.no_grad()
def fit_pipeline(
    model: Pipeline,
    batches: Batches,
    labels: Tensor,
    groups: Tensor,
    recipe: ClassicRecipe,
    say: Callable[[str], None] = lambda _: None,
    check: Callable[[], None] = lambda: None,
) -> Fitted:
    """Fit everything that a pipeline learns; the network is changed in place.

    Descriptors that fit in memory are kept there as bytes and computed only once; vectors are always kept.

    Args:
        model: fresh, in eval mode, on the CPU.
        batches: the training images.
        labels: (N,), every class among them.
        groups: (N,); copies of one picture share a number, and stay together in cross-validation.
        recipe: the settings.
        say: gets one line for each step.
        check: called between steps and batches; an exception from it ends the fit.

    Raises:
        UsageError: if the options ask for more words or components than the pictures allow.
    """
    clock = Clock(say, check)
    described = batches
    sift = model.part("sift")
    if isinstance(sift, DenseSift):
        described = _described(sift, batches, len(labels), recipe, clock)
        _learn_codebook(model, _drawn(described, len(labels), recipe, check), recipe, clock)
    parts = []
    for maps in counted(described(), "coding pictures, batches"):
        check()
        parts.append(model.pool(_coded(model, maps)))
    vectors = torch.cat(parts)
    clock.done("vectors", f"{len(vectors):,} of {vectors.shape[1]:,} numbers")
    vectors = _scaled(model, vectors, recipe, clock)
    return _learn_machine(model, vectors, labels, groups, recipe, clock)


def _described(sift: DenseSift, batches: Batches, count: int, recipe: ClassicRecipe, clock: Clock) -> Batches:
    """Return an iterable over the descriptors of all pictures; computed once if they fit in memory."""
    kept: list[Tensor] = []
    for images in counted(batches(), "describing pictures, batches"):
        clock.check()
        raw = sift.raw(images)
        if raw[0].numel() * count > recipe.memory_gib * 2**30:
            clock.say("descriptors: too many for memory_gib=, recomputed when needed")
            return lambda: (sift(images) for images in batches())
        kept.append(raw.to(torch.uint8))
    clock.done("descriptors", f"{kept[0][0].numel() // SIFT:,} a picture")
    return lambda: (sift.normalized(raw.float()) for raw in kept)


def _coded(model: Pipeline, maps: Tensor) -> Tensor:
    """Return the last maps from descriptors, or from the pictures if no layer before the map is learned."""
    if model.part("sift") is None:
        return model.forward_features(maps)
    for name in ("pca", "words"):
        layer = model.part(name)
        maps = maps if layer is None else layer(maps)
    return maps


def _drawn(described: Batches, count: int, recipe: ClassicRecipe, check: Callable[[], None]) -> Tensor:
    """Return descriptors (N, 128), equally many from each picture, without those of flat patches."""
    generator = torch.Generator().manual_seed(recipe.seed)
    each = -(-recipe.descriptors // count)
    drawn = []
    for maps in counted(described(), "drawing descriptors, batches"):
        check()
        rows = maps.unflatten(1, (-1, SIFT)).permute(0, 1, 3, 4, 2).flatten(1, 3)
        chosen = torch.rand(rows.shape[:2], generator=generator).argsort(1)[:, :each]
        drawn.append(rows.gather(1, chosen[..., None].expand(-1, -1, SIFT)).flatten(0, 1))
    every = torch.cat(drawn)
    return every[every.any(1)]


def _learn_codebook(model: Pipeline, sample: Tensor, recipe: ClassicRecipe, clock: Clock) -> None:
    """Learn principal components of the descriptors, then words or a mixture."""
    projection, pooling, words = model.part("pca"), model.pooling, model.part("words")
    if isinstance(projection, Projection):
        _learn_components(projection, sample, "pca", recipe)
        sample = sample.sub(projection.mean) @ projection.basis.T
    if isinstance(pooling, FisherVector):
        _require(len(sample), len(pooling.means), "words")
        _learn_mixture(pooling, sample, recipe.seed)
        number, kind = len(pooling.means), "Gaussians"
    else:
        layer = words if isinstance(words, Words) else pooling
        assert isinstance(layer, Words | Vlad)  # the other poolings have no words
        _require(len(sample), len(layer.centres), "words")
        layer.centres.copy_(_means(sample, len(layer.centres), recipe.seed))
        if isinstance(layer, Words):
            layer.beta.copy_(_sharpness(layer, sample))
        number, kind = len(layer.centres), "words"
    clock.done("codebook", f"{number} {kind} from {len(sample):,} descriptors of {sample.shape[1]} numbers")


def _require(found: int, wanted: int, name: str) -> None:
    if found < wanted:
        raise UsageError(
            f"{name}={wanted}: the training pictures give only {found} descriptors; lower {name}="
        )


def _learn_components(layer: Projection, sample: Tensor, option: str, recipe: ClassicRecipe) -> None:
    """Set a layer to the principal components of vectors (N, D)."""
    from sklearn.decomposition import PCA

    count = len(layer.basis)
    if count > len(sample):
        raise UsageError(f"{option}={count}: {len(sample)} vectors have no more components; lower {option}=")
    pca = PCA(count, random_state=recipe.seed).fit(sample.numpy())
    layer.mean.copy_(torch.from_numpy(np.asarray(pca.mean_)))
    layer.basis.copy_(torch.from_numpy(np.ascontiguousarray(pca.components_)))


def _means(sample: Tensor, words: int, seed: int) -> Tensor:
    """Return the centres of k-means (K, D)."""
    from sklearn.cluster import MiniBatchKMeans

    runs: Any = 3
    machine = MiniBatchKMeans(words, random_state=seed, n_init=runs, batch_size=4096, max_iter=100)
    return torch.from_numpy(machine.fit(sample.numpy()).cluster_centers_).float()


def _sharpness(words: Words, sample: Tensor) -> Tensor:
    """Return the beta that on average gives the nearest word e times the share of the next few."""
    some, few = sample[:: max(1, len(sample) // 5000)], min(NEAREST, len(words.centres))
    near = torch.cdist(some, words.centres).square().topk(few, largest=False).values
    return 1 / (near[:, 1:].mean() - near[:, 0].mean()).clamp(min=1e-6)


def _learn_mixture(layer: FisherVector, sample: Tensor, seed: int) -> None:
    """Set a Fisher vector's mixture by expectation maximization."""
    from skimage.feature import learn_gmm

    arguments = {
        "covariance_type": "diag",
        "random_state": seed,
        "max_iter": 50,
        "reg_covar": 1e-5,
        "tol": 1e-2,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it has converged well enough after 50 rounds
        mixture = learn_gmm([sample.double().numpy()], n_modes=len(layer.means), gm_args=arguments)
    layer.shares.copy_(torch.from_numpy(mixture.weights_).clamp(min=1e-6))
    layer.means.copy_(torch.from_numpy(mixture.means_))
    layer.variances.copy_(torch.from_numpy(mixture.covariances_))


def _scaled(model: Pipeline, vectors: Tensor, recipe: ClassicRecipe, clock: Clock) -> Tensor:
    """Fit and apply scaling and reduction of the pictures' vectors."""
    scaling, reduction = model.scaling, model.part("reduce")
    if scaling.kind == "standard":
        scaling.mean.copy_(vectors.mean(0))
        # Nearly constant values are not amplified.
        deviation = vectors.std(0)
        scaling.std.copy_(deviation.clamp(min=float(deviation.max()) / 100 + 1e-12))
    vectors = scaling(vectors)
    if isinstance(reduction, Projection):
        _learn_components(reduction, vectors, "reduce", recipe)
        vectors = reduction(vectors)
        clock.done("reduction", f"to {vectors.shape[1]:,} numbers")
    return vectors


def _learn_machine(
    model: Pipeline, vectors: Tensor, labels: Tensor, groups: Tensor, recipe: ClassicRecipe, clock: Clock
) -> Fitted:
    """Choose C, fit the SVM to all vectors, and put it into the network."""
    classes, is_kernel = model.num_classes, model.part("kernel") is not None
    errors: dict[float, float] = {}
    c = recipe.c[len(recipe.c) // 2]
    if len(recipe.c) > 1:
        errors = cross_validate(
            vectors, labels, groups, classes, recipe.c, recipe.folds, recipe.seed,
            kernel=is_kernel, check=clock.check,
        )  # fmt: skip
        if errors:
            c = min(errors, key=lambda value: errors[value])
            clock.done("C", ", ".join(f"{value:g}: {error:.2f} %" for value, error in errors.items()))
            if edge := edge_of(errors):
                clock.say(edge)
        else:
            clock.say(f"C: {c:g}, not compared: no class has two training pictures")
    if is_kernel:
        gram = gram_of(vectors)
        machine = kernel_machine(gram, labels, classes, c)
        assert machine.support is not None
        _put(model, machine, vectors[machine.support])
        scores = gram[:, machine.support] @ machine.weight.T + machine.bias
        support = len(machine.support)
        clock.done("machine", f"C = {c:g}, {support:,} support vectors")
    else:
        machine = linear_machine(vectors, labels, classes, c, recipe.seed)
        _put(model, machine, None)
        scores, support = vectors @ machine.weight.T + machine.bias, 0
        clock.done("machine", f"C = {c:g}")
    return Fitted(c, errors, scores, (len(vectors), vectors.shape[1]), support, clock.seconds)


def _put(model: Pipeline, machine: Machine, support: Tensor | None) -> None:
    """Put the SVM into the network; the kernel's layers take the shape of its support vectors."""
    kernel = model.part("kernel")
    if support is not None and isinstance(kernel, IntersectionKernel):
        kernel.vectors = support.contiguous()
        model.svm = nn.Linear(len(support), model.num_classes)
        model.options = {**model.options, "support": len(support)}
    model.svm.weight.copy_(machine.weight)
    model.svm.bias.copy_(machine.bias)
