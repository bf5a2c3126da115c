"""Warnings of a training: shuffled labels are found, healthy runs never accused."""

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from sklearn.datasets import load_digits

from resight.service.train import train as training
from resight.training.diagnosis import diagnose
from resight.training.guessing import Guessing, guessing_of
from resight.training.recipe import Recipe
from resight.training.suspicion import looks, memorized, quiet_share, suspicion

TEN, TWO = Guessing(90.0, 90.0, 500, 500), Guessing(50.0, 50.0, 500, 500)


def history(train, val):
    rows = zip(np.broadcast_to(train, 20), np.broadcast_to(val, 20), strict=True)
    return [{"epoch": n + 1, "train_error": float(t), "val_error": float(v)} for n, (t, v) in enumerate(rows)]


def words(rows, guessing, quiet=0.0):
    """All that is said while a run of so many epochs trains."""
    said = [suspicion(rows[:done], len(rows), guessing, quiet) for done in range(1, len(rows) + 1)]
    return [text for text in said if text]


def test_a_run_is_looked_at_four_times_with_five_epochs_at_least():
    assert looks(20) == {8: 1, 12: 8, 16: 12, 20: 16}
    assert looks(60) == {24: 1, 36: 25, 48: 37, 60: 49}, "each epoch once"
    assert looks(5) == {2: 1, 3: 1, 4: 1, 5: 1}
    assert looks(1) == {1: 1}


def test_a_run_that_only_memorizes_is_told_so_as_soon_as_it_is_certain():
    falling = np.linspace(80, 0, 20)
    first, *_ = words(history(falling, 90.0), TEN)
    assert first.startswith("after 12 of 20 epochs the training error is") and "labels look shuffled" in first
    assert memorized(history(falling, 90.0), 20, TEN)


@pytest.mark.parametrize(
    ("guessing", "train", "val"),
    [
        (TEN, 0.0, 60.0),  # few pictures: the network memorizes, and still carries a third over
        (TEN, 0.0, 84.0),  # 84 % wrong is better than guessing, by its interval
        (TEN, 60.0, 65.0),
        (Guessing(50.0, 50.0, 160, 21), 0.0, 52.0),  # 11 of 21 may be 32 %
        (Guessing(50.0, 50.0, 160, 44), 0.0, 50.0),
        (Guessing(10.0, 10.0, 180, 22), 1.0, 13.6),  # 20 to 2: three errors where guessing has two
        (Guessing(90.0, 90.0, 500, 0), 0.0, 90.0),  # nobody knows how many pictures that is
        (Guessing(90.0, 90.0, 0, 500), 90.0, 90.0),
        (Guessing(0.0, 0.0, 500, 500), 0.0, 0.0),  # one class
        (Guessing(50.0, 50.0, 60, 21), 44.0, 48.0),  # slow, and few
    ],
)
def test_what_the_counts_do_not_make_certain_is_not_claimed(guessing, train, val):
    assert not words(history(train, val), guessing)


def test_nothing_learned_is_said_late_and_hardly_anything_only_at_the_end():
    first, *_ = words(history(90.0, 90.0), TEN)
    assert first.startswith("after 12 of 20 epochs the training error (90.0 %) is no better than guessing")
    (only,) = words(history(78.0, 90.0), Guessing(90.0, 90.0, 300, 100))
    assert only.startswith("after 20 of 20 epochs the training error (78.0 %) is hardly better")
    assert not words(history(78.0, 76.0), TEN), "slow, but what it learned holds"


def test_warm_up_rising_rates_and_the_head_alone_are_quiet():
    recipe = Recipe(
        model="resnet20", image_size=32, epochs=20, batch_size=8, lr=0.1, schedule="one-cycle", augment=(),
        normalize="channel",
    )  # fmt: skip
    assert quiet_share(recipe, 200) == 0.2
    changed = {"schedule": "cosine", "warmup": (50.0, 0.01)}
    assert quiet_share(Recipe(**{**vars(recipe), **changed}), 200) == 0.25
    assert quiet_share(Recipe(**{**vars(recipe), **changed, "head_first": 0.5}), 200) == 0.5
    assert not words(history(90.0, 90.0)[:2], TEN), "two epochs are too few"
    late = history(np.repeat([90.0, 5.0], [10, 10]), np.repeat([90.0, 10.0], [12, 8]))
    assert not words(late, TEN, 0.5)


def simulated(rng, *, healthy):
    """Errors of a made run: pictures are right by chance, or by a skill that grows with the epochs."""
    classes, train = int(rng.integers(2, 17)), int(rng.integers(150, 2000))
    val = int(rng.integers(20, 200)) if healthy else 60 + 600 // (classes - 1)
    chance, epochs = 100 * (1 - 1 / classes), int(rng.integers(12, 60))
    grown = np.clip(np.linspace(0, 1.4, epochs) ** rng.uniform(0.4, 1.5), 0, 1)
    skill = grown * rng.uniform(0.5, 1) if healthy else grown * rng.uniform(0.85, 1)
    carried = rng.uniform(0.5, 1) if healthy else 0.0
    luck = rng.random(val)  # the same pictures are hard in every epoch
    rows = []
    for n in range(epochs):
        right = (1 - chance / 100) + chance / 100 * carried * skill[n]
        if not healthy:  # memorized answers change with the weights
            luck = np.where(rng.random(val) < 0.3, rng.random(val), luck)
        wrong = 100 * (1 - right) if rng.random() > 0.01 else 95.0  # a spike now and then
        rows.append(
            {
                "epoch": n + 1,
                "train_error": 100 * rng.binomial(train, chance / 100 * (1 - skill[n])) / train,
                "val_error": 100 * float((luck < wrong / 100).mean()),
            }
        )
    return rows, Guessing(chance, chance, train, val)


