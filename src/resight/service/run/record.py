"""What every job writes down of itself: in recipe.json, and in the header of its model file."""

import sys
from typing import Any, Protocol

import torch

import resight
from resight.core import settings
from resight.data.dataset import Dataset
from resight.models import cost
from resight.models.classifier import Classifier
from resight.service.run.members import KEY, Members
from resight.service.run.run import absolute


class Recorded(Protocol):
    """What is read of a job: of a network's training or a classic pipeline's fit."""

    dataset: Dataset
    recipe: Any
    model: Any
    identity: dict[str, Any]
    leaks: int
    members: Members | None
    data_root: str | None


def facts_of(job: Recorded) -> dict[str, Any]:
    """Return what the model file says of the data, the recipe and the version."""
    return {
        "recipe": settings.to_dict(job.recipe),
        "data": absolute(job.dataset.name),
        "data_root": job.data_root and absolute(job.data_root),
        "data_fingerprint": job.identity["data"],
        "resight": resight.__version__,
        KEY: job.members and job.members.header(),
    }


def record_of(job: Recorded, data: str, data_root: str | None) -> dict[str, Any]:
    """Return what recipe.json says of the data, the recipe and the versions."""
    return {
        "recipe": settings.to_dict(job.recipe),
        "data": absolute(data),
        "data_root": data_root and absolute(data_root),
        "data_fingerprint": job.identity["data"],
        "classes": list(job.dataset.classes),
        "splits": {name: len(split) for name, split in job.dataset.splits.items()},
        "notes": list(job.dataset.notes),
        "leaks": job.leaks,
        "versions": {
            "resight": resight.__version__,
            "torch": torch.__version__,
            "python": sys.version.split()[0],
        },
    }


def costs_of(model: Classifier, image_size: int) -> dict[str, int]:
    """Return what recipe.json says of a network: what a picture costs it, and its size."""
    return {"multiply_adds": cost.multiply_adds(model, image_size), "parameters": cost.parameters(model)}
