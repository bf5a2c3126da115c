"""Every network keeps the contract; sizes and weights are the papers' and torchvision's."""

import pytest
import torch
from torch.nn import functional as F

from resight.core.errors import ModelFileError, UsageError
from resight.models import cost
from resight.models.folding import Inference
from resight.models.zoo import BUILDERS, create_model, list_models

DEEP = ("1202", "200", "152", "101", "110")


def small(name, **options):
    return create_model(name, 7, **options)


@pytest.mark.parametrize("name", [n for n in BUILDERS if not n.split("_")[0].endswith(DEEP)])
def test_forward_is_head_of_features_and_every_parameter_learns(name):
    model = small(name)
    images = torch.randn(2, 3, 64, 64)
    features = model.forward_features(images)
    assert features.ndim == 4 and features.shape[1] == model.num_features
    logits = model.forward_head(features)
    assert logits.shape == (2, 7)
    model.eval()
    with torch.no_grad():
        assert torch.equal(model(images), model.forward_head(model.forward_features(images)))
        pooled = model.forward_head(model.forward_features(images), pre_logits=True)
        assert torch.equal(model.fc(pooled), model(images))
    logits.sum().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]


def test_the_contract_was_asked_of_many():
    assert len(list_models()) >= 26 and len(list_models("plain*")) == 8


@pytest.mark.parametrize("name", list(BUILDERS))
def test_stages_end_in_the_last_map(name):
    with torch.device("meta"):
        model = small(name)
        seen = []
        list(model.stages.values())[-1].register_forward_hook(lambda _, __, out: seen.append(out.shape))
        model.eval()
        assert model.forward_features(torch.empty(1, 3, 64, 64)).shape == seen[0]
    assert list(model.stages) == [f"layer{i + 1}" for i in range(len(model.stages))]


def test_the_head_can_be_replaced_and_keeps_its_device_and_dtype():
    model = create_model("resnet20", 10).double()
    model.classes = tuple("abcdefghij")
    model.reset_classifier(3)
    assert model(torch.zeros(2, 3, 32, 32).double()).shape == (2, 3)
    assert model.num_classes == 3 and model.classes == ()


