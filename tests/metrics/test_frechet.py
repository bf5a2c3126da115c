"""The Frechet distance: against its closed forms and against scipy's square root of a matrix."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from resight.metrics.frechet import frechet_distance


def whitened(count, width, seed):
    """Points whose mean is exactly 0 and whose covariance is exactly the identity."""
    points = np.random.default_rng(seed).normal(size=(count, width))
    points -= points.mean(0)
    values, basis = np.linalg.eigh(np.cov(points.T))
    return points @ (basis / np.sqrt(values)) @ basis.T


@pytest.mark.parametrize("width", [2, 7])
def test_normal_distributions_with_common_axes_have_a_closed_form(width):
    rng = np.random.default_rng(width)
    points = whitened(50, width, 0)
    scales, others = rng.uniform(0.1, 3, width), rng.uniform(0.1, 3, width)
    mean = rng.normal(size=width)
    expected = (mean**2).sum() + ((scales - others) ** 2).sum()
    found = frechet_distance(torch.tensor(points * scales), torch.tensor(points * others + mean))
    assert found == pytest.approx(expected, rel=1e-9)


def test_any_covariances_agree_with_the_square_root_of_their_product():
    rng = np.random.default_rng(3)
    first = rng.normal(size=(60, 9)) @ rng.normal(size=(9, 9))
    second = 0.3 + rng.normal(size=(40, 9)) @ rng.normal(size=(9, 9))
    root = sqrtm(np.cov(first.T) @ np.cov(second.T)).real
    expected = ((first.mean(0) - second.mean(0)) ** 2).sum()
    expected += np.trace(np.cov(first.T)) + np.trace(np.cov(second.T)) - 2 * np.trace(root)
    found = frechet_distance(torch.tensor(first), torch.tensor(second))
    assert found == pytest.approx(expected, rel=1e-9)
    assert found == pytest.approx(frechet_distance(torch.tensor(second), torch.tensor(first)), rel=1e-9)


def test_fewer_pictures_than_features_are_no_fault():
    features = torch.randn(5, 64)
    assert frechet_distance(features, features) == pytest.approx(0, abs=1e-4)
    assert frechet_distance(features, features + 2) == pytest.approx(4 * 64, rel=1e-4)


def test_one_picture_has_no_covariance():
    with pytest.raises(ValueError, match="1 features have no covariance"):
        frechet_distance(torch.randn(1, 4), torch.randn(5, 4))
