"""Eigen-CAM and Eigen-Grad-CAM against numpy's eigenvectors and pytorch-grad-cam."""

import numpy as np
import pytest
import torch
from torch import nn

from resight import explain


class Centred(nn.Module):
    """Take the mean over space away, so that pytorch-grad-cam's centring changes nothing."""

    def forward(self, maps):
        return maps - maps.mean((2, 3), keepdim=True)


class Small(nn.Module):
    """A layer with a map, and a head whose gradient differs from place to place."""

    def __init__(self, last):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3, 2, 1), last
        self.hidden, self.head = nn.Linear(6 * 25, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.head(self.hidden(self.last(self.first(x)).flatten(1)).tanh())


def small(last):
    torch.manual_seed(5)
    return Small(last).double().eval(), torch.randn(2, 3, 10, 10, dtype=torch.float64)


def by_numpy(maps):
    """M times the eigenvector of M'M with the largest eigenvalue; its sign is arbitrary."""
    rows = maps.reshape(len(maps), -1).T
    values, vectors = np.linalg.eigh(rows.T @ rows)
    return (rows @ vectors[:, np.argmax(values)]).reshape(maps.shape[1:])


@pytest.mark.parametrize("last", [nn.ReLU(), nn.Identity()], ids=["relu", "signed"])
def test_they_are_the_first_principal_component(last):
    model, images = small(last)
    maps = model.last(model.first(images)).detach().requires_grad_()
    score = model.head(model.hidden(maps.flatten(1)).tanh())[:, 2].sum()
    weighted = maps * torch.autograd.grad(score, maps)[0]
    for method, of in (("eigen_cam", maps), ("eigen_grad_cam", weighted)):
        found = explain(model, images, method, 2, layer="last").raw.numpy()
        for own, ours in zip(of.detach().numpy(), found, strict=True):
            wanted = by_numpy(own)
            agree = wanted.sum() if method == "eigen_cam" else (wanted * own.sum(0)).sum()
            np.testing.assert_allclose(ours, np.sign(agree) * wanted, atol=1e-9 * np.abs(wanted).max())


def test_without_a_mean_eigen_cam_is_pytorch_grad_cams_up_to_the_sign():
    from pytorch_grad_cam.utils.svd_on_activations import get_2d_projection

    model, images = small(Centred())
    found = explain(model, images, "eigen_cam", layer="last").raw
    with torch.no_grad():
        wanted = torch.from_numpy(get_2d_projection(model.last(model.first(images)).numpy())).double()
    for ours, theirs in zip(found, wanted, strict=True):
        torch.testing.assert_close(ours, torch.sign((ours * theirs).sum()) * theirs, atol=1e-5, rtol=1e-4)


def test_after_a_relu_nothing_is_negative_and_the_target_does_not_count():
    model, images = small(nn.ReLU())
    one, two = (explain(model, images, "eigen_cam", target, layer="last").raw for target in (0, 3))
    assert torch.equal(one, two) and one.min() >= 0 and one.max() > 0


def test_rounding_is_no_heat():
    """Two channels that are active at one position each: the first component is a single position."""
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(18, 2))
    with torch.no_grad():
        model[2].weight.fill_(-1.0)
    image = torch.zeros(1, 2, 3, 3)
    image[0, 0, 0, 0], image[0, 1, 2, 2] = 3, 1 / 3
    found = explain(model, image, "eigen_grad_cam", 0, layer="0")
    assert found.raw[0, 0, 0] == -3 and not found.raw.flatten()[1:].any() and not found.maps.any()


def test_eigen_grad_cam_has_the_sign_of_hires_cam():
    """Evidence against the class stays below zero, whatever sign the decomposition gives."""
    for seed in range(8):
        torch.manual_seed(seed)
        model, images = Small(nn.Identity()).eval(), torch.randn(1, 3, 10, 10)
        first = explain(model, images, "eigen_grad_cam", 1, layer="last").raw
        assert (first * explain(model, images, "hires_cam", 1, layer="last").raw).sum() >= 0
