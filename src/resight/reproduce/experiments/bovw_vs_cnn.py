"""Before and after 2012: bags of visual words, Fisher vectors and VLAD compared with a convolutional network.

Csurka et al. 2004; Lazebnik et al. 2006 (spatial pyramids); Perronnin et al. 2010 (Fisher vectors); Jegou
et al. 2010 (VLAD); Dalal and Triggs 2005 (HOG). On MNIST, with plenty of training data, and on the pictures
of --data: with few of them, hand-crafted descriptors may win.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

CLASSIC, SETS = ("bovw", "fisher", "vlad", "hog-svm"), {"mnist": "mnist", "own": "--data"}


def trainings() -> Iterator[Training]:
    for name, data in SETS.items():
        for model in CLASSIC:
            yield Training(condition=f"{name}-{model}", data=data, recipe="", words=(f"model={model}",))
        yield Training(condition=f"{name}-cnn", data=data, recipe="fast")


def rows(lab: Laboratory) -> Iterator[Row]:
    for training in EXPERIMENT.trainings:
        yield Row(training.condition, "test-error", lab.error(training.condition))


def holds(found: Figures) -> bool:
    return all(found["mnist-cnn/test-error"] < found[f"mnist-{model}/test-error"] for model in CLASSIC)


EXPERIMENT = Experiment(
    paper="Csurka et al. 2004; Lazebnik et al. 2006; Perronnin et al. 2010; Jegou et al. 2010",
    claim="on 60,000 digits the convolutional network has a smaller test error than every classic pipeline",
    needs=("pictures in class folders, such as grocery",),
    trainings=tuple(trainings()), rows=rows, holds=holds,
    smoke=Scale(name="smoke", epochs=2, pictures=200, tested=100),
)  # fmt: skip
