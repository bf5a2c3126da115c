"""Errors of guessing on a data set, the baseline of all diagnoses of a training run."""

from dataclasses import dataclass

from resight.data.dataset import Dataset
from resight.tasks.classify.task import of_labels


@dataclass(frozen=True)
class Guessing:
    """The baseline errors of a run, and the numbers of pictures they are counted on.

    Attributes:
        train_error: error in percent of guessing, on the training pictures, see `guessing_errors`.
        val_error: the same on the validation pictures.
        train: training pictures per epoch; 0 if unknown, and then without an interval.
        val: the number of validation pictures; 0 likewise.
    """

    train_error: float
    val_error: float
    train: int = 0
    val: int = 0


def guessing_of(dataset: Dataset, balance: str) -> Guessing:
    """Return the errors of guessing, and the numbers of pictures, see `guessing_errors`."""
    val = len(dataset.splits["val"]) if "val" in dataset.splits else 0
    return Guessing(*guessing_errors(dataset, balance), len(dataset.train), val)


def guessing_errors(dataset: Dataset, balance: str) -> tuple[float, float]:
    """Return the errors in percent of guessing, on the training and on the validation pictures.

    Guessing is answering the most frequent training class for every picture; with classes that count alike
    (balance=loss, balance=sampling), any one class.

    Args:
        dataset: without validation pictures the training pictures stand in.
        balance: as in the recipe.
    """
    train = dataset.train
    counts, val = train.class_counts(), dataset.splits.get("val", train)
    if not counts.sum() or of_labels(train).chance(balance):
        any_one = 100 * (1 - 1 / len(counts))
        return any_one, any_one
    guess = int(counts.argmax())
    of_train, of_val = (float(part.class_counts()[guess]) / max(len(part), 1) for part in (train, val))
    return 100 * (1 - of_train), 100 * (1 - of_val)
