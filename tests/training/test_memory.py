"""Memory that runs out beside a step, pictures that do not fit on a GPU, and what a step may be given."""

import sys

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from resight.cli import main as command
from resight.core.errors import TrainingError
from resight.core.preprocessing import Preprocessing
from resight.data.batches import Batch, ResidentBatches, StreamedBatches
from resight.data.marks import ClassMarks
from resight.data.open import open_dataset
from resight.data.prepare import Normalize, decode_split
from resight.models.zoo import create_model
from resight.service.train import batches as batching
from resight.service.train import job as jobs
from resight.service.train.train import train
from resight.tasks.classify.task import OneClass
from resight.tasks.task import Aids
from resight.training.checkpoints import Progress
from resight.training.machine import Machine
from resight.training.optimizer import make_optimizer, set_mode
from resight.training.recipe import Recipe
from resight.training.step import Step

RECIPE = Recipe(
    model="speednet8_narrow", image_size=16, epochs=1, batch_size=8, lr=0.1, schedule="constant",
    augment=("shift", "flip"), normalize="channel",
)  # fmt: skip
WORDS = ["model=speednet8_narrow", "image_size=16", "batch_size=8", "epochs=2"]
FAULT = "CUDA error: out of memory\nCUDA kernel errors might be reported later"


def runs_out(*_, **__):
    raise RuntimeError(FAULT)


def started(folder):
    train(str(folder), changes=WORDS, out="run", console=Console(quiet=True))


def test_memory_that_runs_out_while_a_batch_is_made_is_one_line(folder, monkeypatch):
    monkeypatch.setattr(ResidentBatches, "epoch", runs_out)
    with pytest.raises(TrainingError, match=r"^out of memory outside a step \(CUDA error") as caught:
        started(folder)
    assert "\n" not in str(caught.value) and "--resume" in str(caught.value)


def test_memory_that_runs_out_before_the_first_step_is_one_line_and_leaves_no_folder(
    folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(jobs, "make_batches", runs_out)
    with pytest.raises(TrainingError, match="out of memory outside a step"):
        started(folder)
    assert not (tmp_path / "run").exists()


def test_an_error_of_another_kind_stays_what_it_is(folder, monkeypatch):
    def broken(*_):
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(ResidentBatches, "epoch", broken)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        started(folder)


@pytest.mark.parametrize(
    "error", [RuntimeError(FAULT), MemoryError(), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_memory_that_runs_out_in_any_command_is_one_line(error, monkeypatch, capsys):
    def short(*_, **__):
        raise error

    monkeypatch.setattr(command, "app", short)
    monkeypatch.setattr(sys, "argv", ["resight", "predict"])
    with pytest.raises(SystemExit) as caught:
        command.run()
    said = capsys.readouterr().err
    assert caught.value.code == 1 and said.startswith("resight: out of memory (") and said.count("\n") == 1


def test_a_process_that_is_gone_is_one_line_in_any_command(monkeypatch, capsys):
    def lonely(*_, **__):
        raise RuntimeError("[/x/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:5")

    monkeypatch.setattr(command, "app", lonely)
    with pytest.raises(RuntimeError, match="closed by peer"):
        command.run()  # alone, it is an error of ours
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(SystemExit):
        command.run()
    assert "resight: another process of this command ended" in capsys.readouterr().err


@pytest.mark.parametrize(("free", "kind"), [(1e12, ResidentBatches), (1e4, StreamedBatches)])
def test_pictures_that_would_fill_the_card_stay_in_memory(folder, monkeypatch, free, kind):
    """A step sees the same pictures either way."""
    dataset, card = open_dataset(folder), Preprocessing(size=16, resize=16)
    _, pictures, _ = decode_split(dataset.train, card)
    device = torch.device("cpu")
    monkeypatch.setattr(batching, "free_memory", lambda _: free)
    made = batching.make_batches(
        dataset, RECIPE, Machine(), pictures, Normalize(card, device), strict=False
    )  # fmt: skip
    assert type(made) is kind
    monkeypatch.setattr(batching, "free_memory", lambda _: 1e12)
    resident = batching.make_batches(
        dataset, RECIPE, Machine(), pictures, Normalize(card, device), strict=False
    )  # fmt: skip
    for one, other in zip(made.epoch(3), resident.epoch(3), strict=True):
        assert np.array_equal(one.samples, other.samples) and torch.equal(one.images, other.images)


def test_a_batch_larger_than_a_step_is_an_error():
    """Else it would be cut into parts of one step's size, without a word and many times slower."""
    model = create_model(RECIPE.model, 3)
    objective = OneClass().objective(model, Aids())
    step = Step(model, objective, make_optimizer(model, RECIPE), 8, torch.float32)
    batch = Batch(torch.randn(9, 3, 16, 16), ClassMarks.of(torch.zeros(9, dtype=torch.long)))
    with pytest.raises(ValueError, match="a batch of 9 pictures, but a step takes 8"):
        step(batch, 0, 0.0, 0, Progress(), print)


@pytest.mark.parametrize("synchronized", [False, True])
def test_frozen_statistics_stay_so_where_they_are_synchronized(synchronized):
    """As on GPUs, where torch's own SyncBatchNorm is no BatchNorm2d."""
    model = create_model("speednet8_narrow", 3, frozen_norm=True)
    if synchronized:
        model = nn.SyncBatchNorm.convert_sync_batchnorm(model)
    set_mode(model, RECIPE, 0)
    norms = [m for m in model.modules() if "BatchNorm" in type(m).__name__]
    assert len(norms) == 6 and not any(norm.training for norm in norms) and model.training
