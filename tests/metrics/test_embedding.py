"""t-SNE: the same for a seed, near what is near, refused where it says nothing."""

import numpy as np
import pytest

from resight.core.errors import UsageError
from resight.metrics.embedding import perplexity_for, tsne


def clouds(each=30, classes=3):
    random = np.random.default_rng(5)
    centres = 12 * random.normal(size=(classes, 80))
    return np.concatenate([random.normal(size=(each, 80)) + c for c in centres]), np.repeat(
        range(classes), each
    )


def test_a_seed_gives_the_same_places_and_clouds_stay_apart():
    vectors, labels = clouds()
    np.random.seed(0)  # noqa: NPY002 - the global state is what must not move
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    places = tsne(vectors, 3)
    assert np.array_equal(places, tsne(vectors, 3))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert places.shape == (90, 2) and places.min() == 0 and places.max() == 1
    distances = np.linalg.norm(places[:, None] - places[None], axis=2) + 10 * np.eye(90)
    assert (labels[distances.argmin(1)] == labels).all()


def test_few_vectors_and_constant_ones():
    with pytest.raises(UsageError, match="9 pictures is meaningless: it needs 10"):
        tsne(np.zeros((9, 4)))
    assert np.isfinite(tsne(clouds(4)[0])).all()
    assert np.isfinite(tsne(clouds(4)[0][:, :1])).all()
    with pytest.raises(UsageError, match="finite"):
        tsne(np.full((20, 4), np.nan))
    assert perplexity_for(12) == pytest.approx(2.4) and perplexity_for(2000) == 30


@pytest.mark.parametrize("value", [0.0, 1.0, 3e4])
def test_vectors_that_are_all_alike_lie_in_the_middle(value):
    noise = np.random.default_rng(0).normal(0, 1e-9 * value, (40, 64))
    assert (tsne(value + noise) == 0.5).all()  # a network that has died gives these
