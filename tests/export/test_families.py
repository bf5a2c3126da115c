"""Every family of networks, exported: one network of each, compared with torch."""

import copy
import warnings
from io import BytesIO

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from resight.core.preprocessing import Preprocessing
from resight.data.prepare import Normalize, fit
from resight.export.deployed import Onnx
from resight.export.graph import Deployed, closed_form
from resight.export.writing import to_onnx, with_document
from resight.models.zoo import NETWORKS, create_model
from resight.saliency.methods import explain
from resight.service.export.agreement import map_difference

SIZES = ((64, 48), (48, 64), (320, 240), (240, 320), (500, 375), (333, 999), (1200, 900), (256, 256))
SMALLEST = {
    "lenet": "lenet5", "alexnet": "alexnet", "vgg": "vgg11", "resnet": "resnet18", "densenet": "densenet121",
    "efficientnet": "efficientnet_b0", "efficientnet_lite": "efficientnet_lite0",
    "squeezenet": "squeezenet1_1", "googlenet": "googlenet",
}  # fmt: skip
"""Networks that are tried where a family has several; of other families the first."""
FAMILIES = sorted({row.family for row in NETWORKS.values()} - {"classic"})


def network_of(family):
    names = [n for n, row in NETWORKS.items() if row.family == family]
    return SMALLEST[family] if SMALLEST.get(family) in names else names[0]


def pictures(sizes):
    """Smooth pictures: noise of a few cells, enlarged, as photos have large areas."""
    made = []
    for number, size in enumerate(sizes):
        cells = np.random.default_rng(number).integers(0, 256, (7, 9, 3), dtype=np.uint8)
        made.append(Image.fromarray(cells).resize(size, Image.Resampling.BICUBIC))
    return made


def compare(name, model, made):
    """Return the largest differences: of a probability, of a map by its range, of batch 8 to 1."""
    row, card = NETWORKS[name], model.preprocessing
    images = torch.randn(2, 3, card.size, card.size, generator=torch.Generator().manual_seed(0))
    form = closed_form(model, images)
    network = Deployed(model, card, 1.0, model.probabilities, form).eval()
    document = {
        "classes": list(model.classes), "preprocessing": card.to_dict(),
        "export": {"format": 1, "outputs": {}, "probabilities": model.probabilities},
    }  # fmt: skip
    opened = Onnx(name, with_document(to_onnx(network, name), document))
    worst, apart, batched = 0.0, 0.0, 0.0
    for picture, answer in zip(made, opened.answer(made), strict=True):
        images = Normalize(card, torch.device("cpu"))(torch.from_numpy(np.array(fit(picture, card)))[None])
        with torch.no_grad():
            wanted = model(images).double().softmax(1)[0].numpy()
        assert answer.probabilities.argmax() == wanted.argmax(), picture.size
        worst = max(worst, np.abs(answer.probabilities - wanted).max())
        if form is not None:
            maps = explain(model, images, form.method, "all", form.layer).raw[0].numpy()
            apart = max(apart, map_difference(maps, answer.maps))
    eight = opened.answer([made[2]] * 8)
    batched = max(np.abs(a.probabilities - eight[0].probabilities).max() for a in eight)
    single = opened.answer([made[2]])[0]
    return worst, apart, max(batched, np.abs(single.probabilities - eight[0].probabilities).max()), row


def rounding(model, made):
    """Return how far maps in float32 are from those in float64, in torch, largest by their range.

    Of random weights maps can be almost flat: then float32 itself cannot tell their range to 1e-4.
    """
    card, apart = model.preprocessing, 0.0
    double = copy.deepcopy(model).double()
    for picture in made:
        images = Normalize(card, torch.device("cpu"))(torch.from_numpy(np.array(fit(picture, card)))[None])
        form = closed_form(model, images)
        exact = explain(double, images.double(), form.method, "all", form.layer).raw[0].double().numpy()
        maps = explain(model, images, form.method, "all", form.layer).raw[0].numpy()
        apart = max(apart, map_difference(exact, maps))
    return apart


def random_network(name):
    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = create_model(name, num_classes=10).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.running_var is not None:
            module.running_var.uniform_(0.5, 2)
            module.running_mean.normal_(0, 0.2)
    side = NETWORKS[name].input_size
    model.classes = tuple("abcdefghij")
    model.preprocessing = Preprocessing(size=side, resize=round(side * 8 / 7))
    return model


def agrees(name, made):
    model = random_network(name)
    worst, apart, batched, _ = compare(name, model, made)
    assert worst <= 1e-5, worst
    # Two of them, each as far from the exact map as float32 is, can be twice that apart.
    assert apart <= 1e-4 or apart <= 2 * rounding(model, made[:3]), apart
    assert batched <= 1e-5, batched


@pytest.mark.parametrize("name", ["lenet5", "squeezenet1_1"])
def test_a_small_network_agrees(name):
    agrees(name, pictures(SIZES[:4]))


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_of_every_family_agrees(family):
    agrees(network_of(family), pictures(SIZES))


@pytest.mark.slow
def test_real_weights_agree():
    model = create_model("efficientnet_lite0", weights="installed").eval()
    worst, apart, batched, _ = compare("efficientnet_lite0", model, pictures(SIZES))
    assert max(worst, batched) <= 1e-5 and apart <= 1e-4


@pytest.fixture
def photos(real_data):
    """300 photos of one size."""
    rows = pq.read_table(real_data / "imagenet_sample" / "imagenet_sample.parquet", columns=["image"])
    files = rows["image"].to_pylist()[:300]
    return [Image.open(BytesIO(file["bytes"])).convert("RGB").resize((320, 240)) for file in files]


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_a_network_of_every_family_agrees_on_300_photos(family, photos):
    agrees(network_of(family), photos)
