"""Heads on the last map of Network in Network (Lin et al. 2013, section 4.6, table 5).

The same trunk with a fully connected layer, with dropout before it, and with global average pooling, on
CIFAR-10 without augmentation. Dropout regularizes the fully connected layer; averaging, which has no
parameters, regularizes better.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

HEADS = {  # condition: words, id of the published figure
    "fully-connected": (("head=flatten",), "cifar10-gap/mlpconv-fully-connected/test-error"),
    "fully-connected-dropout": (
        ("head=flatten", "head_dropout=0.5"),
        "cifar10-gap/mlpconv-fully-connected-dropout/test-error",
    ),
    "global-average-pooling": (("head=gap",), "cifar10-gap/mlpconv-global-average-pooling/test-error"),
}
WORDS = ("model=nin_cifar", "augment=", "val_share=0")


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition, (_, published) in HEADS.items():
        yield Row(condition, "test-error", lab.error(condition), published=published)
        yield Row(condition, "training-error", lab.training_error(condition))


def holds(found: Figures) -> bool:
    plain, dropout, pooled = (found[f"{condition}/test-error"] for condition in HEADS)
    return pooled < dropout < plain


EXPERIMENT = Experiment(
    paper="Lin et al. 2013, section 4.6, table 5",
    claim="averaging has a smaller test error than a fully connected layer with dropout, that than without",
    trainings=tuple(
        Training(condition=c, recipe="nin2013-cifar", words=(*WORDS, *words))
        for c, (words, _) in HEADS.items()
    ),
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=1, pictures=500, tested=200),
)  # fmt: skip
