"""One-vs-all support vector machines, linear and with a kernel, and the choice of their C."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.core.console import counted
from resight.models.operators.encoding import intersections

CHOOSE_ON = 4000
"""C is chosen on about this many samples, including mirrored ones."""


@dataclass(frozen=True)
class Machine:
    """A support vector machine.

    Attributes:
        weight: (classes, D), over vectors; under a kernel (classes, N), over its support vectors.
        bias: (classes,).
        support: rows of the training set that are support vectors, (N,); None without a kernel.
    """

    weight: Tensor
    bias: Tensor
    support: Tensor | None = None


def linear_machine(vectors: Tensor, labels: Tensor, classes: int, c: float, seed: int = 0) -> Machine:
    """Fit scores w x + b for each class against all others: squared hinge loss, L2 penalty, by liblinear.

    Args:
        vectors: (N, D).
        labels: (N,), every class among them.
        classes: two or more.
        c: weight of the loss.
        seed: of the order of coordinates.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.svm import LinearSVC

    coordinates, basis = in_their_span(vectors)
    machine = LinearSVC(C=c, random_state=seed, max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        # For separable classes, full convergence at the largest C takes long and changes no prediction.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")
        machine.fit(coordinates.numpy(), labels.numpy())
    weight, bias = torch.from_numpy(machine.coef_), torch.from_numpy(machine.intercept_).float()
    weight = (weight if basis is None else weight @ basis).float()
    if classes == 2:  # liblinear gives the second class only
        weight, bias = torch.cat([-weight, weight]), torch.cat([-bias, bias])
    return Machine(weight, bias)


def in_their_span(vectors: Tensor) -> tuple[Tensor, Tensor | None]:
    """Return vectors (N, D) as at most N coordinates each, float64, and the orthonormal basis (N, D).

    The SVM's weights are a sum of the vectors, so that the SVM is the same in these coordinates, which cost
    less if D is above N. Otherwise the vectors are returned as they are, without a basis.
    """
    vectors = vectors.double()
    if vectors.shape[1] <= vectors.shape[0]:
        return vectors, None
    basis, coordinates = torch.linalg.qr(vectors.T)
    return coordinates.T.contiguous(), basis.T


def kernel_machine(gram: Tensor, labels: Tensor, classes: int, c: float) -> Machine:
    """Fit scores sum_i a_i K(x, x_i) + b for each class against all others: hinge loss.

    Args:
        gram: K of all training pictures, (N, N).
        labels: (N,), every class among them.
        classes: number of classes.
        c: weight of the loss.
    """
    from sklearn.svm import SVC

    kernel = gram.double().numpy()
    coefficients, biases = np.zeros((classes, len(kernel))), np.zeros(classes)
    for number in range(classes):
        machine = SVC(C=c, kernel="precomputed", cache_size=500)
        machine.fit(kernel, (labels == number).numpy())
        coefficients[number, machine.support_] = machine.dual_coef_[0]
        biases[number] = machine.intercept_[0]
    used = np.flatnonzero(np.abs(coefficients).sum(0))
    return Machine(
        torch.from_numpy(coefficients[:, used]).float(),
        torch.from_numpy(biases).float(),
        torch.from_numpy(used),
    )


def gram_of(vectors: Tensor) -> Tensor:
    """Return the intersection kernel of all pairs of vectors (N, D): (N, N)."""
    return torch.cat([intersections(part, vectors) for part in vectors.split(256)])


def make_folds(
    labels: Tensor, groups: Tensor, count: int, seed: int, most: int
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Choose samples and divide them into folds: classes evenly, groups together.

    Every class has samples outside each fold. So the only group of a class is in no fold.

    Args:
        labels: (N,).
        groups: (N,); samples of a group are copies of one picture and of one class.
        count: number of folds, two or more.
        seed: of the order.
        most: number of samples that are chosen at random; more if two groups of each class exceed it.

    Returns:
        The chosen samples in their order, (M,), and the folds: indices into them. Empty folds are omitted.
    """
    order = np.random.default_rng(seed).permutation(int(groups.max()) + 1)
    class_of = np.full(len(order), -1)
    class_of[groups.numpy()] = labels.numpy()
    copies = np.bincount(groups.numpy(), minlength=len(order))
    by_class = [order[class_of[order] == number] for number in np.unique(labels.numpy())]
    first = np.concatenate([members[:2] for members in by_class])
    later = order[(class_of[order] >= 0) & ~np.isin(order, first)]
    fits = np.cumsum(copies[later]) <= most - copies[first].sum()
    taken = np.zeros(len(order), dtype=bool)
    taken[np.concatenate([first, later[fits]])] = True
    fold_of = np.full(len(order), -1)
    place = 0
    for members in by_class:
        members = members[taken[members]]
        if len(members) > 1:
            fold_of[members] = (place + np.arange(len(members))) % count
            place += len(members)
    chosen = np.flatnonzero(taken[groups.numpy()])
    own = fold_of[groups.numpy()[chosen]]
    folds = [np.flatnonzero(own == fold) for fold in range(count)]
    return chosen, [fold for fold in folds if len(fold)]


def edge_of(errors: dict[float, float]) -> str:
    """Return a note if the lowest error is at the edge of the compared values of C; else "".

    Several values with the same error are no edge: there, C does not matter.

    Args:
        errors: in percent, by C.
    """
    values = sorted(errors)
    if len(values) < 2:
        return ""
    for edge, next_to_it, word, factor in (
        (values[0], values[1], "smaller", 0.1),
        (values[-1], values[-2], "larger", 10),
    ):
        if errors[edge] == min(errors.values()) < errors[next_to_it]:
            return (
                f"C = {edge:g} is at the edge of the compared values: a {word} one may be better; "
                f"compare it with --set c={edge:g},{factor * edge:g}"
            )
    return ""


def cross_validate(
    vectors: Tensor, labels: Tensor, groups: Tensor, classes: int, candidates: Sequence[float], folds: int,
    seed: int, *, kernel: bool, check: Callable[[], None] = lambda: None,
) -> dict[float, float]:  # fmt: skip
    """Return the cross-validation error of each C, in percent.

    Args:
        vectors: (N, D).
        labels: (N,).
        groups: see `make_folds`.
        classes: number of classes.
        candidates: values of C.
        folds: number of folds, two or more.
        seed: see `make_folds`.
        kernel: whether the SVM has the intersection kernel.
        check: called before each fit; an exception from it ends the work.

    Returns:
        Errors by C; empty if no class has two groups.
    """
    chosen, parts = make_folds(labels, groups, folds, seed, CHOOSE_ON)
    if not parts:
        return {}
    x, y = vectors[chosen], labels[chosen]
    gram = gram_of(x) if kernel else None
    x = x if kernel else in_their_span(x)[0].float()
    errors = {}
    for c in counted(candidates, "cross-validation, values of C"):
        wrong = 0
        for part in parts:
            check()
            out = torch.from_numpy(part)
            rest = torch.from_numpy(np.setdiff1d(np.arange(len(y)), part))
            if gram is None:
                machine = linear_machine(x[rest], y[rest], classes, c, seed)
                scores = x[out] @ machine.weight.T
            else:
                machine = kernel_machine(gram[rest][:, rest], y[rest], classes, c)
                assert machine.support is not None
                scores = gram[out][:, rest[machine.support]] @ machine.weight.T
            wrong += int(((scores + machine.bias).argmax(1) != y[out]).sum())
        errors[c] = 100 * wrong / sum(map(len, parts))
    return errors
