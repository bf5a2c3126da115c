"""How logits become probabilities: one rule a network, asked by every method that follows a probability."""

import math

import pytest
import torch
from torch import nn

from resight import create_model, explain
from resight.core.errors import UsageError
from resight.evaluate.faithfulness import Examination
from resight.models.activations import SIGMOID
from resight.models.probabilities import rule_of, to_probabilities
from resight.saliency.pictures import _random_masks

SIDE = 12


class Spots(nn.Module):
    """Each logit is a detector of one corner: the sum of the pixels there, less a bias."""

    def __init__(self, classes=2, multi_label=None):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.classes_ = classes
        if multi_label is not None:
            self.probabilities = "sigmoid" if multi_label else "softmax"

    def forward(self, x):
        corners = [x[:, 0, :4, :4], x[:, 0, -4:, -4:]]
        return torch.stack([c.sum((1, 2)) / 4 - 2 for c in corners[: self.classes_]], 1) * self.scale


def both_spots():
    image = torch.zeros(1, 1, SIDE, SIDE)
    image[:, :, :4, :4] = image[:, :, -4:, -4:] = 1
    return image


def slow_rise(model, image, likely, samples=30):
    masks = _random_masks(samples, 3, 0.5, SIDE, SIDE, torch.Generator().manual_seed(0))
    total = torch.zeros(SIDE, SIDE, dtype=torch.float64)
    for mask in masks.double():
        with torch.no_grad():
            logits = model((image.double() * mask)[None] if image.ndim == 3 else image.double() * mask)[0]
        total += likely(logits.tolist()) * mask
    return total / (0.5 * samples)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def softmax_of_first(values):
    return math.exp(values[0]) / sum(math.exp(v) for v in values)


def rise(model, image, **more):
    return explain(model, image, "rise", 0, samples=30, cells=3, **more).raw[0]


def test_rise_follows_the_rule_written_slowly():
    image = both_spots()
    for model, likely in (
        (Spots(1), lambda z: sigmoid(z[0])),
        (Spots(2), softmax_of_first),
        (Spots(2, multi_label=True), lambda z: sigmoid(z[0])),
    ):
        wanted = slow_rise(model, image, likely)
        assert wanted.std() > 0.01  # a softmax over one class is 1 everywhere: no map at all
        torch.testing.assert_close(rise(model, image).double(), wanted, atol=1e-5, rtol=1e-5)
    asked = rise(Spots(2), image, probabilities="sigmoid").double()
    torch.testing.assert_close(asked, slow_rise(Spots(2), image, lambda z: sigmoid(z[0])), atol=1e-5, rtol=0)
    none = rise(Spots(2), image, probabilities="none").double()
    torch.testing.assert_close(none, slow_rise(Spots(2), image, lambda z: z[0]), atol=1e-5, rtol=1e-5)


def test_the_other_true_label_is_no_counter_evidence():
    """Both labels are on the picture: what shows the second says nothing against the first."""
    image = both_spots()
    several, one_of = (
        explain(Spots(2, multi_label=answer), image, "rise", 0, samples=3000, cells=3).raw[0]
        for answer in (True, False)
    )
    empty = [m[:4, -4:].mean() + m[-4:, :4].mean() for m in (several, one_of)]
    other = [2 * m[-4:, -4:].mean() for m in (several, one_of)]
    own = [2 * m[:4, :4].mean() for m in (several, one_of)]
    assert own[0] > 1.2 * empty[0] and abs(other[0] - empty[0]) < 0.1 * (own[0] - empty[0])
    assert other[1] < empty[1] - 0.3 * (own[1] - empty[1])  # a softmax does say so


@pytest.mark.parametrize("weighting", ["probability", "increase"])
def test_score_cam_follows_the_rule_written_slowly(weighting):
    torch.manual_seed(1)
    body = nn.Sequential(nn.Conv2d(1, 3, 3, 2, 1), nn.ReLU())
    model = nn.Sequential(body, nn.Flatten(), nn.Linear(3 * 36, 1)).eval()
    image = torch.rand(1, 1, SIDE, SIDE)
    raw = explain(model, image, "score_cam", 0, layer="0", weighting=weighting).raw[0]
    with torch.no_grad():
        maps = body(image)[0]
        blank = torch.sigmoid(model(torch.zeros_like(image)))[0, 0]
        wanted = torch.zeros(6, 6)
        for own in maps:
            if own.max() == own.min():
                continue
            region = nn.functional.interpolate(own[None, None], (SIDE, SIDE), mode="bilinear")
            region = (region - region.min()) / (region.max() - region.min())
            likely = torch.sigmoid(model(image * region))[0, 0]
            wanted += (likely - (blank if weighting == "increase" else 0)) * own
    torch.testing.assert_close(raw, wanted, atol=1e-6, rtol=1e-5)


def test_faithfulness_follows_the_rule_written_slowly():
    image = both_spots()
    for model, likely in (
        (Spots(1), lambda z: sigmoid(z[0])),
        (Spots(2), softmax_of_first),
        (Spots(2, multi_label=True), lambda z: sigmoid(z[0])),
    ):
        seen = Examination(model, image, torch.tensor([0]))
        with torch.no_grad():
            assert seen.before.tolist() == pytest.approx([likely(model(image.double())[0].tolist())])
    assert Examination(Spots(2), image, torch.tensor([0]), probabilities="none").before.tolist() == [2.0]


def test_every_network_says_its_rule():
    model = create_model("resnet20", 4)
    assert model.probabilities == "softmax" and rule_of(model, 4) == "softmax"
    model.logit_activation = SIGMOID
    assert rule_of(model, 4) == "sigmoid" and rule_of(model, 4, "softmax") == "softmax"
    assert create_model("resnet20", 1).probabilities == "sigmoid"
    assert rule_of(nn.Linear(2, 2), 2) == "softmax" and rule_of(nn.Linear(2, 1), 1) == "sigmoid"

    class Config:
        problem_type = "multi_label_classification"

    foreign = nn.Linear(2, 3)
    foreign.config = Config()
    assert rule_of(foreign, 3) == "sigmoid"
    logits = torch.tensor([[0.3, -2.0]])
    assert to_probabilities(logits, "sigmoid")[0].tolist() == pytest.approx([sigmoid(0.3), sigmoid(-2)])
    assert to_probabilities(logits, "softmax")[0, 0].item() == pytest.approx(softmax_of_first([0.3, -2]))
    assert to_probabilities(logits, "none") is logits


def test_the_other_answer_of_a_single_logit_is_asked_by_a_function():
    model, image = (
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 1)),
        (both_spots()),
    )
    one, other = explain(model, image, target=0), explain(model, image, target=lambda z: -z[:, 0])
    torch.testing.assert_close(one.raw, -other.raw)


@pytest.mark.parametrize(
    ("model", "words", "message"),
    [
        (Spots(1), {"target": 1}, "one logit, number 0, for the positive class"),
        (Spots(1), {"probabilities": "softmax"}, "the softmax of a single logit is always 1"),
        (Spots(2), {"probabilities": "sigmoidal"}, "must be one of softmax, sigmoid, none"),
        (Spots(2), {"probabilities": "none", "target": lambda z: z[:, 0]}, "omit it"),
    ],
)
def test_words_that_mean_nothing_are_refused(model, words, message):
    with pytest.raises(UsageError, match=message):
        explain(model, both_spots(), "rise", **words)
