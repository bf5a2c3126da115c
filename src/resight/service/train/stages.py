"""The stages of a training: each is one cycle of the learning-rate schedule, recorded in recipe.json.

A training has one stage. A finished run that is continued gets another one: a new cycle over the
additional epochs, a warm restart (Loshchilov and Hutter 2017, "SGDR", section 3). It starts from the weights,
averages and momenta of the last epoch. A schedule that was laid out for fewer epochs cannot become a longer
one afterwards, so the result is not that of one training of all epochs.
"""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from resight.core.distributed import world
from resight.core.documents import Whole, require
from resight.core.errors import ModelFileError, UsageError
from resight.service.run.folder import resume_line
from resight.training.checkpoints import stands_at

Stages = tuple[dict[str, Any], ...]
"""Of each stage "epochs"; and, where a time was given, "minutes" and what was measured."""
KEY = "stages"


def stages_of(record: Mapping[str, Any], where: str) -> Stages:
    """Return the stages of a run; runs made before there were stages have one.

    Args:
        record: its recipe.json.
        where: the run, for errors.

    Raises:
        ModelFileError: if they are damaged.
    """
    whole = record["recipe"]["epochs"]
    found = require(
        record.get(KEY) or [{"epochs": whole}],
        [{"epochs": Whole(1, 10**9)}],
        f"{where}: {KEY}",
        ModelFileError,
    )
    if epochs_of(found) != whole:
        raise ModelFileError(
            f"{where}: its recipe.json is damaged: stages of {epochs_of(found)} epochs, but {whole} in all"
        )
    return tuple(found)


def epochs_of(stages: Any) -> int:
    """Return the epochs of some stages together."""
    return sum(stage["epochs"] for stage in stages)


def continued(
    stages: Stages, folder: Path, epochs: int | None, minutes: float | None
) -> tuple[Stages, float | None]:
    """Return the stages of a run that is resumed, and the minutes that a new one shall take, if any.

    Args:
        stages: of its record.
        folder: of the run.
        epochs: how many the user asks for, all stages together; None to finish what was begun.
        minutes: for a new stage; of a stage that is not finished, its own.

    Raises:
        UsageError: if the run is not finished and shall have another length, or has more epochs already.
        ModelFileError: if it is finished and its state is gone.
    """
    total, stands = epochs_of(stages), stands_at(folder)
    done = stands.epoch if stands else 0
    finished = done >= total
    if minutes is not None:
        same = stages[-1].get("minutes") == minutes
        if same and (not finished or world().restarts):  # the launcher repeats the words of the start
            return stages, None
    elif epochs in (None, total):
        return stages, None
    if not finished:
        asked = (
            f"epochs {total} -> {epochs}" if minutes is None else f"minutes {_minutes(stages)} -> {minutes:g}"
        )
        raise UsageError(
            f"{folder}: is at epoch {done + 1} of {total}, and its learning rates are planned for {total} "
            f"({asked}); finish it with: {resume_line(folder)}; then it can be extended"
        )
    if minutes is None and epochs is not None and epochs < total:
        raise UsageError(f"{folder}: has {total} epochs already; --epochs {epochs} must be more than that")
    if minutes is not None:
        return stages, minutes
    assert epochs is not None
    return (*stages, {"epochs": epochs - total}), None


def _minutes(stages: Stages) -> str:
    given = stages[-1].get("minutes")
    return "none" if given is None else f"{given:g}"


def command_of(command: str, stages: Stages, folder: Path) -> str:
    """Return the commands that lead to a run of several stages.

    Args:
        command: that of one training with all epochs.
        stages: of the run.
        folder: of the run.
    """
    if len(stages) == 1:
        return command
    words, total = shlex.split(command), stages[0]["epochs"]
    words = [f"epochs={total}" if word == f"epochs={epochs_of(stages)}" else word for word in words]
    lines = [shlex.join([*words, "--out", str(folder)])]
    for stage in stages[1:]:
        total += stage["epochs"]
        lines.append(f"{resume_line(folder)} --epochs {total}")
    return " && ".join(lines)
