"""A two-dimensional embedding of feature vectors: t-SNE.

It is in this package because few modules may import scikit-learn, and an embedding maps numbers to numbers.
"""

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import UsageError

FEWEST = 10
"""The smallest number of vectors for an embedding."""
DIMENSIONS = 50
"""Longer vectors are reduced to this many principal components, as in van der Maaten and Hinton."""
PERPLEXITY, STEPS = 30.0, 1000


def perplexity_for(count: int) -> float:
    """Return the perplexity: the usual 30, or a fifth of the number of vectors if there are few."""
    return min(PERPLEXITY, max(2.0, count / 5))


def tsne(vectors: NDArray[np.floating], seed: int = 0, steps: int = STEPS) -> NDArray[np.float64]:
    """Return a point in the plane for each vector, close vectors close together, (N, 2), axes in [0, 1].

    Vectors that are all equal, as of a dead network, are put in the middle.

    Source: van der Maaten and Hinton, "Visualizing data using t-SNE", 2008; Barnes-Hut as in scikit-learn,
    initialized with the principal components, so that the seed matters little.

    Args:
        vectors: (N, D), finite.
        seed: of the random draws; the same seed gives the same points.
        steps: of the descent; half as many are enough for a few hundred vectors.

    Raises:
        UsageError: if there are fewer than `FEWEST` vectors, or one is not finite.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    vectors = np.asarray(vectors, dtype=np.float64)
    count, length = vectors.shape
    if count < FEWEST:
        raise UsageError(f"t-SNE of {count} pictures is meaningless: it needs {FEWEST} or more")
    if not np.isfinite(vectors).all():
        raise UsageError("t-SNE needs finite vectors, but the network gives NaN or infinity")
    if length < 2:
        vectors = np.pad(vectors, ((0, 0), (0, 2 - length)))  # it begins with two principal components
    if np.ptp(vectors, axis=0).max(initial=0) <= 1e-6 * np.abs(vectors).max(initial=0):
        return np.full((count, 2), 0.5)  # scikit-learn's tree cannot be built over one point
    most = min(DIMENSIONS, count - 1)
    if length > most:
        vectors = PCA(most, svd_solver="full").fit_transform(vectors)
    scale = vectors.std()
    model = TSNE(2, perplexity=perplexity_for(count), init="pca", random_state=seed, max_iter=steps)
    places = model.fit_transform((vectors / scale).astype(np.float32))
    low, high = places.min(0), places.max(0)
    return ((places - low) / np.maximum(high - low, 1e-12)).astype(np.float64)
