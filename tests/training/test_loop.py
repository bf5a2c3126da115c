"""The loop's own promises: finite or stopped, warned early, averaged right."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import nn

from resight.core.errors import UsageError
from resight.models.zoo import create_model
from resight.service.train.train import train
from resight.training.ema import EVERY, AveragedWeights
from resight.training.guessing import Guessing
from resight.training.journal import Journal, read_csv
from resuming import assert_same_weights, stopped_after
from support import make_folder, one_line, resight

TINY = ["model=resnet20", "image_size=16", "batch_size=8"]


def test_a_loss_that_is_no_number_stops_with_its_cause(folder):
    done = resight("train", folder, "--epochs", "3", *(x for w in [*TINY, "lr=1e30"] for x in ("--set", w)))
    line = one_line(done, 1)
    assert "epoch" in line and "step" in line and "--set lr=" in line


def test_shuffled_labels_are_warned_of(tmp_path):
    root = make_folder(tmp_path / "d", count=120)
    rows = sorted(root.rglob("*.png"))
    labels = np.random.default_rng(0).permutation([p.parent.name for p in rows])
    (tmp_path / "d.csv").write_text(
        "path,label\n" + "".join(f"{p},{label}\n" for p, label in zip(rows, labels, strict=True))
    )
    with (tmp_path / "log").open("w") as log:
        train(
            str(tmp_path / "d.csv"),
            epochs=6,
            changes=[*TINY, "lr=0.02"],
            out="run",
            console=Console(file=log, width=1000),
        )
    (said,) = (line for line in (tmp_path / "log").read_text().splitlines() if "warning" in line)
    assert "training error" in said and "the labels may be shuffled" in said


def test_honest_labels_are_not_warned_of(tmp_path):
    root = make_folder(tmp_path / "d", count=40)
    with (tmp_path / "log").open("w") as log:
        train(str(root), epochs=8, changes=[*TINY, "lr=0.02"], out="run", console=Console(file=log))
    assert "warning" not in (tmp_path / "log").read_text()


def test_nothing_is_suspicious_in_the_warm_up(tmp_path):
    """A training at guessing is warned of once, at six tenths, and only if six tenths were not warm-up."""
    row = {"step": 1, "lr": 0.1, "train_loss": 2.3, "train_error": 90.0, "seconds": 1, "images_per_second": 1}
    for quiet, first in ((0.0, 6), (0.3, 6), (0.5, 8), (0.9, 0)):
        said, history = io.StringIO(), []
        with Journal(None, Console(file=said), Guessing(90.0, 90.0, 500), quiet) as journal:
            for epoch in range(1, 11):
                history.append({"epoch": epoch, **row})
                journal.epoch(history, 10, 0)
                assert said.getvalue().count("warning") == (epoch >= first > 0), (quiet, epoch)


def test_averages_follow_the_formula():
    model = create_model("resnet20", 3)
    averages = AveragedWeights(model, 0.9)
    expected = model.fc.weight.detach().clone()
    for step in range(40):
        with torch.no_grad():
            model.fc.weight.add_(torch.randn_like(model.fc.weight))
            model.bn1.running_mean.add_(1)
        averages.update(model, step)
        if (step + 1) % EVERY == 0:
            decay = min(0.9, (1 + step) / (10 + step)) ** EVERY
            expected = decay * expected + (1 - decay) * model.fc.weight.detach()
    torch.testing.assert_close(averages.state["fc.weight"], expected)
    assert 30 < averages.state["bn1.running_mean"][0] < 40


def test_averages_take_statistics_in_and_counters_over():
    """By hand: after step 4 the decay is min(0.9, 5 / 14)^5, after step 9 it is min(0.9, 10 / 19)^5."""
    norm = nn.BatchNorm2d(1)  # running mean 0, running variance 1
    averages = AveragedWeights(norm, 0.9)
    mean, var = 0.0, 1.0
    for step in range(10):
        norm.running_mean.fill_(step + 1.0)
        norm.running_var.fill_(2.0 * (step + 1))
        norm.num_batches_tracked.fill_(step + 1)
        averages.update(norm, step)
        if step in (4, 9):
            decay = ((1 + step) / (10 + step)) ** 5
            mean = decay * mean + (1 - decay) * (step + 1)
            var = decay * var + (1 - decay) * 2 * (step + 1)
        assert averages.state["running_mean"].item() == pytest.approx(mean, rel=1e-6), step
        assert averages.state["running_var"].item() == pytest.approx(var, rel=1e-6), step
    assert averages.state["num_batches_tracked"].item() == 10
    assert averages.state["running_mean"] is not norm.running_mean


def test_a_plateau_drops_the_rate_of_a_training_and_of_one_that_is_resumed(folder):
    """At such a rate the error stays as it is: from the third epoch on each drops the rate once more."""
    words = [
        "model=lenet5_modern", "image_size=32", "batch_size=8", "lr=1e-9", "schedule=plateau", "drops=0.25",
    ]  # fmt: skip
    call = {"epochs": 4, "changes": words, "console": Console(file=io.StringIO())}
    train(str(folder), out="whole", **call)
    with stopped_after(5):
        train(str(folder), out="cut", **call)
    train(resume="cut", console=call["console"])
    for run in ("whole", "cut"):
        rows = read_csv(Path(run) / "metrics.csv")
        assert len({row["val_error"] for row in rows}) == 1
        assert [row["lr"] for row in rows] == pytest.approx([1e-9, 1e-9, 1e-10, 1e-11], rel=1e-6)
    assert_same_weights("whole", "cut")


def test_a_plateau_without_validation_is_refused(folder):
    words = [*TINY, "schedule=plateau", "drops=", "val_share=0"]
    with pytest.raises(UsageError, match="there are no validation pictures"):
        train(str(folder), changes=words, out="run", console=Console(file=io.StringIO()))


@pytest.mark.parametrize("trunk", [0.0, 0.1])
def test_the_trunk_moves_slower_than_the_head(folder, trunk):
    train(str(folder), epochs=1, changes=[*TINY, "ema=0"], out="first")
    words = [*TINY[1:], f"trunk_lr={trunk}", "weights=first", "ema=0", "weight_decay=0"]
    train(str(folder), recipe="fine-tune", epochs=1, changes=words, out="second")
    from resight.models.modelfile import load_model

    (a, _), (b, _) = (
        load_model(__import__("pathlib").Path(r) / "model.safetensors") for r in ("first", "second")
    )
    moved = (a.conv1.weight - b.conv1.weight).abs().max().item()
    assert (moved == 0) == (trunk == 0)
    assert not torch.equal(a.fc.weight, b.fc.weight)
