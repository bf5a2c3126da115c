"""Classes of unequal size: the effect of weighting the loss and of balanced sampling.

Of class k of K only n 50^(-k / (K - 1)) training pictures are kept: a long tail, made as in Cui et al. 2019,
"Class-balanced loss based on effective number of samples", section 5.1. All test pictures are kept, so the
test error counts all classes about equally; the error of the rarer half is also given.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from resight.data.dataset import Split
from resight.data.open import open_dataset
from resight.data.splitting import with_validation
from resight.metrics.accuracy import mean_interval
from resight.reproduce.experiment import Experiment, Figures, Measure, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory
from resight.reproduce.sets import write_whole

RATIO = 50.0
"""The commonest class to the rarest."""
WAYS = ("none", "loss", "sampling")


def long_tail(split: Split, ratio: float = RATIO) -> Split:
    """Return a split whose classes shrink from all of their pictures to one in `ratio`."""
    kept = []
    for number in range(len(split.classes)):
        members = np.flatnonzero(split.labels == number)
        share = ratio ** (-number / max(len(split.classes) - 1, 1))
        kept.append(members[: max(2, round(len(members) * share))])
    return split.take(np.concatenate(kept))


def write(lab: Laboratory, folder: Path) -> None:
    """Write the pictures of --data with a long tail; validation and test stay as they are."""
    dataset = with_validation(open_dataset(str(lab.set_of("--data")), lab.data_root), 0.1)
    for name, split in dataset.splits.items():
        kept = long_tail(split) if name == "train" else split
        write_whole(folder / f"{name}.parquet", kept, mirrors=dataset.mirrors)


def rarer_half(lab: Laboratory, condition: str) -> Measure | None:
    """Return the mean error, in percent, of the classes with few training pictures."""
    tests = [lab.tested([str(run)])["per_class"] for run in lab.folders(condition)]
    halves = [[c for c in list(classes.values())[len(classes) // 2 :] if c["n"]] for classes in tests]
    means = tuple(float(np.mean([c["error"] for c in half])) for half in halves)
    return Measure(means, mean_interval(means[0], [c["n"] for c in halves[0]])) if means else None


def rows(lab: Laboratory) -> Iterator[Row]:
    for way in WAYS:
        yield Row(way, "test-error", lab.error(way))
        yield Row(way, "rarer-half-error", rarer_half(lab, way))


def holds(found: Figures) -> bool:
    plain, *balanced = (found[f"{way}/rarer-half-error"] for way in WAYS)
    return all(way < plain for way in balanced)


EXPERIMENT = Experiment(
    paper="after Cui et al. 2019, section 5.1",
    claim="weighting the loss and balanced sampling each lower the error of the rarer half of the classes",
    needs=("pictures in class folders, such as Tiny-ImageNet's",),
    trainings=tuple(
        Training(condition=way, data="long-tail", recipe="fast", words=("model=resnet20", f"balance={way}"))
        for way in WAYS
    ),
    sets={"long-tail": write}, rows=rows, holds=holds,
    smoke=Scale(name="smoke", epochs=2, pictures=300, tested=100),
)  # fmt: skip
