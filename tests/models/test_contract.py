"""Every network keeps the contract."""

import pytest
import torch
from torch.nn import functional as F

from resight.core.errors import ModelFileError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.models import cost
from resight.models.folding import Inference
from resight.models.modelfile import load_model, save_model
from resight.models.operators.activation import ACTIVATIONS
from resight.models.operators.normalization import NORMALIZATIONS
from resight.models.operators.pooling import POOLINGS
from resight.models.weights import of_zoo
from resight.models.zoo import NETWORKS, create_model, list_models, read_options
from resight.saliency.methods import explain


def small(name, **options):
    return create_model(name, 7, **options)


# One or two of every family, small enough for every run; the slow test asks all the others the same.
FEW = (
    "lenet5", "lenet5_modern", "alexnet", "zfnet", "maxout", "fitnet19", "nin_cifar", "dsn", "googlenet",
    "googlenet_2014", "highway19", "resnet20", "plain20", "resnet18", "resnext29_32x4d", "inception_v3",
    "preact_resnet164", "wrn16_4", "densenet40_12", "efficientnet_b0", "efficientnet_lite0", "squeezenet1_1",
    "cnn_flatten", "cnn_gap", "speednet8", "bovw", "fisher", "vlad", "hog-svm", "face_resnet29",
)  # fmt: skip
HUGE = ("resnet1202", "plain1202", "preact_resnet1001")


def smallest(name):
    """A side at which the network is quick: its least, or a common one."""
    row = NETWORKS[name]
    return max(row.least_size, 64 if row.input_size > 100 else 32)


def asked(name):
    """Ask a network for everything that the contract promises."""
    row, size = NETWORKS[name], smallest(name)
    model = create_model(name, 7, row.channels)
    images = torch.randn(2, row.channels, size, size)

    # Every parameter learns in training, those of the heads beside included.
    if "efficientnet" in name:
        model = create_model(name, 7, row.channels, stochastic_depth=0.0)
    outputs = model.forward_training(images)
    assert all(output.shape == (2, 7) for output in outputs)
    model.loss(outputs, torch.tensor([1, 2]), 0.1).backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]
    if name != "plain1202":  # without shortcuts the gradients of 1,202 layers overflow: the paper's point
        wrong = [
            n for n, p in model.named_parameters() if not torch.isfinite(p.grad).all() or not p.grad.any()
        ]
        assert not wrong
    model.constrain()

    model.eval()
    with torch.no_grad():
        logits, features = model(images), model.forward_features(images)
        assert features.ndim == 4 and features.shape[1] == model.num_features
        assert torch.equal(model.forward_head(features), logits)
        chained = images
        for stage in model.stages.values():
            chained = stage(chained)
        assert torch.equal(chained, features)
        assert torch.equal(model.forward_training(images)[0], logits)
        assert model(images[:1]).shape == (1, 7)
        pooled = model.forward_head(features, pre_logits=True)
        assert pooled.ndim == 2 and len(pooled) == 2

        # Save, load, and the same answers.
        again = create_model(name, 7, row.channels).eval()
        again.load_state_dict(model.state_dict())
        assert torch.equal(again(images), logits)

        folded = Inference(model, torch.float32)
        scale = float(logits.abs().max())
        torch.testing.assert_close(folded(images), logits, rtol=1e-3, atol=1e-3 * scale)

        assert torch.isfinite(again.to(torch.bfloat16)(images.bfloat16())).all()
        model.reset_classifier(3)
        assert model(images).shape == (2, 3) and model.num_classes == 3
    return model


@pytest.mark.parametrize("name", FEW)
def test_the_contract(name):
    asked(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n in NETWORKS if n not in FEW])
def test_the_contract_of_all_others(name):
    asked(name)


