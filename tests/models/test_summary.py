"""The summary's figures are the lectures' and the literature's."""

import pytest
import torch
from torch import nn

from resight.cli import networks
from resight.core.errors import UsageError
from resight.models import cost
from resight.models.summary import summarize
from resight.models.zoo import NETWORKS, create_model
from support import one_line, resight


def summary_of(name, **options):
    row = NETWORKS[name]
    with torch.device("meta"):
        return summarize(
            create_model(name, row.classes, row.channels, **options), row.input_size, row.channels
        )


# As in "Computing receptive fields of convolutional neural networks" (Araujo et al. 2019), or recomputed.
FIELDS = {
    "alexnet_2012": 195,
    "vgg16": 212,
    "inception_v3": 1311,
    "inception_v4": 2071,
    "inception_resnet_v2": 3039,
    "resnet18": 435,
    "resnet34": 899,
    "resnet50": 427,
    "resnet50_v1": 483,
    "resnet101_v1": 1027,
    "resnet152_v1": 1507,
    "resnet20": 81,
    "resnet56": 249,
}


@pytest.mark.parametrize("name", FIELDS)
def test_receptive_fields(name):
    assert summary_of(name).receptive_field == FIELDS[name]


def test_lenets_c3_costs_its_connections():
    """LeCun et al. 1998, section II.B: 1,516 parameters, and 60 x 25 products at each of 10 x 10 places."""
    found = summary_of("lenet5")
    c3 = next(layer for layer in found.layers if layer.name == "c3")
    assert (c3.parameters, c3.multiply_adds) == (1516, 150_000)
    assert found.multiply_adds == 28 * 28 * 6 * 25 + 150_000 + 400 * 120 + 120 * 84
    assert cost.multiply_adds(create_model("lenet5", 10, 1), 32, 1) == found.multiply_adds
    modern = next(layer for layer in summary_of("lenet5_modern").layers if layer.name == "c3")
    assert modern.multiply_adds == 240_000


def test_local_contrast_normalization_widens_the_field():
    with torch.device("meta"):
        plain, wide = (summarize(create_model("resnet20", 10, norm=n), 32) for n in ("none", "lcn"))
    assert plain.receptive_field == 81 and wide.receptive_field > 81 + 16 * 7


def test_three_3x3_see_as_much_as_one_7x7():
    stack = nn.Sequential(*(nn.Conv2d(4, 4, 3, padding=1) for _ in range(3)))
    dilated = nn.Sequential(*(nn.Conv2d(4, 4, 3, dilation=d, padding=d) for d in (1, 2, 4, 8)))
    assert summarize(stack, 32, 4).receptive_field == 7
    assert summarize(dilated, 32, 4).receptive_field == 31


def test_the_receptive_field_is_where_the_gradient_is():
    """One position of the last map, differentiated: the square of pixels that are not zero."""
    for name, size in (("resnet20", 96), ("vgg11", 192), ("googlenet", 512)):
        model = create_model(name, 10).double().eval()
        for p in model.parameters():
            p.data.abs_()  # nothing cancels, no unit is dead
        images = torch.rand(1, 3, size, size, dtype=torch.double, requires_grad=True)
        features = model.forward_features(images)
        middle = features.shape[-1] // 2
        features[0, :, middle, middle].sum().backward()
        touched = images.grad.abs().sum((0, 1))
        high, wide = (int((touched.sum(d) > 0).sum()) for d in (0, 1))
        with torch.device("meta"):
            field = summarize(create_model(name, 10), size).receptive_field
        reach = min(field, size)
        assert high == wide and 0.85 * reach <= high <= reach, (name, high, field)


def test_vgg16_is_the_lectures_table():
    """Rows, parameters and the first linear layer agree; the rows' sum is 15.2 M numbers, 61 MB.

    The lecture's own total of 24 M numbers, 96 MB, is not the sum of its rows.
    """
    summary = summary_of("vgg16")
    kept = [layer.output for layer in summary.layers if layer.activation_bytes]
    assert kept[:6] == [
        (3, 224, 224),
        (64, 224, 224),
        (64, 224, 224),
        (64, 112, 112),
        (128, 112, 112),
        (128, 112, 112),
    ]
    assert kept[-4:] == [(512, 7, 7), (4096,), (4096,), (1000,)] and len(kept) == 1 + 13 + 5 + 3
    assert summary.activation_bytes == 4 * 15_237_608
    assert summary.parameters == 138_357_544
    first = next(layer for layer in summary.layers if layer.name == "classifier.0")
    assert first.multiply_adds == 102_760_448 and first.parameters == 102_760_448 + 4096


@pytest.mark.parametrize(
    "name", ["lenet5", "alexnet_2012", "deepface", "densenet40_12", "efficientnet_b0", "dsn"]
)
def test_the_layers_add_up_to_torchs_own_count(name):
    row = NETWORKS[name]
    with torch.device("meta"):
        model = create_model(name, row.classes, row.channels)
        assert summary_of(name).multiply_adds == cost.multiply_adds(model, row.input_size, row.channels)


def test_it_leaves_the_network_as_it_was():
    model = create_model("resnet20", 10).train()
    model.bn1.eval()
    summarize(model, 32)
    assert model.training and not model.bn1.training


def test_a_size_that_is_too_small_is_said():
    with pytest.raises(UsageError, match="does not take images of 20 x 20"), torch.device("meta"):
        summarize(create_model("alexnet"), 20)


def test_the_command(capsys):
    import json

    from as_json import summary
    from resight.service.networks.summary import summary as service

    answer = summary("googlenet")
    assert answer["parameters"] == sum(layer["parameters"] for layer in answer["layers"]) == 6_624_904
    assert {"name", "kind", "output", "parameters", "multiply_adds", "receptive_field"} <= set(
        answer["layers"][1]
    )
    assert summary("vgg16", 64, ["head=gap"])["layers"][-1]["output"] == [1000]
    json.dumps(answer)
    networks.summarized(service("resnet20"), as_json=False)
    text = capsys.readouterr().out
    assert "40,551,040 (81,102,080 FLOPs)" in text and "FLOPs are twice that" in text
    with pytest.raises(UsageError, match="nearest: resnet5"):
        summary("resnet51")
    assert "does not take colour" in one_line(resight("summary", "resnet20", "--set", "colour=red"), 2)
