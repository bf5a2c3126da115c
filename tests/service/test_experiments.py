"""The experiments on training, cut down to seconds."""

import json
import subprocess
import sys

import numpy as np
import pytest

from resight.data.open import open_dataset
from resight.service.experiments.generated import some
from resight.service.experiments.imbalance import long_tail
from support import make_folder, resight


def run(name, *words):
    done = subprocess.run(
        [sys.executable, "-m", f"resight.service.experiments.{name}", *map(str, words)],
        capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_forgetting_gives_both_errors_of_every_method(folder, tmp_path):
    words = ("--set", "model=resnet20", "--set", "image_size=16", "--set", "batch_size=8", "--epochs", "6")
    resight("train", folder, *words, "--out", "old", check=0)
    make_folder(tmp_path / "new", ("one", "two"), start=70_000)
    rows = run("forgetting", "old", "new", "out", 3, 0)
    assert [row["method"] for row in rows] == [
        "before", "feature extraction", "fine-tuning", "without forgetting", "joint training"
    ]  # fmt: skip
    assert rows[1]["old"] == rows[0]["old"]  # the trunk and the old head did not move
    assert all(0 <= row["new"] <= 100 for row in rows[1:])
    assert {p.name for p in (tmp_path / "out" / "both" / "train").iterdir()} == {
        "0-blue", "0-green", "0-red", "1-one", "1-two"
    }  # fmt: skip


def test_a_long_tail_falls_from_class_to_class(folder):
    split = open_dataset(folder).train
    before = np.bincount(split.labels)
    counts = np.bincount(long_tail(split, 4.0).labels)
    assert counts[0] == before[0] and counts[0] > counts[1] > counts[2]
    assert counts[2] == max(2, round(before[2] / 4))


def test_a_share_of_the_labels_is_one_of_every_class(folder):
    split = open_dataset(folder).train
    assert np.array_equal(
        np.bincount(some(split, 0.5).labels), [round(n / 2) for n in np.bincount(split.labels)]
    )


@pytest.mark.slow
def test_imbalance_tries_every_way(folder):
    rows = run("imbalance", folder, "out", 3, 1)
    assert [row["balance"] for row in rows] == ["none", "loss", "sampling"]
    assert all(0 <= row["rarer_half"] <= 100 for row in rows)


@pytest.mark.slow
def test_generated_tries_every_share_with_a_gan_of_its_own(folder):
    rows = run("generated", folder, "out", 1, 1)
    assert len(rows) == 9 and len({row["labels"] for row in rows}) == 3
