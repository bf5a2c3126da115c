"""Statistics of batch normalization that are measured for the kept weights."""

import pytest
import torch
from rich.console import Console
from torch.nn import functional as F

from resight.models.modelfile import load_model
from resight.models.zoo import create_model
from resight.service.train import job as jobs
from resight.service.train.train import train
from resight.training.measured_norm import measured_statistics
from resight.training.recipe import Facts
from resight.training.recipes import fast
from support import make_folder


def network():
    """One whose running statistics are of nothing, as after few steps."""
    model = create_model("resnet20", 3)
    for name, buffer in model.named_buffers():
        if "running" in name:
            buffer.fill_(7.0)
    return model.train()


def test_they_are_the_mean_and_variance_of_what_each_layer_sees():
    model, images = network(), torch.randn(12, 3, 16, 16)
    found = measured_statistics(model, images, torch.float32)
    seen = model.conv1(images).double()
    mean, variance = seen.mean((0, 2, 3)), seen.var((0, 2, 3), unbiased=True)
    torch.testing.assert_close(found["bn1.running_mean"].double(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["bn1.running_var"].double(), variance, rtol=1e-5, atol=1e-6)
    # The next layer sees maps normalized by these.
    first = model.layer1[0]
    scaled = (seen - mean[:, None, None]) / (seen.var((0, 2, 3), unbiased=False) + model.bn1.eps).sqrt()[
        :, None, None
    ]
    second = first.conv1(F.relu(scaled).float()).double()
    torch.testing.assert_close(
        found["layer1.0.bn1.running_mean"].double(), second.mean((0, 2, 3)), rtol=1e-4, atol=1e-5
    )
    assert set(found) == {n for n, _ in model.named_buffers() if "running" in n}


def test_nothing_else_of_the_network_changes_and_fixed_statistics_stay():
    model, images = network(), torch.randn(4, 3, 16, 16)
    model.bn1.eval()
    model.bn1.momentum = 0.3
    modes = {name: module.training for name, module in model.named_modules()}
    weights = {n: p.clone() for n, p in model.named_parameters()}
    counted = model.layer1[0].bn1.num_batches_tracked.clone()
    found = measured_statistics(model, images, torch.float32)
    assert "bn1.running_mean" not in found and torch.equal(model.bn1.running_mean, torch.full((16,), 7.0))
    assert {name: module.training for name, module in model.named_modules()} == modes
    assert all(torch.equal(p, weights[n]) for n, p in model.named_parameters())
    assert torch.equal(model.layer1[0].bn1.num_batches_tracked, counted)
    assert model.bn1.momentum == 0.3 and model.layer1[0].bn1.momentum == 0.1


def test_a_network_without_batch_normalization_has_none():
    assert not measured_statistics(create_model("alexnet", 2), torch.randn(2, 3, 224, 224), torch.float32)


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_what_a_training_keeps_has_the_statistics_of_its_own_weights(tmp_path, monkeypatch, ema):
    seen = {}
    settled = jobs.Job.settled

    def noted(job, state, *rest):
        seen["plain"] = job.plain
        return settled(job, state, *rest)

    monkeypatch.setattr(jobs.Job, "settled", noted)
    words = ["model=resnet20", "image_size=16", "batch_size=8", "lr=0.02", "precision=fp32", f"ema={ema}"]
    train(
        str(make_folder(tmp_path / "d", count=8)), epochs=2, out="run", console=Console(quiet=True),
        changes=[*words, "measured_norm=true"],
    )  # fmt: skip
    model, _ = load_model(tmp_path / "run" / "model.safetensors")
    before = model.conv1(seen["plain"])
    torch.testing.assert_close(model.bn1.running_mean, before.mean((0, 2, 3)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(model.bn1.running_var, before.var((0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_photos_get_them_and_small_pictures_train_as_before():
    photos = fast.build(Facts(model="", pictures=1_000, side=224, mirrors=True))
    assert photos.options == ("measured_norm=true",) and photos.lr == 0.05 * 32 / 256
    plain = fast.build(Facts(model="vgg11", pictures=1_000, side=224, mirrors=True, normalized=False))
    assert plain.options == () and plain.lr == 0.04 * 32 / 256
    small = fast.build(Facts(model="", pictures=1294, side=8, mirrors=False))
    assert (small.options, small.lr, small.ema, small.drops) == ((), 0.3 * 64 / 256, 0.97, (0.2,))


def test_few_photos_get_what_few_steps_need():
    few = fast.build(Facts(model="", pictures=999, side=224, mirrors=True))
    assert (few.options, few.lr, few.image_size) == (("measured_norm=true",), 0.1 * 32 / 256, 96)
    assert (few.ema, few.val_share, few.augment) == (0.0, 0.0, ("resized-crop:0.35", "flip"))
    more = fast.build(Facts(model="", pictures=1_000, side=224, mirrors=True))
    assert (more.ema, more.val_share, more.augment) == (0.97, 0.1, ("resized-crop", "flip"))
    assert more.image_size == 128
    vgg = fast.build(Facts(model="vgg11", pictures=244, side=224, mirrors=False, normalized=False))
    assert (vgg.options, vgg.lr, vgg.augment) == ((), 0.04 * 32 / 256, ("resized-crop:0.35",))
    assert fast.build(Facts(model="", pictures=244, side=224, mirrors=True, least_size=299)).image_size == 299


def test_without_validation_only_the_last_epoch_is_measured_in_full(tmp_path, monkeypatch):
    seen = []

    def noted(model, images, precision):
        seen.append(images)
        return measured_statistics(model, images, precision)

    monkeypatch.setattr(jobs, "measured_statistics", noted)
    words = ["model=resnet20", "image_size=16", "batch_size=8", "val_share=0", "measured_norm=true"]
    data = str(make_folder(tmp_path / "d", count=70))
    train(data, epochs=3, out="run", console=Console(quiet=True), changes=words)
    *passing, last = seen
    every = len(last) // jobs.PASSING
    assert every >= 2 and len(passing) == 2
    assert all(torch.equal(images, last[::every]) for images in passing)
