"""A thousand layers (He et al. 2015, section 4.2; He et al. 2016, section 3 and table 3).

ResNet-1202 trains without difficulty, to a training error below 0.1 %, but has a larger test error than
ResNet-110: it is too large for the data set. With the nonlinearities before the convolutions, so that
shortcuts are pure identities from end to end, 1001 layers have a smaller one.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

NETWORKS = {  # condition: network, recipe, id of the published figure
    "resnet-110": ("resnet110", "he2015-cifar", "cifar10-mean/resnet-110/mean-test-error"),
    "resnet-1202": ("resnet1202", "he2015-cifar", "cifar10-resnet-t6/resnet-1202/test-error"),
    "pre-activation-1001": (
        "preact_resnet1001",
        "he2016-cifar",
        "preact-t3/cifar-10-resnet-1001/pre-activation-error",
    ),
}


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition, (_, _, published) in NETWORKS.items():
        yield Row(condition, "test-error", lab.error(condition), published=published)
        yield Row(condition, "training-error", lab.training_error(condition))


def holds(found: Figures) -> bool:
    deep, shallow = found["resnet-1202/test-error"], found["resnet-110/test-error"]
    trained = found["resnet-1202/training-error"] < 1
    return trained and shallow < deep and found["pre-activation-1001/test-error"] < shallow


EXPERIMENT = Experiment(
    paper="He et al. 2015, section 4.2; He et al. 2016, table 3",
    claim="1202 layers can be trained but test worse than 110; 1001 layers with pre-activation test better",
    trainings=tuple(
        Training(condition=c, recipe=recipe, words=(f"model={model}", "val_share=0"))
        for c, (model, recipe, _) in NETWORKS.items()
    ),
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=1, pictures=60, tested=60),
)  # fmt: skip
