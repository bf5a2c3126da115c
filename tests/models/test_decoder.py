"""The decoder: from any trunk's map to any picture; its file."""

import pytest
import torch
from safetensors.torch import save_file

from resight.core.errors import ModelFileError
from resight.models.decoder import STAGES, Decoder, load_decoder, save_decoder, stages_for, weights_digest
from resight.models.modelfile import load_tensors, save_tensors
from resight.models.zoo import create_model


@pytest.mark.parametrize(
    ("network", "size"),
    [("resnet20", 32), ("resnet18", 64), ("vgg11", 64), ("resnet18", 80), ("nin_cifar", 32)],
)
def test_every_trunk_has_a_decoder(network, size):
    model = create_model(network, 10).eval()
    with torch.no_grad():
        features = model.forward_features(torch.rand(2, 3, size, size))
        decoder = Decoder(features.shape[1], features.shape[-1], size, 16).eval()
        made = decoder(features)
    assert made.shape == (2, 3, size, size) and made.dtype == torch.float32
    assert made.min() >= 0 and made.max() <= 1


def test_the_releases_stages_bring_7_to_224():
    assert stages_for(7, 224) == STAGES
    widths = [m.out_channels for m in Decoder(2048, 7, 224).stages if isinstance(m, torch.nn.ConvTranspose2d)]
    assert widths == [512, 512, 256, 128, 64]


@pytest.mark.parametrize(
    ("side", "size", "doublings"), [(8, 32, 2), (5, 32, 2), (7, 7, 0), (1, 224, 7), (6, 5, 0)]
)
def test_the_side_is_doubled_as_often_as_it_fits(side, size, doublings):
    assert len(stages_for(side, size)) == doublings
    assert Decoder(4, side, size).eval()(torch.rand(1, 4, side, side)).shape[-1] == size


def test_no_stage_is_wider_than_twice_the_map_unless_asked():
    def widths(decoder):
        return [m.out_channels for m in decoder.stages if isinstance(m, torch.nn.ConvTranspose2d)]

    assert widths(Decoder(24, 8, 32)) == [48, 48]
    assert widths(Decoder(64, 8, 32, widest=32)) == [32, 32]


def test_a_file_gives_the_same_decoder_back(tmp_path):
    decoder = Decoder(8, 4, 16).eval()
    decoder.variance.fill_(3.5)
    residuals = torch.tensor([0.1, 0.2])
    save_decoder(tmp_path / "d.safetensors", decoder, residuals, {"network": "abc"})
    again, kept, facts = load_decoder(tmp_path / "d.safetensors")
    features = torch.rand(2, 8, 4, 4)
    assert torch.equal(again(features), decoder(features)) and not again.training
    assert torch.equal(kept, residuals) and facts["network"] == "abc" and again.variance == 3.5


def test_damaged_files_are_one_line(tmp_path):
    path = tmp_path / "d.safetensors"
    save_decoder(path, Decoder(8, 4, 16), torch.zeros(1), {})
    tensors, document = load_tensors(path)
    tensors = {k: v.clone() for k, v in tensors.items()}  # they lie in the file that is about to be cut
    broken = {
        "cut": lambda: path.write_bytes(path.read_bytes()[:-100]),
        "a tensor is missing": lambda: save_tensors(path, dict(list(tensors.items())[1:]), document),
        "no residuals": lambda: save_tensors(
            path, {k: v for k, v in tensors.items() if "residuals" not in k}, document
        ),
        "other options": lambda: save_tensors(path, tensors, {**document, "decoder": {"depth": 3}}),
        "no side": lambda: save_tensors(
            path, tensors, {**document, "decoder": {**document["decoder"], "side": 0}}
        ),
        "not options": lambda: save_tensors(path, tensors, {**document, "decoder": 3}),
        "a network": lambda: save_tensors(path, tensors, {"format": 1, "architecture": "resnet20"}),
        "foreign": lambda: save_file(tensors, path),
    }
    for name, breaks in broken.items():
        breaks()
        with pytest.raises(ModelFileError) as caught:
            load_decoder(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value), name
        save_tensors(path, tensors, document)
    assert load_decoder(path)


def test_the_digest_changes_with_a_statistic():
    model = create_model("resnet20", 10)
    before = weights_digest(model)
    assert weights_digest(model) == before
    model.bn1.running_mean[0] += 1e-3
    assert weights_digest(model) != before
