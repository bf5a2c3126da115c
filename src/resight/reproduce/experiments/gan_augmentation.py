"""Whether generated pictures help where labels are few (after Frid-Adar et al. 2018).

With a tenth, a quarter and all of the labels, a conditional GAN learns only these pictures, and a network is
trained without augmentation, with the recipe's own, and with generated pictures in addition. Smaller sets get
more epochs, so that all trainings have the same number of steps. The test split is the same for all.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from resight.data.dataset import Split
from resight.data.open import open_dataset
from resight.data.splitting import with_validation
from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory
from resight.reproduce.sets import write_whole

SHARES = {"tenth": 0.1, "quarter": 0.25, "all": 1.0}
EPOCHS, GAN_EPOCHS = 16, 40
"""On all labels."""
OWN = "augment.flip=off"  # the pictures may be digits, which a folder does not show
WAYS = {"plain": ("augment=",), "classical": (OWN,), "gan": (OWN, "augment.gan={SHARE-generator},share=0.33")}


def share_of(split: Split, share: float) -> Split:
    """Return the first pictures of each class, at least two."""
    kept = [np.flatnonzero(split.labels == number) for number in range(len(split.classes))]
    return split.take(np.concatenate([members[: max(2, round(len(members) * share))] for members in kept]))


def write(lab: Laboratory, folder: Path, share: float) -> None:
    """Write the pictures of --data with a share of its labels; validation and test stay as they are."""
    dataset = with_validation(open_dataset(str(lab.set_of("--data")), lab.data_root), 0.1)
    for name, split in dataset.splits.items():
        kept = share_of(split, share) if name == "train" else split
        write_whole(folder / f"{name}.parquet", kept, mirrors=dataset.mirrors)


def trainings() -> Iterator[Training]:
    for name, share in SHARES.items():
        words = ("width=32", "flip=off", "side=16", f"epochs={round(GAN_EPOCHS / share)}")
        yield Training(condition=f"{name}-generator", data=name, recipe="", words=words, command="train-gan")
        for way, own in WAYS.items():
            words = (f"epochs={round(EPOCHS / share)}", "batch_size=32", *own)
            words = tuple(word.replace("SHARE", name) for word in words)
            yield Training(condition=f"{name}-{way}", data=name, recipe="fast", words=words)


def rows(lab: Laboratory) -> Iterator[Row]:
    for training in EXPERIMENT.trainings:
        if training.command == "train":
            yield Row(training.condition, "test-error", lab.error(training.condition))


def holds(found: Figures) -> bool:
    return found["tenth-gan/test-error"] < found["tenth-classical/test-error"]


EXPERIMENT = Experiment(
    paper="after Frid-Adar et al. 2018",
    claim="with a tenth of the labels, pictures that a GAN drew lower the test error",
    needs=("small pictures in class folders, or digits",),
    trainings=tuple(trainings()), rows=rows, holds=holds,
    sets={name: partial(write, share=share) for name, share in SHARES.items()},
    smoke=Scale(name="smoke", epochs=1, pictures=400, tested=100),
)  # fmt: skip
