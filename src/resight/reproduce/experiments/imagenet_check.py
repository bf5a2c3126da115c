"""Official weights on ImageNet's validation pictures (He et al. 2015, tables 2 to 5).

Nothing is trained. Every network with official weights is tested with one crop, with ten, and, if it pools
globally, at the paper's five scales; the residual networks of 50, 101 and 152 layers also together.
Networks whose weights cannot be had are left out with the reason.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from resight.core import published
from resight.core.errors import ResightError
from resight.models.weights import has_official
from resight.models.zoo import NETWORKS
from resight.reproduce.experiment import Experiment, Figures, Measure, Row, Scale
from resight.reproduce.laboratory import Laboratory

PROTOCOLS = {  # words of `resight test`, the paper's table
    "single-crop": ({}, "in-resnet-1crop"),
    "ten-crop": ({"views": "ten-crop"}, "in-resnet-t3"),
    "multi-scale": ({"views": "flip", "scales": (224, 256, 384, 480, 640)}, "in-resnet-t4"),
}
TOGETHER = ("resnet50", "resnet101", "resnet152")
NAMES = {f"resnet{d}": f"resnet-{d}" for d in (50, 101, 152)} | {"resnet34": "resnet-34-b", "vgg16": "vgg-16"}
"""How the paper calls a network; its own plain projections and strides differ a little from the released."""


def networks() -> list[str]:
    return [name for name, network in NETWORKS.items() if network.classes == 1000 and has_official(name)]


def rows(lab: Laboratory) -> Iterator[Row]:
    lab.given()
    known = {figure.id for figure in published.load()}
    for name in networks():
        for protocol, (words, table) in PROTOCOLS.items():
            for metric, measure in tested(lab, name, [name], protocol, words):
                number = f"{table}/{NAMES.get(name)}/{metric.replace('top', 'top-')}"
                row = Row(f"{name}/{protocol}", metric, measure, published=number if number in known else "")
                yield row
    for metric, measure in tested(lab, "resnet-ensemble", TOGETHER, "single-crop", {}):
        yield Row("resnet-ensemble/single-crop", metric, measure)


def tested(
    lab: Laboratory, name: str, members: Sequence[str], protocol: str, words: dict[str, Any]
) -> Iterator[tuple[str, Measure]]:
    """Yield top-1 and top-5 error, or nothing, with the reason noted, if the weights cannot be had."""
    try:
        found = lab.tested([f"zoo:{member}" for member in members], lab.given(), **words)
    except ResightError as error:
        lab.failed[f"{name}/{protocol}"] = str(error)
        return
    yield "top1-error", Measure((found["top1_error"],), tuple(found["top1_interval"]))
    yield "top5-error", Measure((found["top5_error"],))


def holds(found: Figures) -> bool:
    one, deep = (found[f"resnet{d}/single-crop/top1-error"] for d in (50, 152))
    return deep < one and found["resnet152/ten-crop/top1-error"] < deep


EXPERIMENT = Experiment(
    paper="He et al. 2015, tables 2 to 5",
    claim="deeper residual networks, more crops and ensembles lower the error on ImageNet",
    needs=("a folder of ImageNet's validation pictures, one folder a class",),
    rows=rows, holds=holds, smoke=Scale(name="smoke"),
)  # fmt: skip
