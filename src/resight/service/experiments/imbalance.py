"""Classes of unequal size: what weighting the loss and balanced sampling do.

    python -m resight.service.experiments.imbalance DATA OUT [RATIO] [EPOCHS] [SEED]

Of class k of K only n RATIO^(-k / (K - 1)) training pictures are kept, a long tail as in Cui et al. 2019,
"Class-balanced loss based on effective number of samples", section 5.1. Test pictures stay, so the plain test
error counts all classes about the same; beside it stands that of the rarer half.
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
from resight.service.train import train


def imbalance(
    data: str, out: Path, ratio: float = 50.0, epochs: int = 20, seed: int = 0
) -> list[dict[str, Any]]:
    """Return the test errors in percent of all classes and of the rarer half, for each way to balance.

    Args:
        data: a data set.
        out: folder of the pictures and runs.
        ratio: of the commonest class to the rarest.
        epochs: of each training.
        seed: of each training.
    """
    dataset = with_validation(open_dataset(data), 0.1)
    for name, split in dataset.splits.items():
        write_split(long_tail(split, ratio) if name == "train" else split, out / "data" / name)
    rows = []
    for way in ("none", "loss", "sampling"):
        words = [f"balance={way}", f"epochs={epochs}", f"seed={seed}", "model=resnet20"]
        answer = train(str(out / "data"), changes=words, out=str(out / way))
        rare = [answer["per_class"][name]["error"] for name in dataset.classes[len(dataset.classes) // 2 :]]
        rows.append(
            {
                "balance": way,
                "error": answer["top1_error"],
                "interval": answer["top1_interval"],
                "rarer_half": float(np.mean(rare)),
            }
        )
    return rows


def long_tail(split: Split, ratio: float) -> Split:
    """Return a split whose classes shrink from all of their pictures to one in `ratio`."""
    kept = []
    for number in range(len(split.classes)):
        members = np.flatnonzero(split.labels == number)
        share = ratio ** (-number / max(len(split.classes) - 1, 1))
        kept.append(members[: max(2, round(len(members) * share))])
    return split.take(np.concatenate(kept))


if __name__ == "__main__":
    data, out, *numbers = sys.argv[1:]
    ratio = float(numbers[0]) if numbers else 50.0
    for row in imbalance(data, Path(out), ratio, *map(int, numbers[1:])):
        sys.stdout.write(json.dumps(row) + "\n")
