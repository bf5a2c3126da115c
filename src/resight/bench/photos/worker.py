"""One training in its own process: the argument is a task as JSON, the standard output is the outcome."""

import importlib
import json
import sys

import torch

from resight.bench.photos.task import Outcome, Task
from resight.core.device import keep_pages

CANDIDATES = {
    "resight": ("own", "fine_tuned"),
    "fastai": ("fastai", "fastai"),
    "timm": ("loops", "timm_loop"),
    "resight-scratch": ("own", "from_scratch"),
    "torchvision-scratch": ("loops", "torchvision_loop"),
}
"""Module and function of each; imported in the process that trains, before its clock starts."""


def run(task: Task) -> Outcome:
    """Run a task in this process."""
    module, function = CANDIDATES[task.candidate]
    keep_pages()  # the allocator setting that helps everyone
    torch.set_num_threads(task.threads)
    return getattr(importlib.import_module(f"resight.bench.photos.{module}"), function)(task)


if __name__ == "__main__":
    answers, sys.stdout = sys.stdout, sys.stderr  # output of the libraries is not the outcome
    answers.write(json.dumps(run(Task(**json.loads(sys.argv[1]))).to_dict()))
