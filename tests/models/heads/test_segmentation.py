"""Heads for every place of a map: equal to torchvision's from equal weights; Long et al.'s added scores."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.models.heads.released import SEGMENTERS, our_names
from resight.models.heads.segmentation import Plan, Segmentation, segmenter_on
from resight.models.zoo import create_model

CLASSES = 4


def measured(model):
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1)
            layer.running_var.uniform_(0.5, 2)
    return model.eval()


@pytest.mark.parametrize(
    ("name", "trunk", "kind"),
    [
        ("fcn_resnet50", "resnet50", "fcn32"),
        ("deeplabv3_resnet50", "resnet50", "deeplab"),
        pytest.param("deeplabv3_resnet101", "resnet101", "deeplab", marks=pytest.mark.slow),
    ],
)
def test_scores_equal_torchvision(name, trunk, kind):
    """All tensors load by name; main and second scores are equal at the image's size."""
    from torchvision.models import segmentation

    torch.manual_seed(0)
    build = getattr(segmentation, name)
    theirs = measured(build(weights=None, weights_backbone=None, num_classes=CLASSES, aux_loss=True))
    network = segmenter_on(create_model(trunk, 10), CLASSES, Plan(kind, 8, 256, aux=True)).eval()
    network.load_state_dict(our_names(theirs.state_dict(), SEGMENTERS))
    images = torch.randn(1, 3, 48, 64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        wanted = theirs(images)
        maps = network.forward_maps(images)
        own = {"out": network(images), "aux": network.head.beside(maps)}
    for key, scores in own.items():
        assert scores.shape[-2:] == (6, 8)
        whole = F.interpolate(scores, size=(48, 64), mode="bilinear", align_corners=False)
        torch.testing.assert_close(whole, wanted[key], rtol=1e-4, atol=1e-5)


def test_finer_scores_are_added_by_hand():
    torch.manual_seed(0)
    network = segmenter_on(create_model("resnet18", 10), CLASSES, Plan("fcn8")).eval()
    assert network.head.reads == ("layer2", "layer3", "layer4") and len(network.head.finer) == 2
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        maps = network.forward_maps(images)
        last = network.head.classifier(maps["layer4"])
        assert torch.equal(  # at first the finer ones add nothing
            network(images),
            F.interpolate(
                F.interpolate(last, scale_factor=2, mode="bilinear"), scale_factor=2, mode="bilinear"
            ),
        )
        for layer in network.head.finer:
            nn.init.normal_(layer.weight)
        found = network(images)
        for name, layer in zip(("layer3", "layer2"), network.head.finer, strict=True):
            size = maps[name].shape[-2:]
            last = layer(maps[name]) + F.interpolate(last, size=size, mode="bilinear")
    torch.testing.assert_close(found, last)
    assert found.shape == (2, CLASSES, 8, 12)


@pytest.mark.parametrize(
    "name", ["resnet18", "efficientnet_lite0", "squeezenet1_1", "densenet121", "speednet8_narrow"]
)
def test_any_trunk_carries_every_head(name):
    for kind in ("fcn32", "fcn8", "deeplab"):
        trunk = create_model(name, 10)
        kept = {n: p.clone() for n, p in trunk.named_parameters()}
        network = segmenter_on(trunk, 3, Plan(kind, width=8, aux=True)).eval()
        own = dict(network.named_parameters())
        assert all(torch.equal(own[f"trunk.{n}"], p) for n, p in kept.items() if f"trunk.{n}" in own)
        images = torch.zeros(1, 3, 72, 104)
        with torch.no_grad():
            maps = network.forward_maps(images)
            assert torch.equal(network(images), network.head(maps))
            assert network.head.beside(maps).shape[1] == 3 == network.head(maps).shape[1]
        assert (
            isinstance(network.head, Segmentation)
            and "head.aux_classifier.0.weight" in network.head_parameters()
        )


def test_the_pyramid_s_kernels_are_as_far_apart_as_the_map_is_fine():
    rates = {}
    for stride in (16, 8):
        network = segmenter_on(create_model("resnet18", 10), 3, Plan("deeplab", stride, 8))
        rates[stride] = [conv[0].dilation[0] for conv in list(network.head.classifier[0].convs)[1:4]]
    assert rates == {16: [6, 12, 18], 8: [12, 24, 36]}


def test_what_does_not_go_together_is_refused():
    with pytest.raises(UsageError, match="fcn8 adds the trunk's own finer maps"):
        segmenter_on(create_model("resnet18", 10), 3, Plan("fcn8", 8))
    with pytest.raises(UsageError, match="densenet121 cannot have a finer map"):
        segmenter_on(create_model("densenet121", 10), 3, Plan("deeplab", 8))
