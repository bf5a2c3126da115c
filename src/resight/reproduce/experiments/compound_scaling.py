"""Compound scaling (Tan and Le 2019, section 5.3, table 7).

EfficientNet-B0 made about four times as expensive in four ways: deeper, wider, on larger pictures, and all
three together. The paper does it on ImageNet: an accuracy of 79.0, 78.9, 79.1 and 81.1 %, up from 77.3 %.
Here the pictures are those of --data.
"""

from collections.abc import Iterator

from resight.models.cost import multiply_adds
from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

MODEL, SIDE = "model=efficientnet_b0", 64
WAYS = {
    "baseline": (1.0, 1.0, 1.0),  # depth, width, resolution: factors
    "depth": (4.0, 1.0, 1.0),
    "width": (1.0, 2.0, 1.0),
    "resolution": (1.0, 1.0, 2.0),
    "compound": (1.4, 1.2, 1.3),
}


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition in WAYS:
        yield Row(condition, "test-error", lab.error(condition))
        cost = lab.count(condition, lambda run: multiply_adds(run.model, run.preprocessing.size) / 1e6)
        yield Row(condition, "million-multiply-adds", cost, unit="M")


def holds(found: Figures) -> bool:
    alone = ("depth", "width", "resolution")
    error, cost = (
        [found[f"{way}/{metric}"] for way in ("compound", *alone)]
        for metric in ("test-error", "million-multiply-adds")
    )
    return all(error[0] < e for e in error[1:]) and any(cost[0] <= c for c in cost[1:])


EXPERIMENT = Experiment(
    paper="Tan and Le 2019, section 5.3, table 7",
    claim="depth, width and resolution together lower the test error more than any alone, at no more cost",
    needs=("pictures in class folders, such as ImageNet's",),
    trainings=tuple(
        Training(
            condition=way, data="--data", recipe="fast",
            words=(MODEL, f"depth={d}", f"width={w}", f"image_size={8 * round(SIDE * r / 8)}"),
        )
        for way, (d, w, r) in WAYS.items()
    ),
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=1, pictures=80, tested=40),
)  # fmt: skip
