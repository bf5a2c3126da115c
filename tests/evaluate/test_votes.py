"""Votes with dropout on: what is dropped is keyed by the picture, mean and spread are those of the votes."""

import zlib

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from resight.core import seeds
from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.evaluate.scores import Member
from resight.evaluate.votes import mean_and_spread, votes_of
from resight.models.modelfile import save_model
from resight.models.zoo import create_model
from resight.service.test.predict import predict
from resight.service.test.test import test as score
from serving import save_finder
from support import make_folder

SIDE, UNITS, RATE = 16, 40, 0.3
CARD = Preprocessing(size=SIDE, resize=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)


def member():
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(3 * SIDE**2, UNITS), nn.ReLU(), nn.Dropout(RATE), nn.Linear(UNITS, 3)
    )
    return Member(network.eval(), CARD, 1.5, torch.float32, torch.tensor([2, 0, 1]))


def square(index):
    pixels = np.random.default_rng(index).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_vote_drops_keyed_units_and_scales_the_others():
    """By hand: units whose draw is below the rate are zero, the others divided by 0.7."""
    own = member()
    answers = dict(votes_of(own, "x", square, range(5), 4))
    for index in range(5):
        pixels = np.asarray(square(index))
        key, shares = zlib.crc32(pixels.tobytes()), pixels.transpose(2, 0, 1).ravel() / 255
        first, last = own.network[1], own.network[4]
        with torch.no_grad():
            hidden = first(torch.from_numpy(shares).float()).relu()
            for vote in range(4):
                kept = torch.from_numpy(seeds.uniform(key, vote, np.arange(UNITS), "votes/3") >= RATE)
                logits = last(hidden * kept / (1 - RATE)).double()[[2, 0, 1]] / 1.5
                torch.testing.assert_close(answers[index][vote], logits.softmax(0), rtol=1e-4, atol=1e-6)
    assert answers[0].shape == (4, 3) and len({tuple(vote.tolist()) for vote in answers[0]}) == 4
    alone = dict(votes_of(own, "x", square, [3], 4))  # neither its neighbours nor its place matter
    torch.testing.assert_close(alone[3], answers[3], rtol=1e-5, atol=1e-7)
    assert not own.network.training and not own.network[3]._forward_hooks


def test_mean_and_spread_are_those_of_numpy():
    votes = torch.tensor([[0.6, 0.4], [0.9, 0.1], [0.3, 0.7]], dtype=torch.float64)
    mean, spread = mean_and_spread(votes)
    assert mean.tolist() == pytest.approx([0.6, 0.4]) and spread == pytest.approx(np.std([0.6, 0.9, 0.3]))


@pytest.fixture(scope="module")
def dropping(tmp_path_factory):
    """A network with dropout that was not trained, and pictures."""
    place = tmp_path_factory.mktemp("votes")
    torch.manual_seed(0)
    model = create_model("cnn_gap", 3, 3)
    model.classes, model.preprocessing = (
        ("blue", "green", "red"),
        Preprocessing(size=64, resize=64, mean=(0.5,) * 3, std=(0.2,) * 3),
    )
    save_model(place / "model.safetensors", model, model.state_dict(), {})
    make_folder(place / "photos", count=2)
    return place


def test_a_run_is_tested_and_asked_by_votes(dropping):
    run, photos = str(dropping / "model.safetensors"), str(dropping / "photos")
    rows = list(predict(run, photos, votes=5))
    assert len(rows) == 6 and all(0 < row["spread"] < 0.5 for row in rows)
    assert rows == list(predict(run, photos, votes=5))
    assert "spread" not in next(predict(run, photos))
    answer = score([run], photos, votes=5)
    found = answer["votes"]
    assert found["n"] == 5 and answer["n"] == 6
    assert found["spread"] == pytest.approx(np.mean([row["spread"] for row in rows]), abs=1e-5)
    wrong = [row["label"] not in row["path"] for row in rows]
    for key, kind in (("spread_right", False), ("spread_wrong", True)):
        own = [row["spread"] for row, is_wrong in zip(rows, wrong, strict=True) if is_wrong == kind]
        assert (found[key] is None) == (not own)
        assert not own or found[key] == pytest.approx(np.mean(own), abs=1e-5)
    assert "votes" not in score([run], photos)


def test_what_has_no_votes_is_refused(dropping, tmp_path):
    run, photos = str(dropping / "model.safetensors"), str(dropping / "photos")
    finder = str(save_finder(tmp_path / "finder.safetensors"))
    for words, fault in (
        (lambda: next(predict(finder, photos, votes=3)), "its network has no dropout"),
        (lambda: next(predict(run, photos, votes=1)), "--votes 1: must be 2 to 1000"),
        (lambda: score([run, run], photos, votes=3), "one run and one view"),
        (lambda: score([run], photos, views="flip", votes=3), "one run and one view"),
    ):
        with pytest.raises(UsageError, match=fault):
            words()