def settled(model, images):
    """Let batch normalizations take their statistics from images: 1,202 fresh layers overflow."""
    norms = [m for m in model.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        model.train()(images)
    return model.eval()


def compiles_and_exports(name):
    """One graph, no break, and the same answers; exported likewise."""
    row, size = NETWORKS[name], smallest(name)
    model = create_model(name, 7, row.channels).eval()
    if name in HUGE:
        model = settled(model, torch.randn(4, row.channels, size, size))
    images = torch.randn(1, row.channels, size, size)
    torch._dynamo.reset()
    with torch.no_grad():
        logits = model(images)
        limits = {"rtol": 1e-4, "atol": 1e-5 * max(1, float(logits.abs().max()))}
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(images), logits, **limits)
        exported = torch.export.export(model, (images,)).module()
        torch.testing.assert_close(exported(images), logits, **limits)


@pytest.mark.parametrize("name", ["lenet5", "dsn", "googlenet", "resnet20", "fitnet19", "highway19"])
def test_a_network_compiles_and_exports(name):
    compiles_and_exports(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(NETWORKS))
def test_every_network_compiles_and_exports(name):
    compiles_and_exports(name)


@pytest.mark.slow
def test_a_network_goes_through_the_real_compiler():
    model = create_model("resnet20", 7).eval()
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(
            torch.compile(model, fullgraph=True)(images), model(images), rtol=1e-3, atol=1e-4
        )


@pytest.mark.parametrize("name", list(NETWORKS))
def test_sizes_channels_and_stages(name):
    """At its own size and others, with other channels and classes; on the meta device, so for all."""
    row = NETWORKS[name]
    with torch.device("meta"):
        model = create_model(name, 5, 1).eval()
        sizes = (
            {row.input_size, row.least_size} if name == "deepface" else {row.input_size, row.least_size, 333}
        )
        for size in sizes:
            seen = []
            hook = list(model.stages.values())[-1].register_forward_hook(
                lambda _, __, out, s=seen: s.append(out.shape)
            )
            features = model.forward_features(torch.empty(1, 1, size, size))
            hook.remove()
            assert features.shape[:2] == (1, model.num_features) and min(features.shape[2:]) > 0
            assert model.forward_head(features).shape == (1, 5)
            if len(model.stages) and seen:
                assert features.shape == seen[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", [*HUGE, "wrn28_10", "efficientnet_b7"])
def test_the_largest_are_built_and_run_one_image(name):
    row = NETWORKS[name]
    model = create_model(name, row.classes, row.channels)
    model = settled(model, torch.randn(2, 3, 32, 32)) if name in HUGE else model.eval()
    with torch.no_grad():
        assert torch.isfinite(model(torch.randn(1, 3, row.input_size, row.input_size))).all()


def test_the_contract_was_asked_of_many():
    assert len(list_models()) > 95 and len(list_models("plain*")) == 8 and set(FEW) <= set(NETWORKS)
    families = {NETWORKS[name].family for name in FEW}
    assert families | {"deepface", "vgg", "inception", "wide resnet", "preact resnet"} >= {
        r.family for r in NETWORKS.values()
    }


@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "alexnet_2012",
        "vgg11",
        "maxout",
        "fitnet19",
        "lenet5_modern",
        "resnet20",
        "densenet40_12",
        "efficientnet_b0",
        "nin_cifar",
    ],
)
@pytest.mark.parametrize("head", ["gap", "gmp", "flatten"])
def test_every_head_for_every_trunk(name, head):
    row = NETWORKS[name]
    model = create_model(name, 7, row.channels, head=head).eval()
    for size in (row.input_size, smallest(name) + 33):
        assert model(torch.randn(1, row.channels, size, size)).shape == (1, 7)
    model.reset_classifier(4)
    assert model(torch.randn(1, row.channels, row.input_size, row.input_size)).shape == (1, 4)


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg11", "maxout", "nin_cifar", "densenet40_12", "googlenet_2014"]
)
def test_class_activation_maps_exist_with_global_average_pooling(name):
    row = NETWORKS[name]
    model = create_model(name, 7, row.channels, head="gap").eval()
    if name == "nin_cifar":  # its class maps are positive parts: let some be positive
        model.get_classifier().bias.data.fill_(0.5)
    images = torch.randn(2, 3, row.input_size, row.input_size)
    explanation = explain(model, images, method="cam", target=3)
    with torch.no_grad():
        logits = model(images)[:, 3]
    bias = 0 if name == "nin_cifar" else float(model.get_classifier().bias[3].detach())
    torch.testing.assert_close(explanation.raw.mean((1, 2)) + bias, logits, rtol=1e-3, atol=1e-4)


