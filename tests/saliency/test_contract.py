"""Every method: right by identities, the same alone and in a batch, and no trace left on the network."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resight import create_model, explain
from resight.core.errors import UsageError
from resight.geometry import heatmaps
from resight.saliency.capture import last_map_layer
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


NETWORKS = {
    "ours": lambda: create_model("resnet20", 5),
    "ours, pooled": lambda: create_model("speednet8", 5),
    "foreign": ConvNet,
    "torchvision resnet": lambda: torchvision_model("resnet18"),
    "torchvision densenet": lambda: torchvision_model("densenet121"),
}
GAP = ("ours", "ours, pooled", "torchvision resnet", "torchvision densenet")
CASES = [(m, n) for m in METHODS for n in NETWORKS if m != "cam" or n in GAP]


@pytest.fixture
def images():
    return torch.randn(3, 3, 32, 32)


def made(name, images):
    model = NETWORKS[name]()
    if name.startswith("torchvision"):
        images = F.interpolate(images, 64)
    with torch.no_grad():
        model(torch.randn(16, *images.shape[1:]))  # batch statistics
    return model.eval(), images


@pytest.mark.parametrize(("method", "name"), CASES)
def test_shapes_ranges_and_singles(method, name, images):
    model, images = made(name, images)
    result = explain(model, images, method)
    assert result.maps.shape == images.shape[:1] + images.shape[2:] and result.maps.dtype == torch.float32
    assert result.maps.min() >= 0 and result.maps.max() <= 1
    assert result.raw.ndim == 3 and result.raw.shape[0] == 3
    with torch.no_grad():
        logits = model(images)
    assert torch.equal(result.targets, logits.argmax(1))
    torch.testing.assert_close(result.scores, logits.max(1).values)
    for i in range(3):
        single = explain(model, images[i : i + 1], method)
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


@pytest.mark.parametrize(("method", "name"), CASES)
def test_nothing_is_left_behind(method, name, images):
    model, images = made(name, images)
    model.train()
    next(m for m in model.modules() if isinstance(m, nn.BatchNorm2d)).eval()  # a frozen one
    parameters = list(model.parameters())
    parameters[0].grad = torch.ones_like(parameters[0])
    parameters[1].requires_grad = False
    before = snapshot(model)
    explain(model, images, method)
    same(before, snapshot(model))
    with pytest.raises(UsageError):
        explain(model, images, method, target=99)
    same(before, snapshot(model))


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
    several = explain(model, images, target=[["ant", 3], ["bee", 4], [0, 1]])
    assert several.maps.shape == (3, 2, 32, 32) and several.scores.shape == (3, 2)
    torch.testing.assert_close(several.maps[1, 1], explain(model, images, target=4).maps[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "grad_kam"}, "nearest: grad_cam"),
        ({"target": "cow"}, "'cow' is not a class of this network; nearest: "),
        ({"target": 5}, "out of range: the network has classes 0 to 4"),
        ({"target": [0, 1]}, "2 targets for 3 images"),
        ({"target": [[0], [1, 2], [3]]}, "same number of targets"),
        ({"layer": "layer9"}, "no layer 'layer9'; nearest: layer"),
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
        model[4].weight.copy_(torch.eye(2))
        model[4].bias.zero_()
    image = torch.zeros(1, 3, 20, 20)
    image[0, 0, 4:8, 12:16] = 1
    image[0, 2, 14:18, 2:6] = 1
    for method in METHODS:
        heat = explain(model, image, method, target=0).maps[0]
        assert heat[4:8, 12:16].mean() > 0.9 and heat[14:18, 2:6].max() < 0.6


def test_a_flat_map_stays_zero():
    assert not heatmaps.normalize(torch.full((2, 4, 4), 3.0)).any()
