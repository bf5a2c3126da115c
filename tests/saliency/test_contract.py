"""Every method: right by identities, the same alone and in a batch, and no trace left on the network."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resight import create_model, explain
from resight.core.errors import UsageError
from resight.geometry import heatmaps
from resight.models.operators.pooling import GlobalAveragePool, GlobalMaxPool
from resight.saliency import look
from resight.saliency.layers import last_map_layer
from resight.saliency.methods import METHODS


class ConvNet(nn.Module):
    """A foreign network: in-place activations, a hidden linear layer."""

    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.BatchNorm2d(8),
            nn.ReLU(inplace=True),
            nn.Conv2d(8, 6, 3, 2, 1),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Sequential(
            nn.Flatten(), nn.Linear(6 * 64, 12), nn.ReLU(inplace=True), nn.Linear(12, 5)
        )

    def forward(self, x):
        return self.head(self.body(x))


def torchvision_model(name):
    from torchvision import models

    return getattr(models, name)(num_classes=5)


def small_densenet():
    from torchvision.models import DenseNet

    return DenseNet(8, (2, 2), 16, num_classes=5)


def small_swin():
    from torchvision.models import SwinTransformer

    return SwinTransformer([4, 4], 16, [1, 2], [2, 2], [2, 2], num_classes=5)


def small_vit():
    from torchvision.models import VisionTransformer

    model = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=5)
    nn.init.normal_(model.heads.head.weight)
    return model


def timm_convnet():
    import timm

    model = timm.create_model("convnext_atto", num_classes=5, depths=(1, 1, 1, 1), ls_init_value=1.0)
    nn.init.normal_(model.get_classifier().weight)
    return model


def timm_vit():
    import timm

    model = timm.create_model("vit_tiny_patch16_224", num_classes=5, img_size=64, depth=2, reg_tokens=3)
    nn.init.normal_(model.get_classifier().weight)
    return model


NETWORKS = {
    "ours": lambda: create_model("resnet20", 5),
    "ours, pooled": lambda: create_model("speednet8", 5),
    "ours, max": lambda: create_model("resnet20", 5, head="gmp"),
    "foreign": ConvNet,
    "torchvision resnet": lambda: torchvision_model("resnet18"),
    "torchvision densenet": small_densenet,
    "torchvision vit": small_vit,
    "torchvision swin": small_swin,
    "timm convnext": timm_convnet,
    "timm vit": timm_vit,
}
GAP = ("ours", "ours, pooled", "torchvision resnet", "torchvision densenet")
NO_RELU = ("ours, pooled", "torchvision vit", "torchvision swin", "timm convnext", "timm vit")
QUICK = {
    "score_cam": {"batch": 64},
    "rise": {"samples": 32},
    "augmented_grad_cam": {"copies": 5, "steps": 50},
    "smooth_grad_cam_pp": {"samples": 2},
    "smooth_grad": {"samples": 4},
    "integrated_gradients": {"steps": 4},
}
OF_TRANSFORMERS = [m for m in METHODS if METHODS[m].reads == "attention"]


def home(method):
    """The network that a method is tried on where one is enough."""
    return "ours, max" if method == "gmp_cam" else "torchvision vit" if method in OF_TRANSFORMERS else "ours"


def fits(method, name):
    if method == "cam":
        return name in (*GAP, "torchvision swin")
    if method == "gmp_cam":
        return name == "ours, max"
    if method in OF_TRANSFORMERS:
        return name in ("torchvision vit", "timm vit")
    return method != "guided_grad_cam" or name not in NO_RELU


CASES = [(m, n) for m in METHODS for n in NETWORKS if fits(m, n)]
HEAVY = [m for m in METHODS if METHODS[m].sweeps]
"""Methods of many passes: of the networks of one kind, only the first is tried among the fast tests."""
MARKED = [
    pytest.param(m, n, marks=pytest.mark.slow)
    if m in HEAVY and n in ("torchvision resnet", "ours, pooled", "timm vit")
    else (m, n)
    for m, n in CASES
]


def quickly(model, images, method, **more):
    return explain(model, images, method, **QUICK.get(method, {}), **more)


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32)


def made(name, images):
    model = NETWORKS[name]()
    if name in ("torchvision resnet", "timm convnext", "timm vit"):
        images = F.interpolate(images, 64)
    with torch.no_grad():
        model(torch.randn(16, *images.shape[1:]))  # batch statistics
    return model.eval(), images


@pytest.mark.parametrize(("method", "name"), MARKED)
def test_shapes_ranges_and_singles(method, name, images):
    model, images = made(name, images)
    result = quickly(model, images, method)
    assert result.maps.shape == images.shape[:1] + images.shape[2:] and result.maps.dtype == torch.float32
    assert result.maps.min() >= 0 and result.maps.max() <= 1
    assert result.raw.ndim == 3 and result.raw.shape[0] == 3 and result.raw.isfinite().all()
    if (method, name) != ("eigen_grad_cam", "ours, max"):  # there the first component is against the class
        assert result.maps.std() > 0.01
    with torch.no_grad():
        logits = model(images)
    assert torch.equal(result.targets, logits.argmax(1))
    torch.testing.assert_close(result.scores, logits.max(1).values)
    if method == "smooth_grad_cam_pp" and name in NO_RELU:
        return  # maps of both signs: its denominator passes through zero, the last bit decides
    for i in range(3):
        single = quickly(model, images[i : i + 1], method, target=result.targets[i : i + 1])
        torch.testing.assert_close(single.maps[0], result.maps[i], atol=2e-3, rtol=1e-3)


def snapshot(model):
    return {
        "modes": [m.training for m in model.modules()],
        "hooks": sum(
            len(m._forward_hooks) + len(m._backward_hooks) + len(m._forward_pre_hooks)
            for m in model.modules()
        ),
        "grads": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "asks": [p.requires_grad for p in model.parameters()],
        "state": {k: v.clone() for k, v in model.state_dict().items()},
        "random": torch.get_rng_state(),
        "enabled": torch.is_grad_enabled(),
    }


def same(before, after):
    for key in ("modes", "hooks", "asks", "enabled"):
        assert before[key] == after[key], key
    for a, b in zip(before["grads"], after["grads"], strict=True):
        assert (a is None) == (b is None) and (a is None or torch.equal(a, b))
    assert all(torch.equal(v, after["state"][k]) for k, v in before["state"].items())
    assert torch.equal(before["random"], after["random"])


@pytest.mark.parametrize(("method", "name"), MARKED)
def test_nothing_is_left_behind(method, name, images):
    model, images = made(name, images)
    model.train()
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms[:1]:
        norm.eval()  # a frozen one
    parameters = list(model.parameters())
    parameters[0].grad = torch.ones_like(parameters[0])
    parameters[1].requires_grad = False
    before = snapshot(model)
    quickly(model, images, method)
    same(before, snapshot(model))
    with pytest.raises(UsageError):
        quickly(model, images, method, target=99)
    same(before, snapshot(model))


@pytest.mark.parametrize(("method", "name"), [c for c in CASES if c[1] in ("ours", "foreign", "timm vit")])
def test_frozen_inference_mode_and_compiled_networks_give_the_same(method, name, images):
    model, images = made(name, images)
    expected = quickly(model, images, method, target=1).maps
    compiled = torch.compile(model)
    torch.testing.assert_close(quickly(compiled, images, method, target=1).maps, expected)
    for parameter in model.parameters():
        parameter.requires_grad = False
    with torch.inference_mode():
        torch.testing.assert_close(quickly(model, images * 1, method, target=1).maps, expected)
    with torch.no_grad():
        torch.testing.assert_close(quickly(model, images, method, target=1).maps, expected)


HALVED = [
    pytest.param(*c, marks=[pytest.mark.slow] * (c[0] in ("score_cam", "occlusion")))  # half a minute each
    for c in CASES
    if c[1] in ("ours", "foreign", "ours, max")
]


@pytest.mark.parametrize(("method", "name"), HALVED)
def test_bfloat16(method, name, images):
    model, images = made(name, images)
    expected = quickly(model, images, method, target=1).maps
    lower = quickly(model.to(torch.bfloat16), images.to(torch.bfloat16), method, target=1)
    assert lower.maps.dtype == torch.float32 and lower.maps.isfinite().all()
    assert float((lower.maps - expected).abs().mean()) < 0.12


@pytest.mark.parametrize("method", METHODS)
def test_all_classes_are_the_classes_one_by_one(method, images):
    model, images = made(home(method), images)
    every = quickly(model, images, method, target="all")
    assert every.maps.shape == (3, 5, 32, 32) and every.targets.tolist() == [[0, 1, 2, 3, 4]] * 3
    for number in (0, 4):
        torch.testing.assert_close(
            every.maps[:, number], quickly(model, images, method, target=number).maps, atol=1e-4, rtol=1e-3
        )


@pytest.mark.parametrize("method", METHODS)
def test_any_scalar_function_can_be_asked(method, images):
    """A key point's x, say: two outputs of a network that is no classifier."""

    class Points(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = NETWORKS["torchvision vit" if method in OF_TRANSFORMERS else "foreign"]()

        def forward(self, x):
            return {"points": self.inner(x)}

    model = Points().eval()
    if method in ("cam", "gmp_cam", "finer_cam"):
        with pytest.raises(UsageError, match="class targets"):
            quickly(model, images, method, target=lambda out: out["points"][:, 2])
        return
    one = quickly(model, images, method, target=lambda out: out["points"][:, 2])
    two = quickly(model, images, method, target=lambda out: out["points"][:, 1:3])
    assert one.maps.shape == (3, 32, 32) and two.maps.shape == (3, 2, 32, 32)
    torch.testing.assert_close(two.maps[:, 1], one.maps, atol=1e-4, rtol=1e-3)
    if method not in ("score_cam", "rise"):  # these read probabilities of classes
        plain = quickly(model.inner, images, method, target=2)
        torch.testing.assert_close(plain.maps, one.maps, atol=1e-4, rtol=1e-3)
    with pytest.raises(UsageError, match="target= a function"):
        quickly(model, images, method, target=2)


@pytest.mark.parametrize("name", [*GAP[:2], pytest.param(GAP[2], marks=pytest.mark.slow)])
@pytest.mark.parametrize("method", [m for m in METHODS if m not in ("cam", "gmp_cam")])
def test_the_closed_forms_equal_what_gradients_and_passes_give(method, name, images, monkeypatch):
    if not fits(method, name):
        return
    model, images = made(name, images)
    closed = quickly(model, images, method, target=[[0, 3]] * 3)
    monkeypatch.setattr(look, "pooled_head", lambda *_: None)
    slow = quickly(model, images, method, target=[[0, 3]] * 3)
    if method == "smooth_grad_cam_pp":  # the same weights: the noise does not reach the gradient
        torch.testing.assert_close(closed.maps, slow.maps, atol=1e-3, rtol=1e-3)
    scale = slow.raw.abs().max()
    torch.testing.assert_close(closed.raw / scale, slow.raw / scale, atol=1e-4, rtol=1e-3)


def test_several_layers_are_fused(images):
    model, images = made("ours", images)
    fused = explain(model, images, "layer_cam", 1, layer=["layer2", "layer3"])
    single = [explain(model, images, "layer_cam", 1, layer=name).raw for name in ("layer2", "layer3")]
    shown = [heatmaps.resize(heatmaps.normalize(r.clamp(min=0)), 16, 16) for r in single]
    assert fused.layer == "layer2, layer3" and fused.raw.shape == (3, 16, 16)
    torch.testing.assert_close(fused.raw, torch.stack(shown).mean(0), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("method", ["smooth_grad_cam_pp", "rise", "augmented_grad_cam", "smooth_grad"])
def test_draws_are_seeded(method, images):
    model, images = made("foreign", images)
    first, again = quickly(model, images, method, seed=1), quickly(model, images, method, seed=1)
    other = quickly(model, images, method, seed=2)
    assert torch.equal(first.maps, again.maps) and not torch.equal(first.maps, other.maps)


def test_nothing_is_left_behind_when_the_network_raises(images):
    model = ConvNet()
    before = snapshot(model)
    model.head[1] = nn.Linear(3, 3)
    before["state"] = {k: v.clone() for k, v in model.state_dict().items()}
    before["grads"] = [None for _ in model.parameters()]
    with pytest.raises(RuntimeError):
        explain(model, images, "grad_cam", layer="body.3")
    after = snapshot(model)
    assert after["hooks"] == 0 and after["enabled"] and all(after["modes"])
    assert before["modes"] == after["modes"]


@pytest.mark.parametrize("name", GAP)
def test_the_mean_of_cam_and_the_bias_are_the_logit(name, images):
    model, images = made(name, images)
    result = explain(model, images, "cam", target=[[0, 1, 2, 3, 4]] * 3)
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)][-1]
    torch.testing.assert_close(result.raw.mean((2, 3)) + linear.bias, result.scores, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", GAP[:3])  # densenet's last activation is no module: CAM reads after it
def test_grad_cam_is_cam_over_its_area(name, images):
    model, images = made(name, images)
    cam, grad = explain(model, images, "cam", 2), explain(model, images, "grad_cam", 2)
    area = cam.raw.shape[-1] * cam.raw.shape[-2]
    torch.testing.assert_close(grad.raw, cam.raw / area, atol=1e-4, rtol=1e-3)
    expected = heatmaps.normalize(heatmaps.resize(cam.raw.clamp(min=0), *images.shape[2:]))
    torch.testing.assert_close(grad.maps, expected, atol=1e-3, rtol=1e-3)


def test_grad_cam_is_the_papers_formula(images):
    """Equations 1 and 2, slowly, by hooks and a full backward pass."""
    model, images = made("foreign", images)
    kept = {}
    model.body[3].register_forward_hook(lambda _, __, out: kept.update(a=out.clone()) or kept["a"].clone())
    maps = []
    for i in range(3):
        score = model(images[i : i + 1])[0, 4]
        gradient = torch.autograd.grad(score, kept["a"])[0]
        alpha = gradient.mean((2, 3), keepdim=True)
        maps.append((alpha * kept["a"]).sum(1)[0].detach())
    model.body[3]._forward_hooks.clear()
    result = explain(model, images, "grad_cam", target=4, layer="body.3")
    torch.testing.assert_close(result.raw, torch.stack(maps))


def test_targets_by_number_name_image_and_several(images):
    model, images = made("ours", images)
    model.classes = ("ant", "bee", "cat", "dog", "eel")
    assert explain(model, images, target="cat").targets.tolist() == [2, 2, 2]
    assert explain(model, images, target=["cat", 0, "eel"]).targets.tolist() == [2, 0, 4]
    assert explain(model, images, target=torch.tensor([1, 2, 3])).targets.tolist() == [1, 2, 3]
    assert explain(model, images, target=torch.tensor(3)).targets.tolist() == [3, 3, 3]
    assert explain(nn.DataParallel(model), images, target="dog").targets.tolist() == [3, 3, 3]
    several = explain(model, images, target=[["ant", 3], ["bee", 4], [0, 1]])
    assert several.maps.shape == (3, 2, 32, 32) and several.scores.shape == (3, 2)
    torch.testing.assert_close(several.maps[1, 1], explain(model, images, target=4).maps[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "grad_kam"}, "nearest: grad_cam"),
        ({"target": "cow"}, "'cow' is not a class of this network; known: "),
        ({"target": 5}, "out of range: the network has classes 0 to 4"),
        ({"target": [0, 1]}, "2 targets for 3 images"),
        ({"target": [[0], [1, 2], [3]]}, "same number of targets"),
        ({"target": 1.5}, "target 1.5: give class numbers or names, or a function"),
        ({"target": [1.7, 2.0, 0.0]}, "target 1.7: give class numbers"),
        ({"target": torch.tensor([1.7, 2.0, 0.0])}, "target 1.7.*: give class numbers"),
        ({"target": [None, 1, 2]}, "target None: give class numbers"),
        ({"target": torch.zeros(3, 1, 1).long()}, r"target \[0\]: give class numbers"),
        ({"target": [[], [], []]}, "same number of targets, one or more"),
        ({"target": torch.tensor([1, 2, 3]).numpy()}, "give class numbers"),
        ({"target": lambda out: out[:2, 1]}, "2 scores for 3 images"),
        ({"target": lambda out: out.argmax(1).float()}, "has no gradient at layer 'layer3'"),
        ({"target": lambda out: out.argmax(1).float(), "method": "gradient"}, "no gradient at the pictures"),
        ({"layer": []}, "layer= is empty"),
        ({"method": "score_cam", "reduced": 1}, "give 2 or more, or 0 for all"),
        ({"layer": "layer9"}, "no layer 'layer9'; nearest: layer"),
        ({"method": "rise", "layer": "layer3"}, "rise works on the pictures"),
        ({"method": "rise", "sample": 3}, "'sample' is not an option of rise; nearest: samples"),
        ({"method": "cam", "sample": 3}, "'sample' is not an option of cam, which has none"),
        ({"method": "score_cam", "weighting": "sum"}, "must be one of softmax_logit"),
        ({"method": "augmented_grad_cam", "base": "rise"}, "'rise' is not a base method"),
        ({"method": "rise", "samples": 0}, "samples=0: needs a whole number, 1 or more"),
        ({"method": "rise", "keep": 0.0}, "keep=0.0: needs a number above 0, and 1 or less"),
        ({"method": "rise", "precision": "fp8"}, "precision='fp8': must be one of fp32, bf16"),
        ({"method": "occlusion", "window": -1}, "window=-1: needs a whole number, 0 or more"),
        ({"method": "augmented_grad_cam", "tv": float("nan")}, "tv=nan: needs a number of 0 or more"),
        ({"layer": "fc"}, "does not give a map"),
    ],
)
def test_bad_words_are_one_clear_error(images, options, message):
    model, images = made("ours", images)
    model.classes = ("ant", "bee", "cat", "dog", "eel")
    with pytest.raises(UsageError, match=message):
        explain(model, images, **options)


