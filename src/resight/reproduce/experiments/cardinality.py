"""Cardinality (Xie et al. 2017, section 5.2, figure 7 and table 7).

Blocks of equal branches: 8 or 16 branches of 64 channels have a smaller test error than one, with more
parameters.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

NETWORKS = {  # condition: network, id of the published figure
    "1x64d": ("resnext29_1x64d", ""),
    "8x64d": ("resnext29_8x64d", "resnext-cifar/resnext-29-8x64d/cifar-10-error"),
    "16x64d": ("resnext29_16x64d", "resnext-cifar/resnext-29-16x64d/cifar-10-error"),
}


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition, (_, published) in NETWORKS.items():
        yield Row(condition, "test-error", lab.error(condition), published=published)


def holds(found: Figures) -> bool:
    one, eight, sixteen = (found[f"{condition}/test-error"] for condition in NETWORKS)
    return sixteen < eight < one


EXPERIMENT = Experiment(
    paper="Xie et al. 2017, section 5.2, table 7",
    claim="the test error falls with the number of branches",
    trainings=tuple(
        Training(condition=c, recipe="resnext2016-cifar", words=(f"model={model}", "val_share=0"))
        for c, (model, _) in NETWORKS.items()
    ),
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=1, pictures=60, tested=60),
)  # fmt: skip
