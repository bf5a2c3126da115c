"""The solution by construction (He et al. 2015, section 1).

A trained network of 20 layers becomes one of 56 by layers that change nothing, so depth alone costs nothing.
Both then train on, at a tenth of the first rate: does the optimizer keep such a solution?
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from resight.data.open import open_dataset
from resight.models.modelfile import save_model
from resight.reproduce.deepening import deepened
from resight.reproduce.experiment import Experiment, Figures, Made, Measure, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory
from resight.service.run.run import Run, open_run
from resight.service.test.test import test_split

FAMILIES = ("plain", "resnet")
ON = ("lr=0.01", "epochs=40")


def write(lab: Laboratory, run: Run, path: Path, name: str) -> None:
    """Write a run's network, deepened."""
    model = deepened(run.model, name, lab.images(run, "cifar10", "train", 1000))
    save_model(path, model, model.state_dict(), {})


def changed(lab: Laboratory, family: str) -> Measure | None:
    """Return the share of training pictures in percent whose answer changes with the depth."""
    found = []
    for seed in lab.measured(f"{family}-56-on"):
        data = open_dataset(str(lab.set_of("cifar10")), lab.data_root)
        files = lab.run_folder(lab.training(f"{family}-20"), seed), lab.file(f"{family}-20-deepened", seed)
        results = [test_split([open_run(str(file))], data, "train").probabilities for file in files]
        found.append(100 * float((results[0].argmax(1) != results[1].argmax(1)).double().mean()))
    return Measure(tuple(found), (found[0], found[0])) if found else None


def rows(lab: Laboratory) -> Iterator[Row]:
    for family in FAMILIES:
        yield Row(f"{family}-56-on", "answers-changed-before", changed(lab, family))
        for condition in (f"{family}-20", f"{family}-20-on", f"{family}-56-on"):
            yield Row(condition, "training-error", lab.training_error(condition))
            yield Row(condition, "test-error", lab.error(condition))


def same_at_once(found: Figures) -> bool:
    return all(found[f"{family}-56-on/answers-changed-before"] < 0.1 for family in FAMILIES)


def residual_keeps(found: Figures) -> bool:
    return found["resnet-56-on/training-error"] < found["resnet-20-on/training-error"]


def plain_loses(found: Figures) -> bool:
    return found["plain-20-on/training-error"] < found["plain-56-on/training-error"]


PARTS = (
    ("the deeper network answers as the shallower one at once", same_at_once),
    ("trained on, ResNet-56 has a smaller training error than ResNet-20", residual_keeps),
    ("trained on, plain-56 has a larger training error than plain-20", plain_loses),
)
EXPERIMENT = Experiment(
    paper="He et al. 2015, section 1",
    claim="identity layers deepen a network at no cost; trained on, a residual one gains, a plain one loses",
    trainings=tuple(
        Training(condition=f"{family}-{depth}", words=(f"model={family}{depth.partition('-')[0]}", *words))
        for family in FAMILIES
        for depth, words in (
            ("20", ()), ("20-on", (f"weights={{{family}-20}}", *ON)),
            ("56-on", (f"weights={{{family}-20-deepened}}", *ON)),
        )
    ),
    files={f"{f}-20-deepened": Made(f"{f}-20", partial(write, name=f"{f}56")) for f in FAMILIES},
    parts=PARTS, holds=lambda found: all(part(found) for _, part in PARTS),
    rows=rows, smoke=Scale(name="smoke", epochs=2, pictures=640, tested=500),
)  # fmt: skip
