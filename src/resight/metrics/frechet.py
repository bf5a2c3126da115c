"""The Frechet distance of two sets of features, each modelled as a normal distribution.

Source: Dowson and Landau, "The Frechet distance between multivariate normal distributions", 1982; used on a
network's features as a score for generated pictures by Heusel, Ramsauer, Unterthiner, Nessler and Hochreiter,
"GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", 2017 (FID). It is the
published FID only with the Inception network of their release, 50,000 pictures and its resizing.
"""

import torch
from torch import Tensor


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """Return |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)), at least 0.

    m are the means and C the covariances (over N - 1). The trace of the square root is the sum of the roots
    of the eigenvalues of the symmetric C1^(1/2) C2 C1^(1/2), which are those of C1 C2; in float64.

    It is biased upwards for finite samples: compare only distances between sets of equal size.

    Args:
        first: features, (N, D), N of 2 or more.
        second: features, (M, D), M of 2 or more.
    """
    (mean, covariance), (other_mean, other_covariance) = _moments(first), _moments(second)
    values, basis = torch.linalg.eigh(covariance)
    root = (basis * values.clamp(min=0).sqrt()) @ basis.T
    both = torch.linalg.eigvalsh(root @ other_covariance @ root).clamp(min=0).sqrt().sum()
    apart = (mean - other_mean).square().sum()
    return max(0.0, float(apart + covariance.trace() + other_covariance.trace() - 2 * both))


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean (D,) and covariance (D, D) of features (N, D), in float64 on the CPU."""
    if len(features) < 2:
        raise ValueError(f"{len(features)} features have no covariance")
    features = features.detach().cpu().double()
    mean = features.mean(0)
    centred = features - mean
    return mean, centred.T @ centred / (len(features) - 1)