# Counts of the papers' tables, recomputed; multiply-adds of convolutions and linear layers.
GOLDEN = {
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    "resnet200": (64_673_832, 15_007_481_856),
    "resnet50_v1": (25_557_032, 3_857_973_248),
    "resnet101_v1": (44_549_160, 7_570_194_432),
    "resnet152_v1": (60_192_808, 11_282_415_616),
    "resnet200_v1": (64_673_832, 14_776_270_848),
    "plain18": (11_515_688, None),
    "plain34": (21_623_848, None),
}
GOLDEN_CIFAR = {
    20: (269_722, 40_551_040),
    32: (464_154, 68_862_592),
    44: (658_586, 97_174_144),
    56: (853_018, 125_485_696),
    110: (1_727_962, 252_887_680),
    1202: (19_421_274, 2_829_238_912),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_imagenet_counts(name):
    with torch.device("meta"):
        model = create_model(name)
    parameters, multiply_adds = GOLDEN[name]
    assert cost.parameters(model) == parameters
    if multiply_adds:
        assert cost.multiply_adds(model, 224) == multiply_adds


@pytest.mark.parametrize("depth", GOLDEN_CIFAR)
@pytest.mark.parametrize("family", ["resnet", "plain"])
def test_cifar_counts(family, depth):
    with torch.device("meta"):
        model = create_model(f"{family}{depth}", 10)
    assert (cost.parameters(model), cost.multiply_adds(model, 32)) == GOLDEN_CIFAR[depth]


@pytest.mark.parametrize(("option", "parameters"), [("A", 21_623_848), ("B", 21_797_672), ("C", 22_716_840)])
def test_shortcut_options_of_resnet34(option, parameters):
    with torch.device("meta"):
        assert cost.parameters(create_model("resnet34", shortcut=option)) == parameters


def test_cifar_option_b():
    assert cost.parameters(create_model("resnet20", 10, shortcut="B")) == 272_474


def test_a_plain_network_adds_nothing():
    block = create_model("plain20", 10).layer1[0].eval()
    x = torch.randn(2, 16, 8, 8)
    assert torch.equal(block(x), F.relu(block.branch(x)))


def test_option_a_subsamples_and_pads_with_zeros():
    block = create_model("resnet20", 10).layer2[0]
    x = torch.randn(1, 16, 8, 8)
    shortcut = block.downsample(x)
    assert torch.equal(shortcut[:, 8:24], x[:, :, ::2, ::2])
    assert not shortcut[:, :8].any() and not shortcut[:, 24:].any()
    assert not list(block.downsample.parameters())


@pytest.mark.parametrize("name", ["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"])
def test_torchvisions_state_loads_unchanged_with_equal_bits(name):
    from torchvision import models

    theirs = getattr(models, name)().eval()
    ours = create_model(name).eval()
    ours.load_state_dict(theirs.state_dict())
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def test_the_paper_strides_in_the_first_1x1():
    assert create_model("resnet50_v1").layer2[0].conv1.stride == (2, 2)
    assert create_model("resnet50").layer2[0].conv1.stride == (1, 1)
    assert create_model("resnet50").layer2[0].conv2.stride == (2, 2)


def test_initialization_is_hes():
    weight = create_model("resnet50").layer3[1].conv2.weight
    assert abs(weight.std().item() / (2 / (256 * 9)) ** 0.5 - 1) < 0.02


@pytest.mark.parametrize("name", ["resnet20", "plain20", "resnet18", "resnet50", "speednet8"])
def test_folding_keeps_the_logits(name):
    model = small(name)
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, 3, 64, 64))
    model.eval()
    images = torch.randn(2, 3, 64, 64)
    copy = Inference(model, torch.float32)
    left = [m for m in copy.trunk.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(left) == (3 if name == "speednet8" else 0)  # those after a pooling stay
    with torch.no_grad():
        torch.testing.assert_close(copy(images), model(images), rtol=1e-3, atol=1e-3)
    assert [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]


def test_cost_leaves_the_network_as_it_was():
    model = create_model("resnet20", 10).train()
    model.bn1.eval()
    cost.multiply_adds(model, 32)
    assert model.training and not model.bn1.training


def test_an_unknown_model_gives_the_nearest():
    with pytest.raises(UsageError, match="'resnet51' is not a model; nearest: resnet5"):
        create_model("resnet51")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet20", {"shortcut": "D"}, "none of A, B, C"),
        ("plain20", {"shortcut": "B"}, "no shortcuts"),
        ("speednet8", {"shortcut": "B"}, "does not take these options: shortcut"),
    ],
)
def test_options_that_do_not_exist_are_refused(name, options, message):
    with pytest.raises(UsageError, match=message):
        create_model(name, **options)


def test_torchvisions_weights_bring_names_and_preprocessing(monkeypatch):
    from torchvision import models

    theirs = models.resnet18().eval()
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url", lambda *_, **__: theirs.state_dict()
    )
    ours = create_model("resnet18", 10, weights="torchvision").eval()
    assert len(ours.classes) == 1000 and ours.classes[0] == "tench" and ours.num_classes == 1000
    card = ours.preprocessing
    assert (card.size, card.resize, card.mean, card.std) == (
        224,
        256,
        (0.485, 0.456, 0.406),
        (0.229, 0.224, 0.225),
    )
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def test_weights_without_a_network_are_one_line(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(ModelFileError, match=r"cannot be downloaded \(no route to host\).*weights=PATH"):
        create_model("resnet18", weights="torchvision")
    with pytest.raises(UsageError, match="torchvision has no weights for resnet20"):
        create_model("resnet20", weights="torchvision")
