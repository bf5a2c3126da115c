"""Integrated gradients and SmoothGrad against finite sums, captum, and their axioms."""

import numpy as np
import pytest
import torch
from torch import nn

from resight import explain
from resight.core import seeds
from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.geometry import heatmaps

CARD = Preprocessing(size=12, resize=12, mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.5))


@pytest.fixture
def case():
    torch.manual_seed(2)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.Softplus(), nn.Flatten(), nn.Linear(144, 6), nn.Tanh(), nn.Linear(6, 4)
    )
    return model.double().eval(), torch.randn(2, 3, 12, 12, dtype=torch.float64)


def slope(model, image, target):
    image = image[None].clone().requires_grad_()
    return torch.autograd.grad(model(image)[0, target], image)[0][0]


def summed(model, image, blank, target, steps=4000):
    """The paper's equation 3, by many midpoints."""
    total = torch.zeros_like(image)
    for step in range(steps):
        total += slope(model, blank + (step + 0.5) / steps * (image - blank), target)
    return ((image - blank) * total / steps).sum(0)


def test_integrated_gradients_are_the_integral(case):
    model, images = case
    found = explain(model, images, "integrated_gradients", 2).raw
    wanted = summed(model, images[0], torch.zeros_like(images[0]), 2, 400)
    assert found.shape == (2, 12, 12)
    torch.testing.assert_close(found[0], wanted, atol=1e-5 * float(wanted.abs().max()), rtol=0)


def test_integrated_gradients_are_captums(case):
    from captum.attr import IntegratedGradients

    model, images = case
    for steps, batch in ((7, 3), (50, 0)):
        found = explain(model, images, "integrated_gradients", 1, steps=steps, batch=batch).raw
        peer = IntegratedGradients(model).attribute(images, target=1, n_steps=steps, method="gausslegendre")
        torch.testing.assert_close(found, peer.sum(1), atol=1e-9, rtol=1e-7)


def test_integrated_gradients_are_complete(case):
    """The sum of the map is the score less that of the baseline, for every target; the gap is stated."""
    model, images = case
    model.preprocessing = CARD
    black = -torch.tensor(CARD.mean) / torch.tensor(CARD.std)
    for baseline, blank in (("mean", torch.zeros(3)), ("black", black)):
        found = explain(model, images, "integrated_gradients", "all", baseline=baseline)
        with torch.no_grad():
            empty = blank.double()[None, :, None, None].expand(1, 3, 12, 12)
            wanted = model(images) - model(empty)
        torch.testing.assert_close(found.raw.sum((2, 3)), wanted, atol=1e-6, rtol=1e-6)
        assert found.facts["completeness_gap"] < 1e-6
    rough = explain(model, images, "integrated_gradients", 0, steps=1)
    with torch.no_grad():
        wanted = (model(images) - model(torch.zeros_like(images[:1])))[:, 0]
    gap = ((rough.raw.sum((1, 2)) - wanted).abs() / wanted.abs()).max()
    assert gap > 0.01 and rough.facts["completeness_gap"] == pytest.approx(float(gap))


@pytest.mark.parametrize("method", ["integrated_gradients", "smooth_grad"])
def test_the_highest_hundredth_is_cut_off_where_a_map_is_shown(case, method):
    found = explain(*case, method, 1)
    for raw, shown in zip(found.raw.numpy(), found.maps.numpy(), strict=True):
        positive = np.maximum(raw, 0)
        limit = np.sort(positive.flatten())[int(np.ceil(0.99 * 144)) - 1]
        cut = np.minimum(positive, limit)
        np.testing.assert_allclose(shown, (cut - cut.min()) / (limit - cut.min()), atol=1e-6)
        assert (raw > limit).sum() == 1
    sparse = torch.zeros(2, 12, 12)
    sparse[0, 5, 5] = 7  # nothing but one pixel: it stays
    assert torch.equal(heatmaps.cap(sparse, 0.99), sparse)


def test_a_gap_in_completeness_is_told(case, capsys):
    from resight.core.console import shown_on, stderr_console

    model, images = case
    with torch.no_grad():
        for own in model.parameters():
            own.mul_(4)
    with shown_on(stderr_console()):
        explain(model, images, "integrated_gradients", 0, steps=1)
        assert "% of the score's difference to the baseline are missing; 4 steps" in capsys.readouterr().err
        explain(model, images, "integrated_gradients", 0, steps=300)
        assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("baseline", "message"),
    [("white", "must be one of mean, black"), ("black", "does not state which value")],
)
def test_a_baseline_that_is_not_known_is_refused(case, baseline, message):
    with pytest.raises(UsageError, match=message):
        explain(*case, "integrated_gradients", baseline=baseline)


def test_smooth_grad_is_the_mean_over_noise(case):
    model, images = case
    samples, sigma = 4, 0.2
    wanted = []
    for image in images:
        spread, total = sigma * (image.max() - image.min()), torch.zeros_like(image)
        for sample in range(samples):
            key = int(seeds.bits(3, 0, sample, "smooth_grad")[0]) >> 1
            noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(key)).double()
            total += slope(model, image + spread * noise, 1)
        wanted.append((total / samples).abs().amax(0))
    found = explain(model, images, "smooth_grad", 1, samples=samples, sigma=sigma, batch=3, seed=3)
    torch.testing.assert_close(found.raw, torch.stack(wanted))


def test_smooth_grad_without_noise_is_the_gradient(case):
    found = explain(*case, "smooth_grad", 1, samples=2, sigma=0.0).raw
    torch.testing.assert_close(found, explain(*case, "gradient", 1).raw)


def test_smooth_grad_of_captum_comes_near():
    """The expectation of a product of two inputs is known: captum's noise and ours both give it."""
    from captum.attr import NoiseTunnel, Saliency

    class Product(nn.Module):
        def forward(self, x):
            return torch.stack([x[:, 0].square().sum((1, 2)), x[:, 1].sum((1, 2))], 1)

    images = torch.linspace(-1, 1, 48).view(1, 3, 4, 4)
    found = explain(Product(), images, "smooth_grad", 0, samples=4000, sigma=0.1).raw
    torch.manual_seed(0)
    peer = NoiseTunnel(Saliency(Product())).attribute(
        images, nt_type="smoothgrad", nt_samples=4000, stdevs=0.2, target=0, abs=False
    )
    assert float((found - 2 * images[:, 0].abs()).abs().max()) < 0.03
    assert float((found - peer.abs().amax(1)).abs().max()) < 0.05


def test_a_draw_is_a_function_of_seed_and_sample(case):
    model, images = case
    whole = explain(model, images, "smooth_grad", 1, samples=6, seed=1).raw
    parts = [
        explain(model, images[i : i + 1], "smooth_grad", 1, samples=6, seed=1, batch=b).raw
        for i, b in ((0, 1), (1, 4))
    ]
    torch.testing.assert_close(torch.cat(parts), whole)
    assert not torch.equal(whole, explain(model, images, "smooth_grad", 1, samples=6, seed=2).raw)
    assert np.unique([seeds.bits(0, 0, n, "smooth_grad")[0] for n in range(50)]).size == 50
