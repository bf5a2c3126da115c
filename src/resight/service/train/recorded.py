"""What recipe.json says of a training: everything needed to train again."""

import shlex
from typing import TYPE_CHECKING, Any

import torch

from resight.core import settings
from resight.core.device import describe
from resight.core.distributed import world
from resight.service.run.record import record_of
from resight.tasks.task import SolverTask
from resight.tasks.tasks import header_of

if TYPE_CHECKING:
    from resight.service.train.job import Job


def recorded(job: "Job", data: str, data_root: str | None, base: str) -> dict[str, Any]:
    """Return recipe.json.

    Args:
        job: the training.
        data: what the user called the data set.
        data_root: where built-in data sets lie, if it was said.
        base: name of the recipe that the settings began with.
    """
    return {
        "command": command_of(job, data, data_root, base),
        "base": base,
        **header_of(job.task),
        **record_of(job, data, data_root),
        **job.costs,
        "hardware": hardware_of(job.normalize.device),
        "threads": torch.get_num_threads(),
        "processes": world().processes,
        "machine": settings.to_dict(job.machine),
        "precision": job.arithmetic,
        "weights": job.start.record(job.model.origin),
    }


def command_of(job: "Job", data: str, data_root: str | None, base: str) -> str:
    """Return the exact command of a training; see `recorded`."""
    words = ["resight", "train", data, "--recipe", base]
    words += ["--data-root", data_root] if data_root else []
    words += settings.as_words(job.recipe)
    if isinstance(job.task, SolverTask):
        own = settings.as_words(job.task)[1::2]
        words += ["--task", job.task.name]
        words += [word for pair in own for word in ("--set", f"{job.task.name}.{pair}")]
    return shlex.join(words)


def hardware_of(device: torch.device) -> str:
    """Return in words what a training runs on."""
    count = world().processes
    return describe(device) if count == 1 else f"{count} processes, each {describe(device)}"
