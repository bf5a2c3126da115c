"""Official weights on ImageNet's validation pictures (He et al. 2015, tables 2 to 5).

Nothing is trained. Every network with official weights is tested with one crop, with ten, and, if it pools
globally, at the paper's five scales; the residual networks of 50, 101 and 152 layers also together.
Networks whose weights cannot be had are left out with the reason.
"""

from collections.abc import Iterator

from resight.core.errors import ResightError
from resight.models.zoo import NETWORKS
from resight.reproduce.experiment import Experiment, Figures, Measure, Row, Scale
from resight.reproduce.laboratory import Laboratory
from resight.service.test import test

PROTOCOLS = {
    "single-crop": {},
    "ten-crop": {"views": "ten-crop"},
    "multi-scale": {"views": "flip", "scales": (224, 256, 384, 480, 640)},
}
TOGETHER = ("resnet50", "resnet101", "resnet152")
PUBLISHED = {f"resnet{d}_v1/ten-crop": f"in-resnet-t3/resnet-{d}/top-1-error" for d in (50, 101, 152)}


def networks() -> list[str]:
    return [name for name, network in NETWORKS.items() if network.classes == 1000]


def rows(lab: Laboratory) -> Iterator[Row]:
    for name in networks():
        for protocol, words in PROTOCOLS.items():
            yield from tested(lab, name, [f"zoo:{name}"], protocol, words)
    yield from tested(lab, "resnet-ensemble", [f"zoo:{name}" for name in TOGETHER], "single-crop", {})


def tested(lab: Laboratory, name: str, runs: list[str], protocol: str, words: dict) -> Iterator[Row]:
    """Return top-1 and top-5 error, or nothing, with the reason noted, if the network cannot be tested so."""
    try:
        found = test(runs, lab.require_data(), "test", data_root=lab.data_root, **words)
    except ResightError as error:
        lab.failed[f"{name}/{protocol}"] = str(error)
        return
    for metric in ("top1", "top5"):
        if (value := found[f"{metric}_error"]) is not None:
            interval = tuple(found["top1_interval"]) if metric == "top1" else None
            published = PUBLISHED.get(f"{name}/{protocol}", "") if metric == "top1" else ""
            yield Row(
                f"{name}/{protocol}", f"{metric}-error", Measure((value,), interval), published=published
            )


def holds(found: Figures) -> bool:
    one, deep = found["resnet50/single-crop/top1-error"], found["resnet152/single-crop/top1-error"]
    return deep < one and found["resnet152/ten-crop/top1-error"] < deep


EXPERIMENT = Experiment(
    paper="He et al. 2015, tables 2 to 5",
    claim="deeper residual networks, more crops and ensembles lower the error on ImageNet",
    needs="a folder of ImageNet's validation pictures, one folder a class",
    rows=rows, holds=holds, smoke=Scale(name="smoke"),
)  # fmt: skip
