"""From labels to a detector: boxes from class activation maps as the teacher of a localizer and a detector.

A classifier learns labels alone, and its maps give a box for each training picture. A localizer and a
detector learn these boxes, and, for comparison, the true ones. All are tested on the same pictures with true
boxes. It makes sense where a picture is about one class: not for cells, of which every picture shows all
kinds, so that labels say nothing of what is where.
"""

from collections.abc import Iterator
from typing import Any

from resight.metrics.accuracy import wilson_interval
from resight.reproduce.boxed import TRUE, figures_of_maps, write_located, write_true
from resight.reproduce.experiment import Experiment, Figures, Measure, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory

FROM = {"true": (TRUE, ""), "cam": ("cam-boxes", "classifier")}
"""The set of each kind of boxes, and the training that it is made of."""
TASKS = {"localizer": ("localize", "photos"), "detector": ("detect", "detect")}
ERRORS, PRECISION = {"gt-known-error": "gt_known", "localization-error": "localization"}, {"ap50": "ap50"}


def trainings() -> Iterator[Training]:
    yield Training(condition="classifier", data=TRUE, recipe="photos")
    for name, (task, recipe) in TASKS.items():
        for boxes, (data, of) in FROM.items():
            yield Training(condition=f"{name}-{boxes}", data=data, made_of=of, recipe=recipe, task=task)


def measured(found: list[dict[str, Any]], names: dict[str, str]) -> Iterator[tuple[str, Measure | None]]:
    """Yield figures by name from what every seed's test gave."""
    for name, key in names.items():
        own = key if key == "ap50" else f"{key}_error"
        bounds = found[0][f"{key}_interval"] if found else None
        interval = (bounds[0], bounds[1]) if bounds else None
        yield name, Measure(tuple(test[own] for test in found), interval) if found else None


def rows(lab: Laboratory) -> Iterator[Row]:
    yield Row("classifier", "test-error", lab.error("classifier"))
    source = lab.set_of(TRUE) if any(lab.folders(t.condition) for t in lab.experiment.trainings) else ""
    groups = {
        "maps": ([figures_of_maps(run, source) for run in lab.folders("classifier")], ERRORS | PRECISION)
    }
    for training in lab.experiment.trainings[1:]:
        found = [lab.tested([str(run)], source) for run in lab.folders(training.condition)]
        groups[training.condition] = found, PRECISION if training.task == "detect" else ERRORS
    for condition, (found, names) in groups.items():
        for name, measure in measured(found, names):
            yield Row(condition, name, measure, unit="" if name == "ap50" else "%")
    blind = [(t["baselines"]["best constant box"]["box_error"], t["n"]) for t in groups["localizer-true"][0]]
    wilson = [wilson_interval(round(error * n / 100), n) for error, n in blind]
    constant = Measure(tuple(error for error, _ in blind), wilson[0]) if blind else None
    yield Row("constant-box", "gt-known-error", constant)


def holds(found: Figures) -> bool:
    return found["localizer-cam/gt-known-error"] < found["maps/gt-known-error"]


EXPERIMENT = Experiment(
    paper="what a labelling team saves; weakly supervised boxes as in Zhou et al. 2016, section 3.2",
    claim="a localizer that learned boxes of a classifier's maps misses fewer objects than such boxes do",
    parts=(("true boxes teach the localizer more",
            lambda f: f["localizer-true/gt-known-error"] < f["localizer-cam/gt-known-error"]),
           ("true boxes teach the detector more",
            lambda f: f["detector-true/ap50"] > f["detector-cam/ap50"])),
    trainings=tuple(trainings()), rows=rows, holds=holds, sets={TRUE: write_true, "cam-boxes": write_located},
    smoke=Scale(name="smoke", epochs=1, settings=("model=speednet8_narrow", "image_size=48", "weights=none")),
    needs=("pictures of one class each with boxes, such as wildlife, raccoon_kangaroo or Tiny-ImageNet's",),
    boxed=True,
)  # fmt: skip
