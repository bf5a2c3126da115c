"""Boxes from class labels: average pooling, max pooling, and an earlier map (Zhou et al. 2016, section 2).

A network with max pooling only needs the most discriminative part of an object; one with average pooling
gains from its whole extent, so its class activation maps should cover more of it. Pooling at an earlier,
larger map should make boxes finer.
"""

from collections.abc import Iterator

from resight.reproduce.experiment import Experiment, Figures, Measure, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory
from resight.service.locate.locate import locate
from resight.service.locate.search import Wish

WORDS = ("model=resnet20", "image_size=64", "epochs=24")
CONDITIONS = {
    "average": (("head=gap",), "cam"),
    "maximum": (("head=gmp",), "gmp_cam"),
    "average-earlier": (("head=gap", "last=layer2"), "cam"),
}


def located(lab: Laboratory, condition: str) -> Measure | None:
    """Return the GT-known localization error in percent."""
    method = CONDITIONS[condition][1]
    runs = lab.folders(condition)
    found = [locate(str(run), [lab.given()], Wish([method])).metrics[method] for run in runs]
    values = tuple(figures.gt_known_error for figures in found)
    return Measure(values, found[0].gt_known_interval) if found else None


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition in CONDITIONS:
        yield Row(condition, "localization-error", located(lab, condition))
        yield Row(condition, "test-error", lab.error(condition))


def holds(found: Figures) -> bool:
    return found["average/localization-error"] < found["maximum/localization-error"]


EXPERIMENT = Experiment(
    paper="Zhou et al. 2016, Learning Deep Features for Discriminative Localization, section 2 and table 2",
    claim="maps of a network that averages find objects better than those of one that takes the maximum",
    caveat="where pooling by the maximum also classifies worse, its boxes may be worse for that reason alone",
    needs=("pictures with boxes: Pascal VOC, COCO or Tiny-ImageNet",), boxed=True,
    trainings=tuple(
        Training(condition=c, data="--data", recipe="fast", words=(*WORDS, *words))
        for c, (words, _) in CONDITIONS.items()
    ),
    rows=rows, holds=holds, smoke=Scale(name="smoke", epochs=1),
)  # fmt: skip