def test_cam_refuses_a_head_that_is_not_pooling_and_linear(images):
    model, images = made("foreign", images)
    with pytest.raises(UsageError, match="use grad_cam"):
        explain(model, images, "cam")


def test_the_layer_is_found():
    images = torch.randn(1, 3, 64, 64)
    assert last_map_layer(create_model("resnet18", 5), images) == "layer4"
    assert last_map_layer(torchvision_model("resnet18"), images) == "layer4"
    assert last_map_layer(torchvision_model("densenet121"), images).startswith("features")
    assert last_map_layer(small_vit(), torch.randn(1, 3, 32, 32)) == "encoder.layers.encoder_layer_1.ln_1"
    assert last_map_layer(timm_vit(), images) == "blocks.1.norm1"
    assert last_map_layer(small_swin(), torch.randn(1, 3, 32, 32)) == "permute"
    wide = torch.randn(1, 3, 32, 96)
    assert explain(create_model("resnet20", 5), wide).raw.shape == (1, 8, 24)
    with pytest.raises(UsageError, match="no spatial map"):
        last_map_layer(nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 2)), images)


def test_a_planted_object_is_found():
    """A network whose weights say 'red' must look at the red square."""
    model = nn.Sequential(
        nn.Conv2d(3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2, 2)
    )
    with torch.no_grad():
        model[0].weight.zero_()
        model[0].weight[0, 0], model[0].weight[1, 2] = 1, 1
        model[0].bias.zero_()
        model[4].weight.copy_(200 * torch.eye(2))
        model[4].bias.zero_()
    image = torch.zeros(1, 3, 20, 20)
    image[0, 0, 4:8, 12:16] = 1
    image[0, 2, 14:18, 2:6] = 1
    for method in METHODS:
        if method == "gmp_cam" or method in (*OF_TRANSFORMERS, "eigen_cam"):
            continue  # Eigen-CAM does not depend on the class
        heat = quickly(model, image, method, target=0).maps[0]
        inside = heat[4:8, 12:16].mean()
        assert inside > 0.5 and inside > 1.5 * heat[14:18, 2:6].mean(), method


