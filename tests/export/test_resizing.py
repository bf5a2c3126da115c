"""The resize inside the graph gives the pixels of Pillow's, by `prepare.fit`."""

import numpy as np
import pytest
import torch
from PIL import Image

from resight.core.preprocessing import Preprocessing
from resight.data.prepare import fit, seen_window
from resight.export.graph import ALL, ClosedForm, Deployed
from resight.export.resizing import edges, squares
from resight.saliency.capture import Layout

SIZES = (
    (64, 48), (48, 64), (240, 180), (32, 32), (36, 32), (1, 1), (2, 1), (1, 40), (33, 900), (900, 33),
    (15, 500), (100, 210), (100, 200), (97, 301), (40, 33), (35, 36),
)  # fmt: skip


def noise(width, height):
    return np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "resize"), [(32, 32), (28, 35), (27, 32)])
def test_squares_are_those_of_the_decoder(size, resize, interpolation):
    card = Preprocessing(size=size, resize=resize, interpolation=interpolation)
    for width, height in SIZES:
        pixels = noise(width, height)
        wanted = fit(Image.fromarray(pixels), card)
        found = squares(torch.from_numpy(pixels)[None], card)[0].permute(1, 2, 0).numpy()
        assert np.array_equal(found, wanted), (width, height)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("frame", ["stretch", "pad", "corner"])
def test_squares_of_whole_pictures_are_those_of_the_decoder(frame, interpolation):
    card = Preprocessing(size=32, resize=32, interpolation=interpolation, frame=frame)
    for width, height in (*SIZES, (40, 61), (41, 80), (10, 33), (31, 31), (61, 40), (7, 5)):
        pixels = noise(width, height)
        wanted = fit(Image.fromarray(pixels), card)
        found = squares(torch.from_numpy(pixels)[None], card)[0].permute(1, 2, 0).numpy()
        assert np.array_equal(found, wanted), (width, height)
        sides = torch.tensor([width, height])
        across, down = edges(sides[0], sides[1], card), edges(sides[1], sides[0], card)
        found = [float(edge) for edge in (across[0], down[0], across[1], down[1])]
        assert found == pytest.approx(seen_window((width, height), card), abs=1e-9), (width, height)


class Bars(torch.nn.Module):
    """Two classes: how bright the left and the right half of a picture are, by pooling and a linear layer."""

    def __init__(self):
        super().__init__()
        self.trunk = torch.nn.AvgPool2d(4)
        self.linear = torch.nn.Linear(3, 2, bias=False)
        with torch.no_grad():
            self.linear.weight.copy_(torch.tensor([[1.0, 0, 0], [0, 1, 0]]))

    def forward(self, images):
        return self.linear(self.trunk(images).mean((2, 3)))


def deployed(maps=ALL, *, picture_maps=False):
    card = Preprocessing(size=16, resize=16, mean=(0, 0, 0), std=(1, 1, 1))
    model = Bars()
    weight, layout = model.linear.weight.detach(), Layout("channels", 4, 4)
    form = ClosedForm("trunk", layout, weight, "gap", rectified=False, cells=(4, 4))
    return Deployed(model, card, 0.5, "softmax", form, maps, picture_maps=picture_maps).eval(), card


def test_maps_average_to_the_logits_and_the_best_come_first():
    pictures = torch.from_numpy(np.stack([noise(20, 30), noise(20, 30)]))
    every, _ = deployed()
    likely, logits, maps = every(pictures)[:3]
    assert torch.allclose(maps.mean((2, 3)), logits, atol=1e-6)
    assert torch.allclose(likely, (logits / 0.5).softmax(1))
    best, _ = deployed(1)
    _, _, one, chosen = best(pictures)[:4]
    assert torch.equal(chosen[:, 0], likely.argmax(1))
    for row in range(2):
        assert torch.equal(one[row, 0], maps[row, chosen[row, 0]])


def test_picture_maps_lie_where_the_network_looked():
    network, card = deployed(picture_maps=True)
    width, height = 40, 20
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, 24:, 0] = 255  # red at the right of the part that is seen, columns 10 to 30
    outputs = dict(zip(network.outputs, network(torch.from_numpy(pixels)[None]), strict=False))
    drawn = outputs["picture_maps"][0].numpy()
    left, top, right, bottom = seen_window((width, height), card)
    assert (left, top, right, bottom) == (10, 0, 30, 20)
    assert drawn.shape == (height, width)
    assert not drawn[:, :10].any() and not drawn[:, 30:].any()
    # Pixel centres: 20 columns over 4 cells, so column x lies at cell (x - 10 + 0.5) / 5 - 0.5.
    cells = outputs["maps"][0, 0].numpy()
    for x in (10, 14, 19, 24, 29):
        place = np.clip((x - 10 + 0.5) / 5 - 0.5, 0, 3)
        wanted = np.interp(place, np.arange(4), cells[1])
        assert drawn[height // 2 - 1, x] == pytest.approx(wanted, abs=1e-5)
