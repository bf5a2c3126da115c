"""Generator and critic: sized to the data, DCGAN's widths and first weights; the generator's file."""

import pytest
import torch
from torch import nn

from resight.core.errors import ModelFileError
from resight.models.gan import SIDES, Critic, Generator, load_gan, save_gan, side_for
from resight.models.modelfile import load_tensors, save_tensors


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("channels", [1, 3])
def test_both_networks_fit_every_side(side, channels):
    generator, critic = Generator(5, side, 20, 8, channels), Critic(5, side, 4, channels)
    images = generator(torch.randn(6, 20), torch.arange(6) % 5)
    assert images.shape == (6, channels, side, side)
    assert images.min() >= -1 and images.max() <= 1
    source, naming = critic(images)
    assert source.shape == (6,) and naming.shape == (6, 5)


def test_widths_at_32_are_dcgans():
    generator, critic = Generator(10, 32), Critic(10, 32)
    up = [(m.in_channels, m.out_channels) for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert up == [(512, 256), (256, 128), (128, 3)]
    down = [(m.in_channels, m.out_channels) for m in critic.modules() if isinstance(m, nn.Conv2d)]
    assert down == [(3, 64), (64, 128), (128, 256), (256, 1), (256, 10)]
    assert [m.num_features for m in critic.modules() if isinstance(m, nn.BatchNorm2d)] == [128, 256]
    assert [m.num_features for m in generator.modules() if isinstance(m, nn.BatchNorm2d)] == [512, 256, 128]
    slopes = {m.negative_slope for m in critic.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.2} and not [m for m in critic.modules() if isinstance(m, nn.MaxPool2d | nn.Linear)]


def test_the_first_weights_are_dcgans():
    for model in (Generator(10, 32), Critic(10, 32, 64)):
        kernels = torch.cat(
            [m.weight.flatten() for m in model.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
        )
        scales = torch.cat([m.weight for m in model.modules() if isinstance(m, nn.BatchNorm2d)])
        assert abs(kernels.mean()) < 1e-4 and abs(kernels.std() - 0.02) < 5e-4
        assert abs(scales.mean() - 1) < 5e-3 and abs(scales.std() - 0.02) < 4e-3
        assert all((m.bias == 0).all() for m in model.modules() if getattr(m, "bias", None) is not None)


@pytest.mark.parametrize(("side", "learned"), [(8, 16), (16, 16), (28, 32), (33, 64), (128, 128), (224, 128)])
def test_other_sides_are_learned_at_the_next(side, learned):
    assert side_for(side) == learned


def test_both_noise_and_class_change_the_picture():
    generator = Generator(3, 16, 10, 8).eval()
    noise = torch.randn(2, 10)
    one = generator(noise[:1], torch.tensor([0]))
    assert not torch.equal(one, generator(noise[1:], torch.tensor([0])))
    assert not torch.equal(one, generator(noise[:1], torch.tensor([1])))
    assert torch.equal(one, generator(noise[:1], torch.tensor([0])))


def test_a_file_gives_the_same_pictures_back(tmp_path):
    generator = Generator(3, 16, 10, 8, 1).eval()
    generator.layers[0].running_mean += 0.1
    path = tmp_path / "gan.safetensors"
    save_gan(path, generator, generator.state_dict(), ("a", "b", "c"), {"seed": 7})
    again, classes, facts = load_gan(path)
    assert classes == ("a", "b", "c") and facts["seed"] == 7 and facts["kind"] == "gan"
    assert not again.training
    noise, labels = torch.randn(4, 10), torch.tensor([0, 1, 2, 0])
    assert torch.equal(generator(noise, labels), again(noise, labels))


def test_a_file_that_cannot_be_used_is_one_line(tmp_path):
    path = tmp_path / "gan.safetensors"
    save_tensors(path, {"x": torch.zeros(1)}, {"format": 1, "architecture": "resnet20"})
    with pytest.raises(ModelFileError, match="is not a GAN"):
        load_gan(path)
    generator = Generator(3, 16, 10, 8)
    save_gan(path, generator, generator.state_dict(), ("a", "b"), {})
    with pytest.raises(ModelFileError, match="2 class names"):
        load_gan(path)
    tensors, document = load_tensors(path)
    save_tensors(path, {k: v for k, v in tensors.items() if "last" not in k}, document)
    with pytest.raises(ModelFileError, match="is damaged"):
        load_gan(path)
