"""The effect of dropout on fully connected layers (Srivastava et al. 2014, section 6).

A small network whose flattened map is read by two fully connected layers, on CIFAR-10 without augmentation,
with and without dropout before each of the two: the training error grows, the test error falls.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

WORDS = ("model=cnn_flatten", "image_size=64", "batch_size=128", "epochs=20", "lr=0.02", "augment=")


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition in ("without", "with"):
        yield Row(condition, "test-error", lab.error(condition))
        yield Row(condition, "training-error", lab.error(condition, "train"))  # of the whole network


def holds(found: Figures) -> bool:
    learned = found["with/training-error"] > found["without/training-error"]
    return learned and found["with/test-error"] < found["without/test-error"]


EXPERIMENT = Experiment(
    paper="Srivastava et al. 2014, section 6",
    claim="with dropout the training error is larger and the test error smaller",
    trainings=tuple(
        Training(condition=c, recipe="fast", words=(*WORDS, f"dropout={rate}"))
        for c, rate in (("without", 0), ("with", 0.5))
    ),
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=2, pictures=640, tested=200),
)  # fmt: skip
