"""Contrast normalization, whitening and the resizing filter, against their formulas."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.prepare import Normalize, contrast_normalized, fit, resize_shorter, zca
from resight.models.modelfile import load_model, save_model
from resight.models.zoo import create_model
from resight.service.test.test import test as run_test
from resight.service.train.train import train
from support import picture

CPU = torch.device("cpu")


def test_contrast_normalization_is_its_formula():
    pixels = torch.randint(0, 256, (2, 3, 5, 5)).float()
    for given, got in zip(pixels, contrast_normalized(pixels, 55.0), strict=True):
        x = given.flatten().double() / 255
        x = x - x.mean()
        torch.testing.assert_close(got.double(), 55 * x / x.norm(), rtol=1e-4, atol=1e-4)
    flat = contrast_normalized(torch.full((1, 3, 4, 4), 9.0), 55.0)
    assert torch.isfinite(flat).all() and flat.abs().max() < 1


def test_whitened_vectors_have_no_covariance():
    torch.manual_seed(0)
    vectors = torch.randn(5000, 6) @ torch.randn(6, 6)
    vectors -= vectors.mean(0)
    white = vectors @ zca(vectors, epsilon=0.0)
    torch.testing.assert_close(white.T @ white / len(white), torch.eye(6), rtol=1e-2, atol=1e-2)
    table = zca(vectors)
    torch.testing.assert_close(table, table.T)


def test_the_card_is_applied_in_order_and_travels(tmp_path):
    generator = np.random.default_rng(0)
    mean = tuple(generator.normal(size=48).astype(np.float32).tolist())
    table = generator.normal(size=(48, 48)).astype(np.float32)
    card = Preprocessing(size=4, resize=4, contrast=55.0, pixel_mean=mean, whitening=table)
    pixels = torch.randint(0, 256, (3, 4, 4, 3), dtype=torch.uint8)
    channels_first = pixels.permute(0, 3, 1, 2)
    wanted = (contrast_normalized(channels_first, 55.0) - torch.tensor(mean)) @ torch.from_numpy(table)
    torch.testing.assert_close(Normalize(card, CPU)(pixels).flatten(1), wanted, rtol=1e-4, atol=1e-3)
    with pytest.raises(UsageError, match="whitening is for 4 x 4"):
        Normalize(card, CPU)(torch.zeros(1, 5, 5, 3, dtype=torch.uint8))

    model = create_model("lenet5_modern", 3, 3)
    model.classes, model.preprocessing = ("a", "b", "c"), card
    save_model(tmp_path / "m.safetensors", model, model.state_dict(), {})
    again = load_model(tmp_path / "m.safetensors")[0].preprocessing
    assert again == card and np.array_equal(again.whitening, table)


def test_a_run_with_whitening_trains_and_tests(folder):
    answer = train(
        str(folder), model="nin_cifar", recipe="nin2013-cifar", epochs=1,
        changes=["image_size=16", "batch_size=8"], out="run",
    )  # fmt: skip
    assert run_test(["run"])["top1_error"] == answer["top1_error"]
    card = load_model(Path("run/model.safetensors"))[0].preprocessing
    assert card.contrast == 55 and card.whitening.shape == (768, 768)
    with pytest.raises(UsageError, match="use gcn"):
        train(
            str(folder), model="resnet18", changes=["normalize=gcn-zca", "image_size=64", "augment="], out="b"
        )


def test_the_filter_of_the_card_resizes():
    image = picture(size=(60, 50))
    for name, kind in (("bilinear", Image.Resampling.BILINEAR), ("bicubic", Image.Resampling.BICUBIC)):
        card = Preprocessing(size=32, resize=32, interpolation=name)
        whole = image.resize((38, 32), kind).crop((3, 0, 35, 32))
        assert np.array_equal(fit(image, card), np.asarray(whole))
        assert resize_shorter(image, 32, name).size == (38, 32)
    assert Preprocessing.from_dict(card.to_dict()) == card
