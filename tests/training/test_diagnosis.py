"""Learning curves in words: made curves of each kind, and real trainings gone wrong on purpose."""

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resight.data.dataset import ArrayPictures, Dataset, Split
from resight.data.open import open_dataset
from resight.training.diagnosis import diagnose
from resight.training.guessing import guessing_errors
from resight.training.journal import read_csv
from support import resight

CHANCE = 90.0


def rows(train_loss, train_error, val_loss=None, val_error=None, lr=0.1):
    made = []
    for epoch, (loss, error) in enumerate(zip(train_loss, train_error, strict=True)):
        row = {
            "epoch": epoch + 1,
            "step": 20 * (epoch + 1),
            "lr": lr,
            "train_loss": loss,
            "train_error": error,
        }
        if val_loss is not None:
            row |= {"val_loss": val_loss[epoch], "val_error": val_error[epoch]}
        made.append(row)
    return made


def falling(start, end, count=20, speed=0.35):
    return [end + (start - end) * math.exp(-speed * i) for i in range(count)]


def line(start, end, count=20):
    return [start + (end - start) * i / (count - 1) for i in range(count)]


def first_word(sentences):
    return sentences[0].split(":")[0]


FINE = rows(falling(2.2, 0.5), falling(80, 2), falling(2.1, 0.4), falling(70, 4))


def test_a_good_training_is_said_to_be_one():
    (only,) = diagnose(FINE, CHANCE, 500)
    assert only.startswith("Nothing wrong") and "2.1 % in training and 4.1 % in validation" in only


def test_a_jump_of_the_loss_is_a_rate_too_high():
    bent = [dict(row) for row in FINE]
    bent[6] |= {"train_loss": 1.9, "train_error": 60.0}
    (only,) = diagnose(bent, CHANCE)
    assert only.startswith("Learning rate too high") and "to 1.9 in epoch 7" in only and "was 0.1" in only
    bent[6] |= {"train_error": 13.0}  # the loss alone, as when the objective changes
    assert diagnose(bent, CHANCE)[0].startswith("Nothing wrong")


def test_a_loss_above_guessing_is_a_rate_too_high():
    rises = rows([40.0, 5, 2.4, 2.35, 2.31], [90.0] * 5)
    (only,) = diagnose(rises, CHANCE, guessing=math.log(10))[:1]
    assert (
        only.startswith("Learning rate too high")
        and "reached 40" in only
        and "the 2.3 that guessing costs" in only
    )
    assert not diagnose(rises, CHANCE)[0].startswith("Learning rate too high"), "the loss has other parts"


def test_a_loss_that_hardly_moves_is_a_rate_too_low():
    (only,) = diagnose(rows(line(2.303, 2.298), line(90, 88.5), line(2.303, 2.298), [90.0] * 20), CHANCE)
    assert only.startswith("Learning rate too low") and "only from 2.303 to 2.298" in only


def test_nothing_learned_with_jumps_is_not_called_too_low():
    losses = [2.31, 2.5, 2.3, 2.45, 2.32, 2.4]
    assert first_word(diagnose(rows(losses, [90.0, 91, 89.5, 90, 90.2, 90]), CHANCE)) == "Nothing was learned"


def test_a_straight_fall_has_stopped_too_early():
    straight = rows(line(2.3, 1.4), line(88, 45), line(2.3, 1.45), line(88, 47))
    (only,) = diagnose(straight, CHANCE)
    assert only.startswith("Learning rate too low, or stopped too early")


def test_a_validation_loss_that_turns_up_is_overfitting():
    up = falling(2.1, 0.9, 8) + line(0.95, 1.6, 12)
    found = diagnose(rows(falling(2.2, 0.01), falling(80, 0), up, falling(70, 8)), CHANCE, 1000)
    assert first_word(found) == "Overfitting" and "turned up after epoch" in found[0]
    assert not any("Data too small" in text for text in found)


def test_a_gap_from_early_on_is_too_little_data_and_a_late_one_overfitting():
    losses = falling(2.2, 0.1), falling(80, 1)
    early = rows(*losses, falling(2.2, 1.5), falling(80, 35))
    late = rows(*losses, falling(2.2, 1.0), [v + 1.5 * i for i, v in enumerate(falling(80, 1))])
    assert first_word(diagnose(early, CHANCE, 300)) == "Data too small"
    assert first_word(diagnose(late, CHANCE, 300)) == "Overfitting"


def test_a_gap_that_few_validation_pictures_explain_is_not_claimed():
    gap = rows(falling(2.2, 0.1), falling(80, 10), falling(2.2, 0.9), falling(80, 24))
    assert first_word(diagnose(gap, CHANCE, 2000)) == "Data too small"
    (only,) = diagnose(gap, CHANCE, 30)
    assert only.startswith("Nothing wrong") and "30 pictures alone give an error of" in only


def test_high_errors_that_stay_are_underfitting():
    flat = rows(falling(2.3, 1.7, speed=1.0), falling(88, 60, speed=1.0), falling(2.3, 1.7), falling(88, 61))
    assert first_word(diagnose(flat, CHANCE)) == "Underfitting"


