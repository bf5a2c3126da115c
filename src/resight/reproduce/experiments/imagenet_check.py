"""Official weights on ImageNet's validation pictures (He et al. 2015, tables 2 to 5).

Nothing is trained. Every network with official weights is tested with one crop, with ten and at the paper's
five scales; the residual networks of 50, 101 and 152 layers also as an ensemble (the paper's six: a top-5
error of 3.57 % on the secret test set). Cells of unavailable weights are empty, with the reason.
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
PAPER = {f"resnet{d}/v1": f"resnet-{d}" for d in (50, 101, 152)}
PAPER |= {"resnet34": "resnet-34-b", "vgg16": "vgg-16"}
"""Network and weights: how the paper calls it. `/v1` are weights from a training like the paper's, the latest
from a later recipe; their strides are in the 3 x 3 convolutions, the paper's in the 1 x 1."""
TOGETHER = ("resnet50/v1", "resnet101/v1", "resnet152/v1")


def networks() -> list[str]:
    found = [name for name, network in NETWORKS.items() if network.classes == 1000 and has_official(name)]
    return [*found, *(name for name in PAPER if name not in found)]


def rows(lab: Laboratory) -> Iterator[Row]:
    known = {figure.id for figure in published.load()}
    for name in networks():
        for protocol, (words, table) in PROTOCOLS.items():
            for metric, measure in tested(lab, name, [name], protocol, words).items():
                number = f"{table}/{PAPER.get(name)}/{metric.replace('top', 'top-')}"
                row = Row(f"{name}/{protocol}", metric, measure, published=number if number in known else "")
                yield row
    for protocol in ("single-crop", "multi-scale"):
        together = tested(lab, "resnet-ensemble", TOGETHER, protocol, PROTOCOLS[protocol][0])
        for metric, measure in together.items():
            yield Row(f"resnet-ensemble/{protocol}", metric, measure)


def tested(
    lab: Laboratory, name: str, members: Sequence[str], protocol: str, words: dict[str, Any]
) -> dict[str, Measure | None]:
    """Return top-1 and top-5 error; neither, with the reason noted, if the weights are unavailable."""
    try:
        found = lab.tested([f"zoo:{member}" for member in members], lab.given(), **words)
    except ResightError as error:
        lab.failed[f"{name}/{protocol}"] = str(error)
        return {"top1-error": None, "top5-error": None}
    one, five = found["top1_error"], found["top5_error"]
    return {"top1-error": Measure((one,), tuple(found["top1_interval"])), "top5-error": Measure((five,))}


def holds(found: Figures) -> bool:
    one, deep = (found[f"resnet{d}/v1/single-crop/top1-error"] for d in (50, 152))
    return deep < one and found["resnet152/v1/ten-crop/top1-error"] < deep


EXPERIMENT = Experiment(
    paper="He et al. 2015, tables 2 to 5",
    claim="deeper residual networks, more crops and ensembles lower the error on ImageNet",
    needs=("a folder of ImageNet's validation pictures, one folder a class",),
    rows=rows, holds=holds, smoke=Scale(name="smoke"),
)  # fmt: skip
