"""How a second task affects the first (Li and Hoiem 2016, "Learning without Forgetting", table 1).

A network trained on the first --data learns the second in four ways. Feature extraction freezes the trunk.
Fine-tuning changes all weights; the old head is restored for the old task. Learning without Forgetting also
learns the old outputs. Joint training also has the old pictures. Each task is tested among its own classes.
"""

from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from resight.data.open import open_dataset
from resight.data.splitting import with_validation
from resight.reproduce.experiment import Experiment, Figures, Measure, Row, Scale, Training
from resight.reproduce.heads import keep_classes, put_back
from resight.reproduce.laboratory import Laboratory
from resight.reproduce.sets import write_split
from resight.service.test.test import test_split

WAYS = {  # condition: set, words
    "feature-extraction": ("--data 2", ("teacher=", "trunk_lr=0")),
    "fine-tuning": ("--data 2", ("teacher=",)),
    "without-forgetting": ("--data 2", ()),
    "joint": ("both", ("teacher=",)),
}


def write(lab: Laboratory, folder: Path) -> None:
    """Write the pictures of both tasks, with the classes of both."""
    given = [open_dataset(str(lab.set_of(f"--data {n}")), lab.data_root) for n in (1, 2)]
    tasks, mirrors = [with_validation(task, 0.1) for task in given], all(task.mirrors for task in given)
    classes = [f"{number}-{name}" for number, task in enumerate(tasks) for name in task.classes]
    for name in tasks[0].splits:
        parts = [task.split(name) for task in tasks]
        labels = [int(x) for x in (*parts[0].labels, *(parts[1].labels + len(tasks[0].classes)))]
        pictures = chain.from_iterable(map(part.decode, range(len(part))) for part in parts)
        write_split(folder / f"{name}.parquet", pictures, labels, classes, mirrors=mirrors)


def error(lab: Laboratory, condition: str, number: int) -> Measure | None:
    """Return the error in percent of a condition's network on the old task, 0, or on the new one, 1."""
    found = []
    pairs = [(lab.run("before", seed), lab.run(condition, seed)) for seed in lab.seeds]
    for before, run in ((before, run) for before, run in pairs if before and run):
        task = open_dataset(str(lab.set_of(f"--data {number + 1}")), lab.data_root)
        if condition == "joint":
            keep_classes(run.model, [f"{number}-{name}" for name in task.classes], task.classes)
        elif number == 0:
            put_back(run.model, before.model)
        found.append(test_split([run], task).figures())
    errors = tuple(figures["top1_error"] for figures in found)
    return Measure(errors, tuple(found[0]["top1_interval"])) if found else None


def rows(lab: Laboratory) -> Iterator[Row]:
    yield Row("before/old", "test-error", lab.error("before"))
    for condition in WAYS:
        yield Row(f"{condition}/old", "test-error", error(lab, condition, 0))
        yield Row(f"{condition}/new", "test-error", error(lab, condition, 1))


def holds(found: Figures) -> bool:
    return found["without-forgetting/old/test-error"] < found["fine-tuning/old/test-error"]


EXPERIMENT = Experiment(
    paper="Li and Hoiem 2016, table 1",
    claim="learning the old answers too forgets less of the old task than fine-tuning",
    needs=("pictures of the old task in class folders", "those of the new task"),
    trainings=(
        Training(condition="before", data="--data", recipe="fast", words=("model=resnet20", "image_size=64")),
        *(
            Training(condition=c, data=data, recipe="li2016", words=("weights={before}", "epochs=8", *words))
            for c, (data, words) in WAYS.items()
        ),
    ),
    sets={"both": write}, rows=rows, holds=holds,
    smoke=Scale(name="smoke", epochs=2, pictures=300, tested=100),
)  # fmt: skip
