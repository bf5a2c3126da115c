"""Trainings that are stopped, and trainings by several processes, for the tests of every task."""

from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

import copies
from resight.models.modelfile import load_tensors
from resight.service.train import job as jobs


@contextmanager
def stopped_after(steps):
    """Trainings inside the block are stopped after so many steps, as by Ctrl-C."""
    real = jobs.fit

    def fit(*words):
        count = 0

        def stop():
            nonlocal count
            count += 1
            return count == steps

        words[-1].stop = stop
        real(*words)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(jobs, "fit", fit)
        yield


def assert_same_weights(run, other):
    """Weights and the state that resuming needs are equal to the bit."""
    for name in ("model.safetensors", "last/state.safetensors"):
        left, right = (load_tensors(Path(folder) / name)[0] for folder in (run, other))
        assert left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def by_processes(count, words, out, timeout):
    """Run the command in one process or several, on the CPU; return its output."""
    done = copies.together(count, *words, "--out", out, timeout=timeout)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def difference(one, two):
    """Return the largest difference of the states that two runs left."""
    left, right = (load_tensors(Path(run) / "last/state.safetensors")[0] for run in (one, two))
    assert left.keys() == right.keys()
    return max(float((left[k] - right[k]).abs().max()) for k in left)
