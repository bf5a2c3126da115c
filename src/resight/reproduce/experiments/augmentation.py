"""The gain from augmentation (Krizhevsky et al. 2012, section 4.1; He et al. 2015, section 4.2).

ResNet-20 on CIFAR-10 without augmentation, with mirroring, with the shifts of the residual papers, and with
later methods: cutout, mixup, CutMix, RandAugment.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

USUAL = "pad-crop,flip"
OPERATIONS = {
    "none": "",
    "flip": "flip",
    "shift-and-flip": USUAL,
    "cutout": f"{USUAL},cutout:16",
    "mixup": f"{USUAL},mixup:1",
    "cutmix": f"{USUAL},cutmix:1",
    "randaugment": f"{USUAL},randaugment",
}


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition in OPERATIONS:
        published = "cifar10-resnet-t6/resnet-20/test-error" if condition == "shift-and-flip" else ""
        yield Row(condition, "test-error", lab.error(condition), published=published)


def holds(found: Figures) -> bool:
    return found["shift-and-flip/test-error"] < found["flip/test-error"] < found["none/test-error"]


EXPERIMENT = Experiment(
    paper="He et al. 2015, section 4.2, table 6 for shifts and mirroring",
    claim="mirroring, and shifts with it, lower the test error",
    trainings=tuple(
        Training(condition=c, words=("model=resnet20", f"augment={a}")) for c, a in OPERATIONS.items()
    ),
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=1, pictures=640, tested=200),
)  # fmt: skip
