"""What a training costs is said before it is spent."""

import pytest
import torch
from torch import nn

from resight.training import cost
from resight.training.cost import Pace, in_bytes, in_words, kept_for_backward, training_bytes


class Clock:
    def __init__(self):
        self.now = 100.0

    def perf_counter(self):
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(cost, "time", clock)
    return clock


def said_by(clock, steps, seconds, pictures=32, first=50.0):
    """What is said, and after how many steps, where the first step takes longer."""
    lines = []
    pace = Pace(lambda line: lines.append((step, line)), steps, pictures)
    for step in range(1, steps + 1):
        clock.now += first if step == 1 else seconds
        pace()
    return lines


def test_the_time_is_said_once_after_the_first_steps_without_the_very_first(clock):
    ((step, line),) = said_by(clock, 1001, 0.5)
    assert step == 11 and line.startswith("about 8 minutes for 1,000 steps (64 images/s)")


def test_of_slow_steps_it_is_said_after_fifteen_seconds(clock):
    ((step, line),) = said_by(clock, 101, 8.0)
    assert step == 3 and line.startswith("about 13 minutes for 100 steps (4 images/s)")


def test_a_short_training_says_nothing(clock):
    assert said_by(clock, 101, 0.1) == [] and said_by(clock, 1, 5.0) == []


@pytest.mark.parametrize(
    ("seconds", "words"), [(30, "30 seconds"), (119, "119 seconds"), (150, "2 minutes"), (7300, "2.0 hours")]
)
def test_times_in_words(seconds, words):
    assert in_words(seconds) == words


def test_bytes_in_words():
    assert [in_bytes(n) for n in (10, 5e6, 999e6, 2.5e9)] == ["1 MB", "5 MB", "999 MB", "2.5 GB"]


def test_what_is_kept_for_backward_is_counted_once_and_without_weights():
    """A convolution keeps its input, a rectifier its output, a linear layer what it reads."""
    model = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 8 * 8, 2))
    model.train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    kept = kept_for_backward(model, 8, torch.float32)
    assert kept == 4 * (3 * 8 * 8 + 4 * 8 * 8)  # the flattened map is the rectifier's own
    assert model.training and all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_memory_in_words():
    model = nn.Linear(999, 1000)  # a million numbers
    words = training_bytes(model, 3, 50e6, 2e9)
    assert words == (
        "memory: about 2.1 GB (12 MB weights, gradients and momenta, 50 MB step activations, 2.0 GB pictures)"
    )
    assert "pictures" not in training_bytes(model, 3, 50e6, 0)