def test_a_small_deepface_keeps_the_contract_and_folds():
    model = create_model("deepface", 3, 3, input_size=72).eval()
    images = torch.randn(2, 3, 72, 72)
    with torch.no_grad():
        torch.testing.assert_close(
            Inference(model, torch.float32)(images), model(images), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("efficientnet_b0", {"stochastic_depth": 2.0}),
        ("fitnet19", {"hint": -3}),
        ("deepface", {"input_size": 10}),
        ("alexnet", {"dropout": 2.0}),
        ("alexnet", {"dropout": 2.0, "head": "gap"}),
        ("nin_cifar", {"head_dropout": 0.5}),
    ],
)
def test_values_that_no_layer_takes_are_refused(name, options):
    with torch.device("meta"), pytest.raises(UsageError):
        create_model(name, 10, **options)


@pytest.mark.parametrize("word", ["dropout=nan", "dropout=much", "aux=maybe", "colour=red"])
def test_option_words_are_read_or_refused(word):
    with pytest.raises(UsageError, match=word.split("=")[0]):
        read_options("googlenet" if word.startswith("aux") else "vgg16", [word])
    assert read_options("googlenet", ["aux=True", "head=gmp"]) == {"aux": True, "head": "gmp"}
    assert read_options("vgg16", ["dropout=1", "last=stage4"]) == {"dropout": 1.0, "last": "stage4"}


def test_heads_that_do_not_exist_are_refused():
    with pytest.raises(UsageError, match="head 'fc' is not one of gap, gmp, flatten"):
        create_model("resnet20", head="fc")


@pytest.mark.parametrize("family", ["resnet20", "plain20", "resnet18", "preact_resnet164"])
@pytest.mark.parametrize(
    "option",
    [{"activation": name} for name in ACTIVATIONS]
    + [{"norm": name} for name in NORMALIZATIONS]
    + [{"pool": name} for name in POOLINGS],
    ids=lambda o: "-".join(map(str, *o.items())),
)
def test_operators_can_be_chosen_by_name(family, option):
    if "pool" in option and family.startswith("preact"):
        pytest.skip("pre-activation networks stride in their convolutions")
    model = create_model(family, 4, **option)
    images = torch.randn(2, 3, 64, 64)
    model(images).sum().backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]
    kind = type(
        {
            "activation": lambda: ACTIVATIONS[option["activation"]](4),
            "norm": lambda: NORMALIZATIONS[option["norm"]](4),
            "pool": lambda: POOLINGS[option["pool"]](2, 2, 0),
        }[next(iter(option))]()
    )
    assert any(isinstance(m, kind) for m in model.modules())


def test_a_choice_by_name_changes_the_answers():
    torch.manual_seed(0)
    images = torch.randn(2, 3, 32, 32)
    answers = []
    for options in (
        {},
        {"activation": "elu"},
        {"norm": "lrn"},
        {"pool": "max"},
        {"pool": "l2"},
        {"shortcut": "C"},
    ):
        torch.manual_seed(1)
        answers.append(create_model("resnet20", 4, **options).eval()(images))
    assert len({tuple(a.flatten().tolist()) for a in answers}) == len(answers)


def test_slopes_that_are_learned_are_not_decayed():
    model = create_model("resnet20", 4, activation="prelu")
    assert model.learning("relu.weight") == (1.0, 0.0) and model.learning("conv1.weight") == (1.0, 1.0)


def test_the_head_can_be_replaced_and_keeps_its_device_and_dtype():
    model = create_model("resnet20", 10).double()
    model.classes = tuple("abcdefghij")
    model.reset_classifier(3)
    assert model(torch.zeros(2, 3, 32, 32).double()).shape == (2, 3)
    assert model.num_classes == 3 and model.classes == ()


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
        ("resnet20", {"shortcut": "D"}, "not one of A, B, C"),
        ("plain20", {"shortcut": "B"}, "no shortcuts"),
        (
            "speednet8",
            {"shortcut": "B"},
            "does not take shortcut; its options: last, sharpen, frozen_norm, measured_norm, "
            "frozen_depthwise, head",
        ),
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


