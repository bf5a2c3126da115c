"""The effect of normalization on training (Ioffe and Szegedy 2015, section 4.2).

ResNet-20 on CIFAR-10 with none, with local response normalization (Krizhevsky et al. 2012, section 3.3),
with local contrast normalization (Jarrett et al. 2009, section 2.1) and with batch normalization in the
same places, all at a rate of 0.01. Batch normalization tolerates a rate ten times as large.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Plot, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

WORDS: dict[str, tuple[str, ...]] = {
    name: (f"norm={name}", "lr=0.01") for name in ("none", "lrn", "lcn", "batch")
}
WORDS["batch-at-0.1"] = ("norm=batch",)


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition in WORDS:
        yield Row(condition, "test-error", lab.error(condition))
        yield Row(condition, "training-error", lab.training_error(condition))


def holds(found: Figures) -> bool:
    batch = [found[f"{name}/training-error"] for name in ("batch", "batch-at-0.1")]
    others = [found[f"{name}/training-error"] for name in ("none", "lrn", "lcn")]
    return all(mine < other for mine in batch for other in others)


def plots(lab: Laboratory) -> Iterator[Plot]:
    curves = {condition: lab.curve(condition) for condition in WORDS}
    lines = [(name, [r["epoch"] for r in c], [r["train_error"] for r in c]) for name, c in curves.items()]
    yield Plot("ResNet-20 with other normalizations", "epochs", "training error in %", lines)


EXPERIMENT = Experiment(
    paper="Ioffe and Szegedy 2015, section 4.2 (there Inception on ImageNet)",
    claim="with batch normalization the training error falls furthest, also at a rate ten times as large",
    trainings=tuple(Training(condition=c, words=("model=resnet20", *words)) for c, words in WORDS.items()),
    rows=rows, holds=holds, plots=plots, smoke=Scale(name="smoke", epochs=2, pictures=640, tested=200),
)  # fmt: skip
