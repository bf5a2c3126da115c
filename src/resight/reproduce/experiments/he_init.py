"""Initial weights for rectifiers (He et al. 2015, "Delving Deep into Rectifiers", section 2.2).

Networks of ReLUs without normalization. With Glorot and Bengio's initial weights, the variance of the
activations halves at every layer: a network of 30 layers or more stalls. With twice the weight variance it
stays constant, and the network learns.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Plot, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

CONDITIONS = {
    f"{init}-{depth}": (f"model=plain{depth}", f"init={init}")
    for depth in (20, 32)
    for init in ("he", "xavier")
}


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition in CONDITIONS:
        yield Row(condition, "training-error", lab.training_error(condition))


def holds(found: Figures) -> bool:
    return found["he-32/training-error"] < 80 < 85 < found["xavier-32/training-error"]


def plots(lab: Laboratory) -> Iterator[Plot]:
    curves = {condition: lab.curve(condition) for condition in CONDITIONS}
    lines = [(name, [r["epoch"] for r in c], [r["train_error"] for r in c]) for name, c in curves.items()]
    yield Plot("Plain networks without normalization", "epochs", "training error in %", lines)


EXPERIMENT = Experiment(
    paper="He et al. 2015, Delving Deep into Rectifiers, section 2.2, figure 3 (there 30 layers on ImageNet)",
    claim="32 layers of ReLU learn from He's first weights and stall with Glorot's",
    trainings=tuple(
        Training(condition=c, words=("norm=none", "lr=0.01", "epochs=20", *words))
        for c, words in CONDITIONS.items()
    ),
    rows=rows, holds=holds, plots=plots, smoke=Scale(name="smoke", epochs=2, pictures=640, tested=200),
)  # fmt: skip