def test_of_2000_made_healthy_runs_none_is_accused_and_of_500_shuffled_ones_all_are():
    rng = np.random.default_rng(0)
    accused = [found for _ in range(2000) if (found := words(*simulated(rng, healthy=True)))]
    assert not accused
    assert all(words(*simulated(rng, healthy=False)) for _ in range(500))


def test_the_report_names_shuffled_labels_and_not_too_little_data():
    rows = [
        {**row, "train_loss": 2.3 - 0.1 * n, "val_loss": 2.3 + 0.2 * n, "lr": 0.1}
        for n, row in enumerate(history(np.linspace(80, 0, 20), 90.0))
    ]
    (only,) = diagnose(rows, 90.0, 500, None, 90.0, 500)
    assert only.startswith("The labels look shuffled: the training error is")


DIGITS = load_digits()
HEALTHY = {
    "ten classes": (range(10), [20] * 10, 4, ("epochs=12",)),
    "two classes, 21 to validate": ((3, 8), [80, 80], 10.5, ("epochs=12",)),
    "20 to 2": ((3, 8), [120, 12], 11, ("epochs=12",)),
    "mixup": (range(10), [20] * 10, 4, ("epochs=12", "augment=shift,mixup:0.4")),
    "six a class": (range(10), [6] * 10, 4, ("epochs=25",)),
}
SHUFFLED = {
    "ten classes": (range(10), [16] * 10, 12, ("epochs=40", "augment=", "label_smoothing=0")),
    "two classes": ((3, 8), [40, 40], 125, ("epochs=40", "augment=", "label_smoothing=0")),
    "ten classes, augmented": (range(10), [16] * 10, 12, ("epochs=40", "augment=shift")),
    "three classes, unequal": ((1, 4, 7), [60, 30, 30], 100, ("epochs=40", "augment=")),
}


def trained(place, monkeypatch, kind, seed, *, shuffled):
    """Train on some digits; returns what was printed, the curves, and what guessing comes to."""
    classes, counts, validated, settings = kind
    rng, rows = np.random.default_rng(seed), []
    for label, count in zip(classes, counts, strict=True):
        own, end = rng.permutation(np.flatnonzero(DIGITS.target == label)), count + round(validated)
        parts = {"train": own[:count], "val": own[count:end], "test": own[end : end + 2]}
        rows += [(split, i, label) for split, part in parts.items() for i in part]
    for split in ("train", "val", "test"):
        part = [row for row in rows if row[0] == split]
        labels = np.array([label for *_, label in part])
        for (_, i, _), label in zip(part, rng.permutation(labels) if shuffled else labels, strict=True):
            file = place / "data" / split / str(label) / f"{i}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((DIGITS.images[i] * 15.9).astype(np.uint8)).save(file)
    found = {}

    def finish(job, *_, **__):
        found.update(rows=job.progress.history, guessing=guessing_of(job.dataset, "none"))
        return {}

    monkeypatch.setattr(training, "finish", finish)
    words = ["model=resnet20", "image_size=16", "batch_size=32", "lr=0.03", f"seed={seed}", *settings]
    with (place / "log").open("w") as log:
        training.train(
            str(place / "data"), changes=words, out=str(place / "run"), console=Console(file=log, width=1000)
        )
    return (place / "log").read_text(), found["rows"], found["guessing"]


def all_of(tmp_path, monkeypatch, kinds, count, *, shuffled):
    """Train so many runs, the kinds in turn; returns those that were accused and those that were not."""
    torch.set_num_threads(1)
    accused, silent = [], []
    for seed in range(count):
        name = list(kinds)[seed % len(kinds)]
        (place := tmp_path / str(seed)).mkdir()
        said, rows, guessing = trained(place, monkeypatch, kinds[name], seed, shuffled=shuffled)
        report = diagnose(rows, guessing.train_error, guessing.val, None, guessing.val_error, guessing.train)
        hit = "warning: " in said or report[0].startswith(("The labels look", "Learning rate too high"))
        (accused if hit else silent).append((name, seed, said[said.find("warning") :][:300], report))
    return accused, silent


@pytest.mark.slow
def test_shuffled_labels_are_found_in_20_of_20_runs(tmp_path, monkeypatch):
    accused, silent = all_of(tmp_path, monkeypatch, SHUFFLED, 20, shuffled=True)
    assert not silent, silent
    assert all("shuffled" in said for _, _, said, _ in accused), accused


@pytest.mark.slow
def test_healthy_labels_are_never_accused_in_100_runs(tmp_path, monkeypatch):
    accused, _ = all_of(tmp_path, monkeypatch, HEALTHY, 100, shuffled=False)
    assert not accused, accused
