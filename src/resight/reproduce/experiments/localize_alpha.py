"""Class and box in one loss, L = alpha S + (1 - alpha) R: losses of different alpha cannot be compared.

The lecture's warning: alpha changes what the number means, so it must be chosen by another figure. Here the
figure is the localization error on validation (class wrong, or overlap with the true box below a half), and
the test shows what choosing by the loss would have cost.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Measure, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

ALPHAS = (0.02, 0.1, 0.5, 0.9, 0.98)
LOSS, ERROR = "val_loss", "val_localization_error"
WORDS = ("model=resnet20", "image_size=32", "augment=flip", "val_share=0.2", "epochs=20")


def named(alpha: float) -> str:
    return f"alpha-{alpha:g}"


def best(lab: Laboratory, alpha: float, column: str) -> Measure | None:
    """Return the lowest value of a column of validation, for each seed; losses as they are, on the same."""
    values = tuple(min(row[column] for row in curve) for curve in lab.curves(named(alpha)))
    return Measure(values, (values[0], values[0]) if column == LOSS else None) if values else None


def tested(lab: Laboratory, alpha: float) -> Measure | None:
    """Return the localization error on the test pictures, for each seed."""
    found = [lab.header(lab.training(named(alpha)), seed) for seed in lab.measured(named(alpha))]
    if not found:
        return None
    low, high = found[0]["localization_interval"]
    return Measure(tuple(test["localization_error"] for test in found), (low, high))


def chosen(lab: Laboratory, column: str) -> Measure | None:
    """Return the test error of the alpha that is lowest in a column of validation, for each seed."""
    pairs = [
        (val.values, test.values)
        for a in ALPHAS
        if (val := best(lab, a, column)) and (test := tested(lab, a))
    ]
    if len(pairs) < len(ALPHAS):
        return None
    return Measure(tuple(min((v[seed], t[seed]) for v, t in pairs)[1] for seed in range(len(pairs[0][0]))))


def rows(lab: Laboratory) -> Iterator[Row]:
    for alpha in ALPHAS:
        yield Row(named(alpha), "val-loss", best(lab, alpha, LOSS), unit="")
        yield Row(named(alpha), "val-localization-error", best(lab, alpha, ERROR))
        yield Row(named(alpha), "test-localization-error", tested(lab, alpha))
    yield Row("chosen by the loss", "test-localization-error", chosen(lab, LOSS))
    yield Row("chosen by the localization error", "test-localization-error", chosen(lab, ERROR))


def holds(found: Figures) -> bool:
    pairs = [(named(a), named(b)) for a in ALPHAS for b in ALPHAS if a != b]
    return any(
        found[f"{a}/val-loss"] < found[f"{b}/val-loss"]
        and found[f"{a}/test-localization-error"] > found[f"{b}/test-localization-error"]
        for a, b in pairs
    )


EXPERIMENT = Experiment(
    paper="the lecture's warning about L = alpha S + (1 - alpha) R, unpublished",
    claim="an alpha with a lower loss on validation has a higher localization error than another",
    trainings=tuple(
        Training(
            condition=named(alpha), data="--data", recipe="fast", task="localize",
            words=(*WORDS, f"localize.alpha={alpha:g}"),
        )
        for alpha in ALPHAS
    ),
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=3), boxed=True,
    needs=("pictures with one box each, such as Tiny-ImageNet's",),
)  # fmt: skip
