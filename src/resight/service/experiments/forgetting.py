"""A second task: what it costs the first (Li and Hoiem 2016, "Learning without Forgetting", table 1).

    python -m resight.service.experiments.forgetting OLD_RUN NEW_DATA OUT [EPOCHS] [SEED]

Four ways to teach a trained network NEW_DATA, all with the same settings but for what makes the method:

    feature extraction     the trunk stays as it is
    fine-tuning            all weights move, nothing holds the old answers; the old head is put back to test
    without forgetting     the old answers on the new pictures are learned too
    joint training         the old pictures are learned too: what the others do without

Old and new errors are of the test splits. Joint training has one head over both tasks' classes; each task is
tested among its own, as if it had a head of its own.
"""

import copy
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from resight.data.dataset import Dataset
from resight.data.open import open_dataset
from resight.data.splitting import with_validation
from resight.models.classifier import Classifier
from resight.service.experiments.folders import write_split
from resight.service.runs import Run, open_run
from resight.service.test import dataset_of, test_split
from resight.service.train import train

WORDS = {
    "feature extraction": ("teacher=", "trunk_lr=0"),
    "fine-tuning": ("teacher=",),
    "without forgetting": (),
}


def forgetting(old: str, new: str, out: Path, epochs: int = 20, seed: int = 0) -> list[dict[str, Any]]:
    """Return the errors in percent on the old and the new task for each method, with their intervals.

    Args:
        old: a RUN.
        new: a data set.
        out: folder of the runs.
        epochs: of each method.
        seed: of each method.
    """
    before = open_run(old)
    tasks = dataset_of(before, None), open_dataset(new)
    common = [f"weights={old}", f"epochs={epochs}", f"seed={seed}"]
    rows = [_row("before", _error(before, tasks[0]), None)]
    for method, words in WORDS.items():
        folder = out / method.replace(" ", "-")
        train(new, recipe="li2016", changes=[*common, *words], out=str(folder))
        run = open_run(str(folder))
        new_error = _error(run, tasks[1])
        rows.append(_row(method, _error(run, tasks[0], _with_old_head(run.model, before.model)), new_error))
    both = write_both(tasks, out / "both")
    train(str(both), recipe="li2016", changes=[*common, "teacher="], out=str(out / "joint"))
    run = open_run(str(out / "joint"))
    errors = [_error(run, task, _among(run.model, task, number)) for number, task in enumerate(tasks)]
    return [*rows, _row("joint training", *errors)]


def write_both(tasks: Sequence[Dataset], folder: Path) -> Path:
    """Write the pictures of both tasks into one folder of splits and classes, 0-NAME and 1-NAME."""
    for number, task in enumerate(tasks):
        for name, split in with_validation(task, 0.1).splits.items():
            write_split(split, folder / name, f"{number}-")
    return folder


def _error(run: Run, task: Dataset, model: Classifier | None = None) -> dict[str, Any]:
    """Return the test figures of a run, or of another network in its place, on a task."""
    return test_split([replace(run, model=model or run.model)], task).figures()


def _with_old_head(model: Classifier, before: Classifier) -> Classifier:
    """Return a network with the old network's last layer."""
    if model.old_tasks:
        model.use_old_head(model.old_tasks[-1].name)
    else:
        model = _with_head(model, before.get_classifier(), before.classes)
    model.preprocessing = before.preprocessing
    return model


def _among(model: Classifier, task: Dataset, number: int) -> Classifier:
    """Return a network that chooses among one task's classes."""
    model, layer = copy.deepcopy(model), model.get_classifier()
    assert isinstance(layer, nn.Linear)
    rows = [model.classes.index(f"{number}-{name}") for name in task.classes]
    head = nn.Linear(layer.in_features, len(rows))
    head.load_state_dict({"weight": layer.weight[rows], "bias": layer.bias[rows]})
    return _with_head(model, head, task.classes)


def _with_head(model: Classifier, head: nn.Module, classes: tuple[str, ...]) -> Classifier:
    parent, _, leaf = model.classifier_name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, head)
    model.classes, model.num_classes = classes, len(classes)
    return model


def _row(method: str, old: dict[str, Any], new: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "method": method,
        "old": old["top1_error"],
        "old_interval": old["top1_interval"],
        "new": new and new["top1_error"],
        "new_interval": new and new["top1_interval"],
    }


if __name__ == "__main__":
    old, new, out, *numbers = sys.argv[1:]
    for row in forgetting(old, new, Path(out), *map(int, numbers)):
        sys.stdout.write(json.dumps(row) + "\n")
