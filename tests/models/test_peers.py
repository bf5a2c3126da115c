"""Where a peer has the network, its state dict loads unchanged and gives the same answers."""

import pytest
import torch
from torch import nn

from resight.models.loading import Card, load_card
from resight.models.weights import OF_TIMM
from resight.models.zoo import NETWORKS, create_model

TORCHVISION = (
    "alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "vgg11_bn", "vgg13_bn", "vgg16_bn", "vgg19_bn",
    "googlenet", "inception_v3", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152",
    "wide_resnet50_2", "wide_resnet101_2", "resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d",
    "densenet121", "densenet161", "densenet169", "densenet201", "efficientnet_b0", "efficientnet_b1",
    "efficientnet_b2", "efficientnet_b3", "efficientnet_b4", "efficientnet_b5", "efficientnet_b6",
    "efficientnet_b7", "squeezenet1_0", "squeezenet1_1",
)  # fmt: skip
TIMM = (
    "inception_v4", "inception_resnet_v2", "resnext101_32x4d", "resnet50", "densenet121", *OF_TIMM,
)  # fmt: skip
QUICK = (
    "squeezenet1_1",
    "alexnet",
    "vgg11_bn",
    "googlenet",
    "inception_v3",
    "resnet18",
    "resnext50_32x4d",
    "densenet121",
    "efficientnet_b0",
)


def scattered(model):
    """Give batch normalizations statistics and weights that differ from channel to channel."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.1)
    return model.eval()


def agree(name, theirs):
    theirs = scattered(theirs)
    ours = create_model(name).eval()
    load_card(ours, Card(dict(theirs.state_dict()), (), None, "peer"))
    side = 96 if NETWORKS[name].input_size < 290 else 139
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        wanted = theirs(images)
        torch.testing.assert_close(ours(images), wanted, rtol=1e-5, atol=1e-5 * float(wanted.abs().max()))


def torchvisions(name):
    from torchvision import models

    side_heads = {"init_weights": False, "aux_logits": True} if name in ("googlenet", "inception_v3") else {}
    return getattr(models, name)(**side_heads)


@pytest.mark.parametrize("name", QUICK)
def test_torchvision(name):
    agree(name, torchvisions(name))


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in TORCHVISION if n not in QUICK])
def test_torchvision_all(name):
    agree(name, torchvisions(name))


@pytest.mark.parametrize("name", TIMM)
def test_timm(name):
    timm = pytest.importorskip("timm", reason="timm is an extra")
    agree(name, timm.create_model(OF_TIMM.get(name, name)))


def test_no_shared_name_is_left_out():
    from torchvision import models

    assert set(TORCHVISION) == set(models.list_models()) & set(NETWORKS)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_heads_of_training_may_be_absent_on_either_side(name):
    whole, bare = create_model(name, 10), create_model(name, 10, aux=False)
    load_card(bare, Card(dict(whole.state_dict()), (), None, "with"))
    load_card(whole, Card(dict(bare.state_dict()), (), None, "without"))
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        assert torch.equal(whole.eval()(images), bare.eval()(images))


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_googles_input_shift_travels_with_the_weights(name, monkeypatch):
    """torchvision shifts the input inside these two; ours has the same constants in its preprocessing."""
    from torchvision import models

    theirs = scattered(torchvisions(name))
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: theirs.state_dict()
    )
    ours = create_model(name, weights="torchvision").eval()
    card = ours.preprocessing
    pixels = torch.rand(2, 3, 96, 96)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    theirs.transform_input = True
    with torch.no_grad():
        wanted = theirs((pixels - mean) / std)
        got = ours((pixels - torch.tensor(card.mean).view(3, 1, 1)) / torch.tensor(card.std).view(3, 1, 1))
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))
    assert models.get_model_weights(name).DEFAULT.transforms().crop_size == [card.size]


def test_the_resizing_travels_with_the_weights(monkeypatch):
    theirs = torchvisions("efficientnet_b0")
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: theirs.state_dict()
    )
    card = create_model("efficientnet_b0", weights="torchvision").preprocessing
    assert (card.interpolation, card.size, card.resize) == ("bicubic", 224, 256)


def test_timms_weights_bring_names_and_preprocessing(monkeypatch):
    timm = pytest.importorskip("timm", reason="timm is an extra")
    theirs = scattered(timm.create_model("inception_v4"))
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: theirs)
    ours = create_model("inception_v4", 10, weights="timm").eval()
    card = ours.preprocessing
    assert len(ours.classes) == 1000 and ours.classes[0] == "tench"
    assert (card.size, card.resize, card.mean, card.interpolation) == (299, 341, (0.5, 0.5, 0.5), "bicubic")
    images = torch.randn(1, 3, 139, 139)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["alexnet", "googlenet", "densenet121"])
def test_a_file_of_official_weights_loads_without_a_network(name, tmp_path):
    theirs = scattered(torchvisions(name))
    torch.save(theirs.state_dict(), tmp_path / "weights.pth")
    ours = create_model(name, 10, weights=tmp_path / "weights.pth").eval()
    images = torch.randn(1, 3, 96, 96)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-5, atol=1e-4)
    assert ours.num_classes == 1000
    if name == "googlenet":  # the official file does not say it, but wants pixels in [-1, 1]
        assert ours.preprocessing.mean == ours.preprocessing.std == (0.5, 0.5, 0.5)


def test_variants_of_papers_have_no_official_weights():
    from resight.core.errors import UsageError

    for name in ("resnet50_v1", "googlenet_2014", "alexnet_2012"):
        with pytest.raises(UsageError, match=f"torchvision has no weights for {name}"):
            create_model(name, weights="torchvision")