def test_a_network_that_hardly_learned_is_never_called_fine():
    """The loss fell from 2.302 to 2.256, where guessing costs 2.303; 70 % of the answers were wrong."""
    errors = falling(88, 70, speed=0.1)
    for speed in (0.02, 0.1, 0.35, 1.0):
        losses = falling(2.302, 2.256, speed=speed)
        (only,) = diagnose(rows(losses, errors, losses, errors), CHANCE, 500, math.log(10))
        assert first_word([only]) == "Learning rate too low, or too few epochs", only
        assert (
            "that of guessing is 90.0 %" in only and "where guessing costs 2.303" in only and "0.1;" in only
        )


@pytest.mark.parametrize("guessing", [None, math.log(10)])
@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
def test_no_curve_near_guessing_is_fine_whatever_its_shape(guessing, share):
    for speed in (0.05, 0.1, 0.15, 0.2, 0.35, 1.0):
        curve = falling(2.2, 1.2, speed=speed), falling(88, 90 * share, speed=speed)
        found = diagnose(rows(*curve, *curve), CHANCE, 500, guessing)
        assert not any("Nothing wrong" in text for text in found), (speed, found)


def test_a_validation_that_cannot_be_told_from_guessing_is_not_fine():
    curves = falling(0.7, 0.2), falling(48, 9), falling(0.7, 0.5), falling(48, 30)
    (only,) = diagnose(rows(*curves), 50.0, 12)
    assert only.startswith("Perhaps no better than guessing: the validation error ended at 30.")
    assert "12 pictures allow up to 6" in only
    assert diagnose(rows(*curves), 50.0, 12, None, 90.0)[0].startswith("Nothing wrong")


def test_epochs_whose_loss_is_no_number_are_named():
    broken = [dict(row) for row in FINE]
    broken[4]["train_loss"] = broken[7]["train_loss"] = math.nan
    first, second = diagnose(broken, CHANCE, 500)
    assert first.startswith("Nothing wrong")
    assert second.startswith("Left out: epoch 5, 8, whose training loss is not a number")


def test_guessing_is_of_the_pictures_that_it_is_compared_on():
    """Of 6 + 3 + 1 pictures the commonest class is 60 %; of a balanced validation a third."""
    labels = {"train": np.array([0] * 6 + [1] * 3 + [2]), "val": np.array([0, 1, 2])}
    splits = {
        name: Split(
            name,
            ArrayPictures(np.zeros((len(y), 4, 4, 3), np.uint8), "x"),
            np.arange(len(y)),
            y,
            tuple("abc"),
        )
        for name, y in labels.items()
    }
    dataset = Dataset("d", tuple("abc"), splits)
    assert guessing_errors(dataset, "none") == pytest.approx((40.0, 200 / 3))
    for balance in ("loss", "sampling"):
        assert guessing_errors(dataset, balance) == pytest.approx((200 / 3, 200 / 3))
    assert guessing_errors(Dataset("d", tuple("abc"), {"train": splits["train"]}), "none") == (40.0, 40.0)


def test_short_histories_and_ones_without_validation():
    assert diagnose(FINE[:3], CHANCE)[0].startswith("Too few epochs (3)")
    assert diagnose([], CHANCE)[0].startswith("Too few epochs (0)")
    found = diagnose(rows(falling(2.2, 0.5), falling(80, 2)), CHANCE)
    assert found[0].startswith("Nothing wrong in the curve:") and "Without a validation curve" in found[1]


def trained(*words):
    resight("train", *words, "--out", "run", check=0)
    return read_csv(Path("run/metrics.csv"))


def few(place):
    """Six digits of each class to train on, twenty to validate and twenty to test."""
    dataset = open_dataset("digits")
    train = dataset.train
    for label in range(10):
        own = [i for i in range(len(train)) if train.labels[i] == label]
        for split, part in (("train", own[:6]), ("val", own[6:26]), ("test", own[26:46])):
            (folder := place / split / str(label)).mkdir(parents=True)
            for i in part:
                image = train.decode(i)
                assert isinstance(image, Image.Image)
                image.save(folder / f"{i}.png")
    return place


@pytest.mark.slow
def test_real_trainings_of_digits_are_told_apart(tmp_path, monkeypatch):
    found = {}
    for name, words in {
        "normal": ("digits", "--model", "lenet5_modern"),
        "hot": ("digits", "--model", "lenet5_modern", "--set", "lr=0.75"),
        "cold": ("digits", "--model", "lenet5_modern", "--set", "lr=0.0000075"),
        "few": (few(tmp_path / "pictures"), "--epochs", "30"),
    }.items():
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        found[name] = diagnose(trained(*words), CHANCE, 200)
    assert found["normal"][0].startswith("Nothing wrong"), found
    assert found["hot"][0].startswith(("Learning rate too high", "Nothing was learned")), found
    assert found["cold"][0].startswith("Learning rate too low"), found
    assert any(text.startswith("Data too small") for text in found["few"]), found
