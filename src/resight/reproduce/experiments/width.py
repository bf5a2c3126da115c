"""Wide compared with deep (Zagoruyko and Komodakis 2016, section 3, tables 4 and 5).

With about the same number of parameters, a residual network of 40 layers, four times as wide, has the same
test error as one of 1001 layers; a still wider one of 28 layers has a smaller one.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

NETWORKS = {  # condition: network, recipe, id of the published figure
    "wrn-40-4": ("wrn40_4", "wrn2016-cifar", "wrn/wrn-40-4/cifar-10-error"),
    "wrn-16-8": ("wrn16_8", "wrn2016-cifar", "wrn/wrn-16-8/cifar-10-error"),
    "wrn-28-10": ("wrn28_10", "wrn2016-cifar", "wrn/wrn-28-10/cifar-10-error"),
    "pre-activation-1001": (
        "preact_resnet1001",
        "he2016-cifar",
        "preact-t3/cifar-10-resnet-1001/pre-activation-error",
    ),
}


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition, (_, _, published) in NETWORKS.items():
        yield Row(condition, "test-error", lab.error(condition), published=published)


def holds(found: Figures) -> bool:
    return found["wrn-28-10/test-error"] < found["pre-activation-1001/test-error"]


EXPERIMENT = Experiment(
    paper="Zagoruyko and Komodakis 2016, tables 4 and 5",
    claim="28 layers, ten times as wide, have a smaller test error than 1001 narrow ones",
    trainings=tuple(
        Training(condition=c, recipe=recipe, words=(f"model={model}", "val_share=0"))
        for c, (model, recipe, _) in NETWORKS.items()
    ),
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=1, pictures=60, tested=60),
)  # fmt: skip