def test_the_first_weights_of_torchvision_have_their_own_name(monkeypatch):
    """ResNet-50's latest weights come from a later recipe, and want other pictures."""
    from torchvision import models

    theirs = models.resnet50()
    asked = []
    monkeypatch.setattr(
        "torchvision.models._api.load_state_dict_from_url",
        lambda url, *_, **__: asked.append(url) or theirs.state_dict(),
    )
    for weights, resize in (("torchvision", 232), ("torchvision-v1", 256)):
        assert create_model("resnet50", weights=weights).preprocessing.resize == resize
    assert asked == [w.url for w in (models.ResNet50_Weights.DEFAULT, models.ResNet50_Weights.IMAGENET1K_V1)]
    assert of_zoo("zoo:resnet50/v1") == ("resnet50", "torchvision-v1")
    assert of_zoo("zoo:resnet50") == ("resnet50", "torchvision")
    with pytest.raises(UsageError, match="zoo:resnet50/v3: unknown weights"):
        of_zoo("zoo:resnet50/v3")


def test_weights_without_a_network_are_one_line(monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.load_state_dict_from_url", offline)
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", offline)
    with pytest.raises(ModelFileError, match=r"cannot be downloaded \(no route to host\).*weights=PATH"):
        create_model("resnet18", weights="torchvision")
    with pytest.raises(UsageError, match="torchvision has no weights for resnet20"):
        create_model("resnet20", weights="torchvision")


@pytest.mark.parametrize(
    ("name", "last", "channels"),
    [
        ("resnet18", "layer3", 256),
        ("vgg11", "block4", 512),
        ("googlenet_2014", "inception4", 832),
        ("densenet121", "denseblock3", 1024),
        ("wrn16_4", "layer2", 128),
    ],
)
def test_the_head_can_read_an_earlier_map(name, last, channels, tmp_path):
    """Zhou et al. 2016, section 3: layers are taken off so that the map is larger."""
    size = 32 if name == "wrn16_4" else 64
    images = torch.randn(2, 3, size, size)
    whole = create_model(name, 4, head="gap").eval()
    model = create_model(name, 4, head="gap", last=last)
    assert list(model.stages) == list(whole.stages)[: list(whole.stages).index(last) + 1]
    assert model.num_features == channels
    shared = {k: v for k, v in model.state_dict().items() if not k.startswith(model.classifier_name)}
    whole.load_state_dict({**whole.state_dict(), **shared})
    for parameter in model.parameters():
        assert parameter.requires_grad
    model.loss(model.forward_training(images), torch.tensor([0, 1]), 0.0).backward()
    assert all(p.grad is not None for p in model.parameters())
    model.eval()
    features = model.forward_features(images)
    assert features.shape[2] >= 2 * whole.forward_features(images).shape[2]
    torch.testing.assert_close(model.forward_head(features), model(images))
    cam = explain(model, images, "cam", 1)
    assert cam.raw.shape[1:] == features.shape[2:]
    model.classes, model.preprocessing = ("a", "b", "c", "d"), Preprocessing(size=size, resize=size)
    save_model(tmp_path / "model.safetensors", model, model.state_dict(), {})
    loaded, _ = load_model(tmp_path / "model.safetensors")
    torch.testing.assert_close(loaded.eval()(images), model(images))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"last": "layer9"}, "the stages of this network are stem, layer1"),
        ({"last": "layer2", "head": "flatten"}, "add head=gap"),
    ],
)
def test_an_earlier_map_that_cannot_be_is_refused(options, words):
    with pytest.raises(UsageError, match=words):
        create_model("resnet18", 4, **options)


def test_a_head_of_a_networks_own_stays():
    with pytest.raises(UsageError, match="own head"):
        create_model("nin_cifar", 4, last="block2")
