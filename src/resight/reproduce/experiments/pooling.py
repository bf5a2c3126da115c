"""How maps are downsampled (the lecture's list of poolings; Springenberg et al. 2015, section 3).

LeNet-5 as taught today, with maximum, average and L2 pooling, and with only every second value (strided).
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

POOLINGS = ("max", "average", "l2", "strided")
WORDS = (
    "model=lenet5_modern",
    "activation=relu",
    "image_size=32",
    "batch_size=64",
    "epochs=20",
    "lr=0.03",
    "augment=",
)


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition in POOLINGS:
        yield Row(condition, "test-error", lab.error(condition))


def holds(found: Figures) -> bool:
    strided = found["strided/test-error"]
    return all(found[f"{name}/test-error"] < strided for name in POOLINGS[:3])


EXPERIMENT = Experiment(
    paper="the lecture on convolutional networks; Springenberg et al. 2015, section 3",
    claim="a network that pools has a smaller test error than one that keeps every second value",
    trainings=tuple(Training(condition=c, recipe="fast", words=(*WORDS, f"pool={c}")) for c in POOLINGS),
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=2, pictures=1000, tested=200),
)  # fmt: skip
