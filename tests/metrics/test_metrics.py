"""Figures against independent oracles: torchmetrics, scipy's textbook cases, and slow formulas."""

import pytest
import torch
import torchmetrics.functional.classification as oracle
from torch.nn import functional as F

from resight.metrics import accuracy, calibration


@pytest.fixture
def sample():
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(500, 7, generator=generator)
    labels = torch.where(
        torch.rand(500, generator=generator) < 0.6,
        logits.argmax(1),
        torch.randint(0, 7, (500,), generator=generator),
    )
    return logits, labels


@pytest.mark.parametrize("k", [1, 3, 5])
def test_topk_error_is_torchmetrics(sample, k):
    logits, labels = sample
    ours = accuracy.topk_wrong(logits, labels, k).double().mean()
    theirs = oracle.multiclass_accuracy(logits, labels, 7, average="micro", top_k=k)
    assert float(ours) == pytest.approx(1 - float(theirs), abs=1e-6)


def test_confusion_is_torchmetrics(sample):
    logits, labels = sample
    ours = accuracy.confusion(logits.argmax(1), labels, 7)
    assert torch.equal(ours, oracle.multiclass_confusion_matrix(logits, labels, 7))


def test_calibration_error_is_torchmetrics(sample):
    logits, labels = sample
    probabilities = logits.double().softmax(1)
    ours = calibration.expected_calibration_error(calibration.reliability(probabilities, labels))
    theirs = oracle.multiclass_calibration_error(probabilities, labels, 7, n_bins=15)
    assert ours == pytest.approx(float(theirs), abs=1e-6)


@pytest.mark.parametrize(
    ("wrong", "count", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17, 857-872, Table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_are_the_published_ones(wrong, count, low, high):
    ours = accuracy.wilson_interval(wrong, count)
    assert ours == pytest.approx((100 * low, 100 * high), abs=0.006)


def test_a_perfect_and_a_hopeless_score_have_intervals():
    assert accuracy.wilson_interval(0, 100)[0] == 0 < accuracy.wilson_interval(0, 100)[1] < 4
    assert 96 < accuracy.wilson_interval(100, 100)[0] < accuracy.wilson_interval(100, 100)[1] == 100


def test_the_temperature_undoes_a_known_sharpening(sample):
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(20_000, 5, generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator)[:, 0]
    assert calibration.fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)
    assert calibration.fit_temperature(logits / 2, labels) == pytest.approx(0.5, rel=0.05)


def test_the_temperature_is_the_minimum(sample):
    logits, labels = sample
    best = calibration.fit_temperature(logits, labels)

    def loss(temperature):
        return F.cross_entropy(logits.double() / temperature, labels, label_smoothing=1 / 502)

    assert loss(best) <= min(loss(best * 1.02), loss(best / 1.02))


def test_the_temperature_of_every_yes_and_no_undoes_a_known_sharpening():
    generator = torch.Generator().manual_seed(1)
    logits = 2 * torch.randn(20_000, 3, generator=generator)
    labels = torch.bernoulli(logits.sigmoid(), generator=generator)
    assert calibration.fit_binary_temperature(3 * logits, labels) == pytest.approx(3, rel=0.05)
    assert calibration.fit_binary_temperature(logits / 2, labels) == pytest.approx(0.5, rel=0.05)


def test_the_temperature_stays_sane_when_every_held_out_sample_is_right():
    labels = torch.arange(150) % 10
    logits = 3 * F.one_hot(labels, 10).float() + 0.1 * torch.randn(150, 10)
    confidence = (logits / calibration.fit_temperature(logits, labels)).softmax(1).max(1).values.mean()
    assert 0.98 < confidence < 0.999
