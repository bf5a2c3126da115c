"""What guessing comes to on a data set, with which every judgement of a training compares its errors."""

from dataclasses import dataclass

from resight.data.dataset import Dataset


@dataclass(frozen=True)
class Guessing:
    """What the errors of a run are compared with, and how many pictures they are counted on.

    Attributes:
        train_error: error in percent of guessing, on the training pictures, see `guessing_errors`.
        val_error: the same on the validation pictures.
        train: how many training pictures an epoch has; 0 if that is unknown, and then no interval is known.
        val: how many validation pictures there are; 0 likewise.
    """

    train_error: float
    val_error: float
    train: int = 0
    val: int = 0


def guessing_of(dataset: Dataset, balance: str) -> Guessing:
    """Return what guessing comes to, and the numbers of pictures, see `guessing_errors`."""
    val = len(dataset.splits["val"]) if "val" in dataset.splits else 0
    return Guessing(*guessing_errors(dataset, balance), len(dataset.train), val)


def guessing_errors(dataset: Dataset, balance: str) -> tuple[float, float]:
    """Return the errors in percent of guessing, on the training and on the validation pictures.

    Guessing is naming the commonest training class for every picture; with classes that count alike
    (balance=loss, balance=sampling), any one class.

    Args:
        dataset: without validation pictures they count as the training pictures.
        balance: as in the recipe.
    """
    train = dataset.train
    counts, val = train.class_counts(), dataset.splits.get("val", train)
    if not counts.sum() or (balance != "none" and not train.multi_label):
        any_one = 100 * (1 - 1 / len(counts))
        return any_one, any_one
    guess = int(counts.argmax())
    of_train, of_val = (float(part.class_counts()[guess]) / max(len(part), 1) for part in (train, val))
    return 100 * (1 - of_train), 100 * (1 - of_val)
