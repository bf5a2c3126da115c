"""A training of the command leaves busy cores to others, and resumes with the threads that it began with."""

import json

import pytest
import torch

from resight.core import threads
from resight.service.train.train import train
from support import make_folder

SMALL = {"model": "resnet20", "recipe": "fast", "changes": ("image_size=16", "batch_size=16", "ema=0")}


@pytest.fixture
def cores(monkeypatch):
    """Two cores, of which others use as many as it is told."""
    count, busy = torch.get_num_threads(), [0]
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "cores", lambda: 2)
    monkeypatch.setattr(threads, "busy_cores", lambda: busy[0])
    torch.set_num_threads(2)
    yield busy
    torch.set_num_threads(count)


def recorded(run):
    return json.loads((run / "recipe.json").read_text())["threads"]


def test_busy_cores_are_left_and_a_resumed_run_keeps_its_threads(cores, tmp_path):
    photos, run = make_folder(tmp_path / "colours"), tmp_path / "run"
    cores[0] = 1
    train(str(photos), epochs=1, out=str(run), share_cores=True, **SMALL)
    assert torch.get_num_threads() == recorded(run) == 1
    cores[0] = 0
    torch.set_num_threads(2)
    train(resume=str(run), epochs=2, share_cores=True)
    assert torch.get_num_threads() == recorded(run) == 1


def test_a_program_that_calls_the_library_keeps_its_threads(cores, tmp_path):
    cores[0] = 1
    train(str(make_folder(tmp_path / "colours")), epochs=1, out=str(tmp_path / "run"), **SMALL)
    assert torch.get_num_threads() == recorded(tmp_path / "run") == 2
