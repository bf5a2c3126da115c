"""Test protocols against slow formulas: what is averaged, over which views, in which order."""

import numpy as np
import pytest
import torch
from PIL import Image

from resight import create_model
from resight.core.errors import PictureError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.prepare import Normalize, fit
from resight.evaluate.scores import Member, probabilities_of
from resight.evaluate.views import check_views, views_of
from resight.tasks.classify.one_result import OneClassResult
from support import picture

CARD = Preprocessing(size=28, resize=32)
CPU = torch.device("cpu")


def photo(seed=0, size=(60, 45)):
    return picture((90, 120, 60), size, seed)


def test_ten_crops_are_torchvisions():
    from torchvision.transforms import functional

    views = views_of(photo(), CARD, "ten-crop", ())
    image = functional.resize(photo(), 32)
    tl, tr, bl, br, centre = functional.five_crop(image, [28])
    expected = [np.asarray(c) for c in (centre, tl, tr, bl, br)]
    expected += [e[:, ::-1] for e in expected]
    assert len(views) == 10
    assert all(np.array_equal(a, b) for a, b in zip(views, expected, strict=True))


def test_ten_crops_of_a_network_that_sees_whole_pictures_are_cut_from_an_enlargement():
    views = views_of(photo(size=(32, 32)), Preprocessing(size=32, resize=32), "ten-crop", ())
    assert {v.shape for v in views} == {(32, 32, 3)}
    assert len({v.tobytes() for v in views}) == 10


def test_scales_see_the_whole_picture():
    views = views_of(photo(size=(80, 40)), CARD, "flip", (20, 40))
    assert [v.shape for v in views] == [(20, 40, 3), (40, 80, 3)] * 2
    assert np.array_equal(views[2], views[0][:, ::-1])


@pytest.mark.parametrize(
    ("views", "scales", "message"),
    [
        ("nine", (), "none of single, flip, ten-crop"),
        ("ten-crop", (224,), "do not go with"),
        ("single", (4,), "16 pixels"),
    ],
)
def test_protocols_that_do_not_exist(views, scales, message):
    with pytest.raises(UsageError, match=message):
        check_views(views, scales)


def member(seed, order=(0, 1, 2), temperature=1.0, card=CARD):
    torch.manual_seed(seed)
    model = create_model("resnet20", 3)
    with torch.no_grad():
        model(torch.randn(16, 3, 28, 28))
    return Member(model.eval(), card, temperature, torch.float32, torch.tensor(order))


def softmax_of(m, view):
    with torch.no_grad():
        logits = m.network(Normalize(m.preprocessing, CPU)(torch.from_numpy(view.copy())[None]))[0]
    return (logits[m.order].double() / m.temperature).softmax(0)


@pytest.mark.parametrize(
    ("views", "scales"), [("single", ()), ("flip", ()), ("ten-crop", ()), ("flip", (28, 36))]
)
def test_probabilities_are_the_mean_over_views_and_networks(views, scales):
    other = Preprocessing(size=24, resize=24, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    members = [member(1), member(2, (2, 0, 1), 1.7, other)]
    pictures = [photo(i, size) for i, size in enumerate([(60, 45), (45, 60), (60, 45)])]
    answers = dict(probabilities_of(members, pictures.__getitem__, range(3), views, scales))
    for index, image in enumerate(pictures):
        expected = torch.zeros(3, dtype=torch.float64)
        for m in members:
            seen = views_of(image, m.preprocessing, views, scales)
            expected += sum(softmax_of(m, v) for v in seen) / len(seen) / 2
        torch.testing.assert_close(answers[index], expected, atol=1e-5, rtol=1e-4)


def test_dense_testing_at_the_training_size_is_the_single_view():
    square = photo(size=(28, 28))
    m = member(3, card=Preprocessing(size=28, resize=28))
    dense = dict(probabilities_of([m], lambda _: square, range(1), "single", (28,)))[0]
    torch.testing.assert_close(dense, dict(probabilities_of([m], lambda _: square, range(1)))[0])


def test_a_fault_is_answered_in_its_place():
    def read(index):
        if index == 1:
            raise PictureError("b.png", "is empty", "delete it")
        return photo(index)

    answers = list(probabilities_of([member(0)], read, range(3)))
    assert [i for i, _ in answers] == [0, 1, 2] and isinstance(answers[1][1], PictureError)
    labels = torch.tensor([0, 1, 2])
    result = OneClassResult.gathered(iter(answers), labels, ("a", "b", "c"), strict=False)
    assert result.indices.tolist() == [0, 2] and result.labels.tolist() == [0, 2]
    figures = result.figures()
    assert figures["n"] == 2 and figures["skipped"][0]["path"] == "b.png"
    assert figures["top5_error"] is None and figures["per_class"]["b"]["error"] is None
    with pytest.raises(PictureError):
        OneClassResult.gathered(iter(answers), labels, ("a", "b", "c"), strict=True)


def test_the_prepared_square_is_what_predicting_sees():
    m = member(4)
    image = photo(9)
    answers = dict(probabilities_of([m], lambda _: image, range(1)))
    torch.testing.assert_close(answers[0], softmax_of(m, fit(image, CARD)), atol=1e-6, rtol=1e-5)
    assert isinstance(image, Image.Image)


# Top-1 errors that the weights' own repository publishes; forward passes only.
@pytest.mark.slow
@pytest.mark.parametrize(("depth", "error"), [(20, 8.27), (32, 7.37), (44, 6.90), (56, 6.61)])
def test_the_published_weights_reach_their_published_errors(real_data, tmp_path, depth, error):
    from resight.data.open import open_dataset
    from resight.models.modelfile import save_model
    from resight.service.test.test import test

    dataset = open_dataset("cifar10", real_data)
    model = create_model(f"resnet{depth}", 10, weights=real_data / "weights" / f"cifar10_resnet{depth}.th")
    model.classes, model.preprocessing = dataset.classes, Preprocessing(size=32, resize=32)
    save_model(tmp_path / "m.safetensors", model, model.state_dict(), {})
    figures = test([str(tmp_path / "m.safetensors")], "cifar10", data_root=str(real_data))
    assert figures["n"] == 10_000 and round(figures["top1_error"], 6) == error
