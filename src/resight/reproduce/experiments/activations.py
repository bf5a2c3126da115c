"""How fast nonlinearities learn (Krizhevsky et al. 2012, section 3.1, figure 1).

A small convolutional network on CIFAR-10, without regularization, reaches a training error of 25 % six
times faster with ReLU than with tanh, each at its best rate. Here the network is LeNet-5 as taught today with
max pooling; four rates are tried for each nonlinearity, and the fastest counts. The other nonlinearities are
from He et al. 2015 (PReLU) and Clevert et al. 2016 (ELU).
"""

import math
from collections.abc import Iterator

import numpy as np

from resight.reproduce.experiment import Experiment, Figures, Measure, Plot, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory, interval_of

ACTIVATIONS = ("sigmoid", "tanh", "relu", "leaky_relu", "prelu", "elu")
RATES = (0.003, 0.01, 0.03, 0.1)
TARGET = 25.0
"""Training error in percent."""
METRIC = f"epochs-to-{TARGET:.0f}-%-training-error"
WORDS = (
    "model=lenet5_modern", "pool=max", "image_size=32", "batch_size=64", "epochs=30", "schedule=constant",
    "ema=0", "augment=", "weight_decay=0", "label_smoothing=0", "val_share=0",
)  # fmt: skip


def epochs_to(curve: list[dict[str, float]], target: float) -> float:
    """Return the epochs to a training error of `target`, interpolated between epochs; NaN if never."""
    errors = [90.0, *(row["train_error"] for row in curve)]
    for epoch in range(1, len(errors)):
        if errors[epoch] <= target:
            return epoch - (target - errors[epoch]) / (errors[epoch - 1] - errors[epoch])
    return math.nan


def fastest(lab: Laboratory, name: str) -> tuple[float, tuple[float, ...]]:
    """Return the rate with the fewest epochs, or else the lowest final error, and the epochs of each seed."""
    curves = {rate: found for rate in RATES if (found := lab.curves(f"{name}-{rate}"))}
    epochs = {rate: tuple(epochs_to(c, TARGET) for c in found) for rate, found in curves.items()}
    mean = {rate: float(np.mean(of_seeds)) for rate, of_seeds in epochs.items()}
    last = {rate: float(np.mean([c[-1]["train_error"] for c in found])) for rate, found in curves.items()}
    order = sorted(curves, key=lambda r: (math.inf if math.isnan(mean[r]) else mean[r], last[r]))
    return (order[0], epochs[order[0]]) if order else (RATES[0], ())


def rows(lab: Laboratory) -> Iterator[Row]:
    for name in ACTIVATIONS:
        rate, epochs = fastest(lab, name)
        reached = Measure(epochs) if epochs and not math.isnan(sum(epochs)) else None
        yield Row(name, METRIC, reached, unit="epochs")
        every = [row for r in RATES for c in lab.curves(f"{name}-{r}") for row in c]
        best = min(every, key=lambda row: row["train_error"], default=None)
        least = Measure((best["train_error"],), interval_of(best)) if best else None
        yield Row(name, "least-training-error", least)
        yield Row(name, "best-rate", Measure((rate,)) if reached else None, unit="")


def holds(found: Figures) -> bool:
    reached, never = found["relu/least-training-error"] <= TARGET, found["tanh/least-training-error"] > TARGET
    return reached and (never or 1.5 * found[f"relu/{METRIC}"] < found[f"tanh/{METRIC}"])


def plots(lab: Laboratory) -> Iterator[Plot]:
    curves = {name: lab.curve(f"{name}-{fastest(lab, name)[0]}") for name in ACTIVATIONS}
    lines = [(name, [r["epoch"] for r in c], [r["train_error"] for r in c]) for name, c in curves.items()]
    yield Plot("Training error at each nonlinearity's best rate", "epochs", "training error in %", lines)


EXPERIMENT = Experiment(
    paper="Krizhevsky et al. 2012, section 3.1, figure 1",
    claim="ReLU reaches a training error of 25 % at least 1.5 times as fast as tanh (the paper: six times)",
    trainings=tuple(
        Training(condition=f"{name}-{r}", recipe="fast", words=(*WORDS, f"activation={name}", f"lr={r}"))
        for name in ACTIVATIONS for r in RATES
    ),
    rows=rows, holds=holds, plots=plots, smoke=Scale(name="smoke", epochs=2, pictures=1000, tested=200),
)  # fmt: skip
