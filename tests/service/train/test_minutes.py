"""`--minutes`: a time becomes epochs and a picture size before the first step; no draw changes."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from resight.core.errors import UsageError
from resight.models.modelfile import load_tensors
from resight.service.train import minutes
from resight.service.train import train as service
from resight.service.train.minutes import (
    Amount,
    Speed,
    choose_for,
    most_epochs,
    seconds_of,
    sizes_for,
    training_share,
)
from resight.service.train.train import train
from resight.training.recipe import Recipe
from support import make_folder

pytestmark = pytest.mark.usefixtures("on_the_cpu")

QUIET = Console(file=io.StringIO(), quiet=True)
WORDS = ("model=resnet20", "image_size=16", "batch_size=8", "augment=resized-crop,flip", "ema=0.9")
SPEED = Speed(head_step=1.0, step=4.0, answer=0.01, reading=0.02, save=0.5)
AMOUNT = Amount(steps=10, kept=100, validation=20, test=30)


def recipe(**changes):
    settings = {
        "model": "resnet18", "image_size": 224, "epochs": 12, "batch_size": 32, "lr": 0.1,
        "schedule": "one-cycle", "augment": (), "normalize": "channel",
    }  # fmt: skip
    return Recipe(**{**settings, **changes})


def test_the_seconds_of_a_training_are_the_sum_of_its_parts():
    # 3 epochs of 10 steps of 4 s, judged and saved; 150 pictures read; 50 tested. The report reads 30 and 764
    # more, with 60 and 900 answers, and takes 5 s besides.
    end = (150 + 30 + 764) * 0.02 + (50 + 60 + 900) * 0.01 + 5.0
    whole = 3 * 10 * 4.0 + 3 * (20 * 0.01 + 0.5) + end
    assert seconds_of(3, recipe(), SPEED, AMOUNT) == pytest.approx(whole)
    assert seconds_of(3, recipe(), replace(SPEED, busy=4.0), AMOUNT) == pytest.approx(whole + 15)
    # Of many test pictures the maps of 2,000 are grouped.
    more = seconds_of(3, recipe(), SPEED, replace(AMOUNT, test=10_000))
    assert more - whole == pytest.approx((9_970 + 1_970) * 0.02 + (9_970 + 2 * 1_970) * 0.01)
    # A quarter of 4 epochs with the head alone, at 1 s a step; none of a run that is continued.
    apart = seconds_of(4, recipe(head_first=0.25), SPEED, AMOUNT)
    assert seconds_of(4, recipe(), SPEED, AMOUNT) - apart == pytest.approx(10 * 3.0)
    assert seconds_of(4, recipe(head_first=0.25), SPEED, AMOUNT, again=True) - apart == pytest.approx(30.0)


def test_as_many_epochs_are_taken_as_fit_and_no_more_than_three_times_the_recipe():
    for epochs in (1, 2, 12, 36):
        exact = seconds_of(epochs, recipe(), SPEED, AMOUNT)
        assert most_epochs(exact, recipe(), SPEED, AMOUNT) == epochs
        assert most_epochs(exact - 0.01, recipe(), SPEED, AMOUNT) == epochs - 1
    assert most_epochs(1e9, recipe(), SPEED, AMOUNT) == 36


def test_smaller_pictures_are_multiples_of_32_and_suit_the_network():
    assert sizes_for(recipe(), fixed=False) == [224, 192, 160, 128, 96]
    assert sizes_for(recipe(image_size=128), fixed=False) == [128, 96]
    assert sizes_for(recipe(), fixed=True) == [224]
    assert sizes_for(recipe(image_size=32), fixed=False) == [32]
    assert sizes_for(recipe(model="inception_v3", image_size=299), fixed=False)[-1] >= 75
    assert sizes_for(recipe(model="deepface", image_size=152), fixed=False) == [152]


def chosen(seconds, sizes=(224, 192, 160, 128, 96)):
    """What is chosen where the cost goes with the number of pixels, and the sizes that were measured."""
    asked = []

    def measure(sized):
        asked.append(sized.image_size)
        share = (sized.image_size / 224) ** 2
        return Speed(share, 4 * share, 0.01 * share, 0.02, 0.5)

    return choose_for(lambda: seconds, recipe(), list(sizes), AMOUNT, measure), asked


def test_time_enough_keeps_the_size_and_a_quarter_of_the_epochs_is_enough():
    found, asked = chosen(1000)
    # 0.95 of 1,000 s less 33.98 s, over 40.7 s an epoch.
    assert (found.epochs, found.image_size, asked, found.fits) == (22, 224, [224], True)
    assert chosen(170)[0].image_size == 224 and chosen(170)[0].epochs == 3


def test_where_few_epochs_fit_the_largest_size_that_gives_enough_is_taken():
    found, asked = chosen(135)  # two epochs of 224; 192 costs 0.73 of it, so three
    assert (found.image_size, found.epochs, asked) == (192, 3, [224, 192])
    found, asked = chosen(80)
    assert (found.image_size, asked) == (128, [224, 128]) and found.epochs >= 3


def test_too_little_time_trains_one_epoch_of_the_least_size():
    found, asked = chosen(5)
    assert (found.epochs, found.image_size, found.fits, asked) == (1, 96, False, [224, 96])
    assert chosen(5, sizes=[224])[0].image_size == 224


def test_folds_share_the_minutes():
    """Four folds train on three quarters each, then the final network on all: four times the time of one."""
    final = training_share(20, 4)
    assert 4 * 0.75 * final + final == 20
    assert training_share(20) == training_share(20, 1) == 20


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return str(make_folder(tmp_path_factory.mktemp("minutes") / "colours", count=14))


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """Trainings end without their test and report, which take longer than they do."""
    monkeypatch.setattr(service, "finish", lambda *_, **__: {})


@pytest.fixture
def three_epochs(monkeypatch):
    """Measure as always, then say a speed by which three epochs take 1,000 minutes."""
    real, seen = minutes.measured, []

    def measured(dataset, choice, *words):
        seen.append(real(dataset, choice, *words))
        steps = max(1, len(dataset.train) // choice.recipe.batch_size)
        return Speed(1.0, 0.95 * 59_000 / (3.2 * steps), 0.0, 0.0, 0.0)

    monkeypatch.setattr(minutes, "measured", measured)
    return seen


def record(run):
    return json.loads((Path(run) / "recipe.json").read_text())


def assert_equal_weights(a, b):
    for name in ("model.safetensors", "last/state.safetensors"):
        left, right = (load_tensors(Path(run) / name)[0] for run in (a, b))
        assert left.keys() == right.keys() and len(left) > 30
        assert not [k for k in left if not torch.equal(left[k], right[k])]


def test_the_weights_are_those_of_as_many_epochs_by_hand_and_a_resume_measures_nothing(
    colours, three_epochs, monkeypatch
):
    said = io.StringIO()
    train(colours, minutes=1000, changes=WORDS, out="timed", console=Console(file=said, width=500))
    assert len(three_epochs) == 1 and all(value > 0 for value in vars(three_epochs[0]).values())
    assert "1000 minutes: 3 epochs" in said.getvalue() and not Path("timed/measuring").exists()
    found = record("timed")
    (stage,) = found["stages"]
    assert found["recipe"]["epochs"] == stage["epochs"] == 3 and stage["minutes"] == 1000
    assert stage["image_size"] == 16 and stage["speed"]["step"] > 1000
    train(colours, epochs=3, changes=WORDS, out="by hand", console=QUIET)
    assert_equal_weights("timed", "by hand")

    monkeypatch.setattr(minutes, "measured", lambda *_: pytest.fail("a resumed run measured its speed"))
    train(resume="timed", console=QUIET)
    assert record("timed")["stages"] == [stage]


def test_minutes_continue_a_finished_run(colours, three_epochs):
    train(colours, epochs=1, changes=WORDS, out="run", console=QUIET)
    train(resume="run", minutes=1000, console=QUIET)
    first, second = record("run")["stages"]
    assert first == {"epochs": 1} and second["epochs"] == 3 and second["minutes"] == 1000
    assert record("run")["recipe"]["epochs"] == 4 and record("run")["command"].endswith("--epochs 4")


def test_too_little_time_says_what_is_possible(colours):
    said = io.StringIO()
    shown = Console(file=said, width=500)
    train(colours, minutes=0.001, changes=WORDS, out="run", console=shown)
    assert "0.001 minutes are too few: one epoch takes about" in said.getvalue()
    assert record("run")["recipe"]["epochs"] == 1


def test_minutes_that_mean_nothing_are_refused(colours):
    for words, message in (
        ({"minutes": 3, "epochs": 4}, "leave out --epochs"),
        ({"minutes": 3, "changes": ["epochs=4"]}, "leave out --epochs"),
        ({"minutes": 0}, "must be above 0"),
        ({"minutes": float("nan")}, "must be above 0"),
        ({"minutes": 3, "model": "bovw"}, "--minutes is for networks"),
    ):
        with pytest.raises(UsageError, match=message):
            train(colours, out="run", console=QUIET, **words)
    assert not Path("run").exists()
