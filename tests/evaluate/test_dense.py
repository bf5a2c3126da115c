"""The dense test: fully connected layers slid over larger maps are convolutions."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from resight import create_model
from resight.core.errors import ModelFileError
from resight.core.preprocessing import Preprocessing
from resight.data.prepare import Normalize
from resight.evaluate.dense import Dense, for_scales
from resight.evaluate.scores import Member, probabilities_of
from resight.evaluate.views import views_of
from support import picture

CPU = torch.device("cpu")


def lenet(classes=3):
    torch.manual_seed(5)
    return create_model("lenet5_modern", classes, 1).eval()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (40, 32), (32, 48), (44, 56)])
def test_equals_the_fully_connected_layers_as_convolutions(height, width):
    """Simonyan and Zisserman 2014, 3.2: the first of the map's size, the others 1x1, then a mean."""
    model = lenet()
    images = torch.randn(3, 1, height, width)
    with torch.no_grad():
        scores = model.forward_features(images)
        scores = torch.tanh(F.conv2d(scores, model.c5.weight.view(120, 16, 5, 5), model.c5.bias))
        scores = torch.tanh(F.conv2d(scores, model.f6.weight[:, :, None, None], model.f6.bias))
        scores = F.conv2d(scores, model.output.weight[:, :, None, None], model.output.bias)
        assert scores.shape[-2:] == (1 + (height - 32) // 4, 1 + (width - 32) // 4)
        found = Dense(model, 32)(images)
        torch.testing.assert_close(found, scores.mean((2, 3)), rtol=1e-5, atol=1e-6)
        if (height, width) == (32, 32):
            assert torch.equal(found, model(images))


def test_equals_sliding_by_hand_where_the_map_is_not_the_papers():
    """Trained at 48 pixels a window is 9 x 9, averaged to the head's 5 x 5 as in training."""
    model = lenet()
    with torch.no_grad():
        images = torch.randn(2, 1, 56, 64)
        features = model.forward_features(images)
        windows = [features[:, :, y : y + 9, x : x + 9] for y in range(3) for x in range(5)]
        expected = torch.stack([model.forward_head(window) for window in windows]).mean(0)
        torch.testing.assert_close(Dense(model, 48)(images), expected, rtol=1e-5, atol=1e-6)


def test_smaller_pictures_go_through_the_network_itself():
    model, images = lenet(), torch.randn(2, 1, 24, 24)
    with torch.no_grad():
        assert torch.equal(Dense(model, 32)(images), model(images))


@pytest.mark.parametrize("name", ["alexnet", "vgg11"])
def test_the_papers_networks_are_slid(name):
    with torch.device("meta"):
        model = create_model(name, 10).eval()
        dense = Dense(model, 224)
        assert dense.window == model.grid
        assert dense(torch.zeros(1, 3, 288, 256)).shape == (1, 10)


def test_heads_that_pool_stay_as_they_are():
    model = create_model("resnet20", 3).eval()
    assert for_scales(model, 32) is model
    assert isinstance(for_scales(lenet(), 32), Dense)


def test_scales_are_tested_densely():
    torch.manual_seed(2)
    model = create_model("lenet5_modern", 3, 3).eval()
    card = Preprocessing(size=32, resize=32)
    image = picture((90, 120, 60), (70, 48))
    member = Member(model, card, 1.0, torch.float32, torch.tensor([0, 1, 2]))
    answers = dict(probabilities_of([member], [image].__getitem__, [0], "single", (40, 48)))
    views = views_of(image, card, "single", (40, 48))
    seen = [Normalize(card, CPU)(torch.from_numpy(np.array(view))[None]) for view in views]
    with torch.no_grad():
        expected = sum(Dense(model, 32)(view)[0].double().softmax(0) for view in seen) / 2
        plain = sum(model(view)[0].double().softmax(0) for view in seen) / 2
    torch.testing.assert_close(answers[0], expected)
    assert not torch.allclose(answers[0], plain)


def test_answers_that_are_no_numbers_are_errors():
    model = create_model("resnet20", 3).eval()
    with torch.no_grad():
        model.fc.bias[1] = torch.nan
    card = Preprocessing(size=32, resize=32)
    member = Member(model, card, 1.0, torch.float32, torch.tensor([0, 1, 2]))
    pictures = [picture((90, 120, 60), (32, 32))]
    with pytest.raises(ModelFileError, match="answers to 1 of 1 pictures are not finite numbers"):
        list(probabilities_of([member], pictures.__getitem__, [0]))
