"""dlib's face network: the released tensors, read slowly from its definition, give the same 128 numbers."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from resight.core.preprocessing import Preprocessing
from resight.data.prepare import Normalize, fit
from resight.models import cost
from resight.models.zoo import create_model

RELEASED = "weights/dlib_face_resnet29_fp16.safetensors"
pytestmark = pytest.mark.filterwarnings("ignore:.*newly initialized")


def by_hand(state, x):
    """The network as the release defines it, from its tensors alone; x (B, 3, 150, 150)."""

    def conv(x, name, stride=1, padding=1):
        return F.conv2d(x, state[f"{name}.weight"], state[f"{name}.bias"], stride, padding)

    def block(x, name):
        return F.relu(conv(F.relu(conv(x, f"{name}.conv1")), f"{name}.conv2") + x)

    def halved(x, name):
        branch = conv(F.relu(conv(x, f"{name}.conv1", 2, 0)), f"{name}.conv2")
        pooled = F.avg_pool2d(x, 2)
        whole = torch.zeros(len(x), branch.shape[1], *pooled.shape[2:], dtype=x.dtype)
        whole[:, :, : branch.shape[2], : branch.shape[3]] += branch
        whole[:, : pooled.shape[1]] += pooled
        return F.relu(whole)

    x = F.max_pool2d(F.relu(conv(x, "conv32_down", 2, 0)), 3, 2)
    for name in ("conv32_1", "conv32_2", "conv32_3"):
        x = block(x, name)
    for width, blocks in ((64, 3), (128, 2), (256, 2)):
        x = halved(x, f"conv{width}_down")
        for number in range(blocks):
            x = block(x, f"conv{width}_{number + 1}")
    return halved(x, "conv256_down_out").mean((2, 3)) @ state["fc.weight"].T


def released_names():
    """The names and shapes of the release: 29 convolutions with biases, one linear layer without."""
    model = create_model("face_resnet29", 5)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith("classifier.")}
    return {k: v[:, :, 0, 0] if k == "fc.weight" else v for k, v in state.items()}


def test_it_has_the_released_parameters_and_29_convolutions():
    state = released_names()
    assert sum(v.numel() for v in state.values()) == 5_607_488
    assert sum(k.endswith("weight") and v.ndim == 4 for k, v in state.items()) == 29
    assert state["fc.weight"].shape == (128, 256)
    with torch.device("meta"):
        assert cost.multiply_adds(create_model("face_resnet29", 7485), 150, 3) == 271_910_528


@pytest.mark.parametrize("side", [150, 131, 103])
def test_a_file_of_the_released_layout_gives_the_numbers_that_its_definition_gives(tmp_path, side):
    torch.manual_seed(3)
    state = {k: v + 0.01 * torch.randn_like(v) for k, v in released_names().items()}
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / "face.safetensors")
    model = create_model("face_resnet29", 5, weights=tmp_path / "face.safetensors").eval()
    images = torch.randn(2, 3, side, side)
    with torch.no_grad():
        found = model.forward_head(model.forward_features(images), pre_logits=True)
        expected = by_hand(state, images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_its_weights_bring_their_preprocessing(tmp_path):
    state = {k: v.contiguous() for k, v in released_names().items()}
    save_file(state, tmp_path / "face.safetensors")
    model = create_model("face_resnet29", 5, weights=tmp_path / "face.safetensors")
    assert model.preprocessing is not None and model.preprocessing.frame == "pad"
    pixels = torch.zeros(1, 2, 2, 3, dtype=torch.uint8)
    seen = Normalize(model.preprocessing, torch.device("cpu"))(pixels)[0, :, 0, 0]
    torch.testing.assert_close(seen, -torch.tensor([122.782, 117.001, 104.298]) / 256)


def test_the_release_gives_the_same_numbers(real_data):
    state = {k: v.float() for k, v in load_file(real_data / RELEASED).items()}
    model = create_model("face_resnet29", 5, weights=real_data / RELEASED).eval()
    archive = zipfile.ZipFile(real_data / "orl_faces.zip")
    names = sorted(n for n in archive.namelist() if n.endswith(".png"))[:2]
    pictures = [Image.open(io.BytesIO(archive.read(n))).convert("RGB") for n in names]
    assert model.preprocessing is not None
    squares = torch.from_numpy(np.stack([fit(p, model.preprocessing) for p in pictures]))
    plain = (
        squares.permute(0, 3, 1, 2).float() - torch.tensor([122.782, 117.001, 104.298]).view(3, 1, 1)
    ) / 256
    with torch.no_grad():
        images = Normalize(model.preprocessing, torch.device("cpu"))(squares)
        found = model.forward_head(model.forward_features(images), pre_logits=True)
        torch.testing.assert_close(found, by_hand(state, plain), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(92, 112), (112, 92), (60, 60), (31, 10)])
def test_a_padded_frame_is_the_picture_in_the_middle_of_black(size):
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))
    card = Preprocessing(size=max(size), resize=max(size), frame="pad")
    square = fit(image, card)
    left, top = ((max(size) - edge) // 2 for edge in size)
    expected = np.zeros((max(size), max(size), 3), np.uint8)
    expected[top : top + size[1], left : left + size[0]] = np.asarray(image)
    assert (square == expected).all()
    tensor = torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1)
    assert (fit(tensor, card) == expected).all()
    again = Preprocessing.from_dict(card.to_dict())
    assert again == card and "frame" not in Preprocessing(size=8, resize=8).to_dict()
