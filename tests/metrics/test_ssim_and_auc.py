"""Structural similarity and the area under the ROC curve, against slow definitions and other libraries."""

import math

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torchmetrics.functional.image import structural_similarity_index_measure

from resight.metrics.auc import auc
from resight.metrics.ssim import ssim


def pair(*shape):
    first = torch.rand(*shape, dtype=torch.float64)
    return first, (first + 0.3 * torch.randn(*shape, dtype=torch.float64)).clamp(0, 1)


def slowly(x, y, side):
    """SSIM of two maps (H, W) by the paper's definition, one window after another."""
    weights = [math.exp(-((i - (side - 1) / 2) ** 2) / (2 * 1.5**2)) for i in range(side)]
    total = sum(weights)
    values = []
    for top in range(x.shape[0] - side + 1):
        for left in range(x.shape[1] - side + 1):
            window = [
                (weights[i] * weights[j] / total**2, float(x[top + i, left + j]), float(y[top + i, left + j]))
                for i in range(side)
                for j in range(side)
            ]
            mx, my = sum(w * a for w, a, _ in window), sum(w * b for w, _, b in window)
            vx = sum(w * (a - mx) ** 2 for w, a, _ in window)
            vy = sum(w * (b - my) ** 2 for w, _, b in window)
            both = sum(w * (a - mx) * (b - my) for w, a, b in window)
            values.append(
                (2 * mx * my + 0.01**2) * (2 * both + 0.03**2)
                / ((mx**2 + my**2 + 0.01**2) * (vx + vy + 0.03**2))
            )  # fmt: skip
    return sum(values) / len(values)


def test_ssim_is_the_papers_window_by_window():
    first, second = pair(2, 3, 14, 12)
    expected = [sum(slowly(a[c], b[c], 11) for c in range(3)) / 3 for a, b in zip(first, second, strict=True)]
    assert torch.allclose(ssim(first, second), torch.tensor(expected, dtype=torch.float64), atol=1e-12)


@pytest.mark.parametrize(("size", "side"), [(8, 7), (9, 9), (10, 9)])
def test_small_pictures_have_a_smaller_window(size, side):
    first, second = pair(1, 1, size, size)
    assert ssim(first, second).item() == pytest.approx(slowly(first[0, 0], second[0, 0], side), abs=1e-12)


def test_ssim_is_torchmetrics_where_no_pixel_is_made_up():
    first, second = pair(3, 3, 40, 33)
    _, whole = structural_similarity_index_measure(
        first, second, data_range=1.0, reduction="none", return_full_image=True
    )
    inside = whole[..., 5:-5, 5:-5].mean((1, 2, 3))
    assert torch.allclose(ssim(first, second), inside, atol=1e-10)


def test_equal_pictures_have_ssim_one_and_a_gradient():
    first = torch.rand(2, 3, 16, 16)
    assert torch.allclose(ssim(first, first), torch.ones(2))
    flat = torch.full((1, 3, 16, 16), 0.5, requires_grad=True)
    (gradient,) = torch.autograd.grad(ssim(flat, first[:1]).sum(), flat)
    assert gradient.isfinite().all() and gradient.abs().max() > 0


def test_auc_is_sklearns_with_ties():
    scores = torch.randint(0, 6, (200,)).float()
    wrong = torch.rand(200) < 0.3
    area, low, high = auc(scores[wrong], scores[~wrong])
    assert area == pytest.approx(roc_auc_score(wrong.numpy(), scores.numpy()), abs=1e-12)
    assert 0 <= low < area < high <= 1


def test_auc_interval_covers_as_often_as_it_says():
    generator = torch.Generator().manual_seed(1)
    true = 0.5 * (1 + math.erf(1 / 2))  # two normals a deviation apart: Phi(1 / sqrt 2)
    hits = []
    for _ in range(400):
        positive = 1 + torch.randn(40, generator=generator)
        negative = torch.randn(60, generator=generator)
        _, low, high = auc(positive, negative)
        hits.append(low <= true <= high)
    assert 0.92 < np.mean(hits) < 0.98


def test_auc_needs_two_of_each():
    assert auc(torch.ones(1), torch.zeros(5)) is None
    assert auc(torch.ones(2), torch.zeros(2)) == (1.0, 1.0, 1.0)