def test_a_flat_map_stays_zero():
    assert not heatmaps.normalize(torch.full((2, 4, 4), 3.0)).any()


class Pooled(nn.Module):
    """One image, one logit (or two that mirror each other) fits any head up to a factor."""

    def __init__(self, pool, classes, scale=1.0):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, 3, 2), nn.ReLU())
        self.fc, self.pool, self.scale = nn.Linear(6, classes), pool, scale
        with torch.no_grad():
            for values in (self.fc.weight, self.fc.bias):
                values[1:] = -values[:1]

    def forward(self, x):
        return self.scale * self.fc(self.pool(self.body(x)))


POOLS = {
    "gap": lambda a: a.mean((2, 3)),
    "gmp": lambda a: a.amax((2, 3)),
    "soft": lambda a: a.logsumexp((2, 3)),
}


@pytest.mark.parametrize("scale", [1.0, 0.25])
@pytest.mark.parametrize("classes", [1, 2])
@pytest.mark.parametrize("pool", POOLS)
def test_a_head_is_not_mistaken_for_another_when_few_logits_are_there(images, pool, classes, scale):
    model = Pooled(POOLS[pool], classes, scale).eval()
    with torch.no_grad():
        model.fc.bias.zero_()
    for count in (1, 3):
        for method, own in (("cam", "gap"), ("gmp_cam", "gmp")):
            if pool == own:
                assert explain(model, images[:count], method, 0).maps.shape == (count, 32, 32)
            else:
                with pytest.raises(UsageError, match="use grad_cam"):
                    explain(model, images[:count], method, 0)
    single, batch = explain(model, images[:1], target=0).raw, explain(model, images, target=0).raw
    torch.testing.assert_close(single, batch[:1], atol=1e-5 * float(batch.abs().max()), rtol=1e-3)


