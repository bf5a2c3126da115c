"""Kinds of shortcuts where the width grows (He et al. 2015, section 4.1, table 3).

A: the identity, and zeros for the new channels, without parameters; B: a projection where the width grows;
C: projections everywhere. The paper compares them in ResNet-34 on ImageNet, where B is slightly better than
A, C slightly better than B, and all are far better than the plain network. Here: ResNet-56 on CIFAR-10.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

WORDS = {"plain": ("model=plain56",), **{kind: ("model=resnet56", f"shortcut={kind}") for kind in "ABC"}}


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition in WORDS:
        yield Row(condition, "test-error", lab.error(condition))


def holds(found: Figures) -> bool:
    return all(found[f"{kind}/test-error"] < found["plain/test-error"] for kind in "ABC")


EXPERIMENT = Experiment(
    paper="He et al. 2015, section 4.1, table 3 (there ResNet-34 on ImageNet)",
    claim="shortcuts of every kind have a smaller test error than none; how the width grows matters little",
    trainings=tuple(Training(condition=c, words=words) for c, words in WORDS.items()),
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=1, pictures=300, tested=200),
)  # fmt: skip
