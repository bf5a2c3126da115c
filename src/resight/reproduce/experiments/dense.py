"""Densely connected networks (Huang et al. 2017, section 4.3, table 2).

Every layer reads the maps of all layers before it. A network of 100 layers with bottlenecks and compression
has 0.8 million parameters, less than half of ResNet-110's 1.7, and a smaller test error.
"""

from collections.abc import Iterator

from resight.models.cost import parameters
from resight.reproduce.experiment import Experiment, Figures, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

NETWORKS = {  # condition: network, recipe, id of the published figure
    "densenet-40-12": (
        "densenet40_12",
        "densenet2016-cifar",
        "densenet-cifar/densenet-l-40-k-12/c10-error-2",
    ),
    "densenet-bc-100-12": (
        "densenet_bc100_12",
        "densenet2016-cifar",
        "densenet-cifar/densenet-bc-l-100-k-12/c10-error-2",
    ),
    "resnet-110": ("resnet110", "he2015-cifar", "cifar10-mean/resnet-110/mean-test-error"),
}


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition, (_, _, published) in NETWORKS.items():
        yield Row(condition, "test-error", lab.error(condition), published=published)
        yield Row(
            condition,
            "million-parameters",
            lab.count(condition, lambda run: parameters(run.model) / 1e6),
            unit="M",
        )


def holds(found: Figures) -> bool:
    small, large = "densenet-bc-100-12", "resnet-110"
    smaller = found[f"{small}/million-parameters"] < 0.5 * found[f"{large}/million-parameters"]
    return smaller and found[f"{small}/test-error"] < found[f"{large}/test-error"]


EXPERIMENT = Experiment(
    paper="Huang et al. 2017, section 4.3, table 2",
    claim="DenseNet-BC-100 has a smaller test error than ResNet-110 with less than half of its parameters",
    trainings=tuple(
        Training(condition=c, recipe=recipe, words=(f"model={model}", "val_share=0"))
        for c, (model, recipe, _) in NETWORKS.items()
    ),
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=1, pictures=60, tested=60),
)  # fmt: skip