@pytest.mark.parametrize(
    ("pool", "layer"), [("gap", GlobalAveragePool()), ("gmp", GlobalMaxPool())], ids=["gap", "gmp"]
)
def test_the_head_of_a_network_that_has_died_is_still_its_own(images, pool, layer):
    model = Pooled(layer, 5).eval()
    with torch.no_grad():
        model.body[0].weight.zero_()
        model.body[0].bias.fill_(-1.0)
    for method, own in (("cam", "gap"), ("gmp_cam", "gmp")):
        if pool == own:
            assert not explain(model, images, method, 0).raw.any()
        else:
            with pytest.raises(UsageError, match="use grad_cam"):
                explain(model, images, method, 0)


def test_a_side_output_that_runs_last_is_not_the_trunk(images):
    class Sides(nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.side, self.fc = nn.Conv2d(3, 6, 3, 2), nn.Conv2d(6, 5, 1), nn.Linear(6, 4)

        def forward(self, x):
            maps = self.body(x).relu()
            return {"out": self.fc(maps.mean((2, 3))), "side": self.side(maps)}

    model = Sides().eval()
    found = explain(model, images, target=lambda out: out["out"][:, 1])
    assert found.layer == "body" and found.maps.std() > 0.01
    with pytest.raises(UsageError, match="no gradient at layer 'side': give a layer="):
        explain(model, images, target=lambda out: out["out"][:, 1], layer="side")


@pytest.mark.parametrize("method", [m for m in METHODS if m != "gmp_cam"])
def test_autocast_around_the_call_changes_nothing(method, images):
    model, images = made(home(method), images)
    expected = quickly(model, images, method, target=1)
    with torch.autocast("cpu", torch.bfloat16):
        result = quickly(model, images, method, target=1)
    assert torch.equal(result.maps, expected.maps) and torch.equal(result.scores, expected.scores)


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_with_logits_in_it_is_a_classifiers(method, images):
    """As transformers' networks answer."""

    class Answer:
        def __init__(self, logits):
            self.logits = logits

    class Wrapped(nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return Answer(self.inner(x))

    model, images = made(home(method), images)
    expected = quickly(model, images, method, target=[[1, 2]] * 3)
    result = quickly(Wrapped(model), images, method, target=[[1, 2]] * 3)
    torch.testing.assert_close(result.maps, expected.maps)
    assert torch.equal(result.scores, expected.scores)
