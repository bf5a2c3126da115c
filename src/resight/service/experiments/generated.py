"""Whether generated pictures help where labels are few, after Frid-Adar et al. 2018.

    python -m resight.service.experiments.generated DATA OUT [EPOCHS] [GAN_EPOCHS] [SEED]

With a tenth, a quarter and all of the labels: a conditional GAN learns these pictures and no others, and a
network is trained with no augmentation, with the recipe's own, and with generated pictures beside it. The
test split is the same for all.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from resight.data.dataset import Split
from resight.data.open import open_dataset
from resight.data.splitting import with_validation
from resight.service.experiments.folders import write_split
from resight.service.gan import train_gan
from resight.service.train import train

SHARES = (0.1, 0.25, 1.0)


def generated(
    data: str, out: Path, epochs: int = 20, gan_epochs: int = 200, seed: int = 0
) -> list[dict[str, Any]]:
    """Return the test errors in percent for each share of the labels and each augmentation.

    Args:
        data: a data set of small pictures.
        out: folder of the pictures and runs.
        epochs: of a training on all labels; with fewer labels as many steps.
        gan_epochs: of the GAN on all labels; with fewer labels as many steps.
        seed: of each training.
    """
    dataset = with_validation(open_dataset(data), 0.1)
    rows = []
    for share in SHARES:
        place = out / f"{share:g}"
        for name, split in dataset.splits.items():
            write_split(some(split, share) if name == "train" else split, place / "data" / name)
        gan, longer = place / "gan", 1 / share
        train_gan(
            str(place / "data"), epochs=round(gan_epochs * longer), seed=seed, out=str(gan),
            changes=["width=32", "flip=off", "side=16"],
        )  # fmt: skip
        own = "augment.flip=off"  # the pictures may be letters or digits, which a folder does not say
        ways = {
            "none": ["augment="],
            "classical": [own],
            "classical and GAN": [own, f"augment.gan={gan},share=0.33"],
        }
        for way, words in ways.items():
            common = [f"epochs={round(epochs * longer)}", f"seed={seed}", "batch_size=32"]
            folder = place / way.replace(" ", "-")
            answer = train(str(place / "data"), changes=[*common, *words], out=str(folder))
            rows.append(
                {
                    "labels": len(some(dataset.train, share)),
                    "augmentation": way,
                    "error": answer["top1_error"],
                    "interval": answer["top1_interval"],
                }
            )
    return rows


def some(split: Split, share: float) -> Split:
    """Return the first pictures of each class, two at least."""
    kept = [np.flatnonzero(split.labels == number) for number in range(len(split.classes))]
    return split.take(np.concatenate([members[: max(2, round(len(members) * share))] for members in kept]))


if __name__ == "__main__":
    data, out, *numbers = sys.argv[1:]
    for row in generated(data, Path(out), *map(int, numbers)):
        sys.stdout.write(json.dumps(row) + "\n")
