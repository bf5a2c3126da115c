"""Descriptors, codebooks, pyramids, Fisher vectors and VLAD against their formulas and libraries."""

import cv2
import numpy as np
import pytest
import torch
from skimage.feature import fisher_vector, hog, learn_gmm

from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.models.families.classic import NETWORKS, Scaling
from resight.models.folding import Inference
from resight.models.modelfile import load_model, save_model
from resight.models.operators.descriptors import (
    DenseSift,
    dense_hog,
    dense_sift,
    descriptor_count,
    grey,
    grid,
    key_point_size,
)
from resight.models.operators.encoding import (
    CellPooling,
    FisherVector,
    IntersectionKernel,
    Projection,
    Reduction,
    SpatialPyramid,
    Vlad,
    Words,
    intersections,
    level_weights,
    signed_root,
)
from resight.models.summary import field_of, summarize
from resight.models.zoo import create_model
from resight.saliency.methods import explain


def reach(size, sigma=1.6):
    """How far from its centre, in pixels, a changed pixel still changes a descriptor."""
    plain = np.tile(np.arange(201) // 2, (201, 1)).astype(np.uint8)
    sift, point = cv2.SIFT.create(nOctaveLayers=1, sigma=sigma), [cv2.KeyPoint(100, 100, size, 0.0)]
    before, far = sift.compute(plain, point)[1], 0
    for distance in range(80):
        changed = plain.copy()
        changed[100, 100 + distance] = 255
        if not np.array_equal(sift.compute(changed, point)[1], before):
            far = distance
    return far


def test_a_patch_of_16_pixels_is_seen_by_a_key_point_of_16_over_6():
    assert key_point_size(16) == pytest.approx(16 / 6)
    # Soft bins and the blur reach beyond the patch's 8 pixels; the common size 16 sees 96 pixels.
    assert 11 <= reach(key_point_size(16)) <= 15
    assert reach(16) > 50


def test_the_grid_is_of_whole_patches_in_the_middle():
    assert grid(28, 8, 2).tolist() == [3.5 + 2 * i for i in range(11)]
    assert grid(30, 16, 8).tolist() == [10.5, 18.5]
    assert grid(10, 16, 8).tolist() == [4.5]


def test_descriptors_are_opencvs_at_their_places():
    images = torch.rand(2, 3, 40, 56)
    maps = dense_sift(images, 8, [16, 24], 1.6)
    assert maps.shape == (2, 256, 4, 6)
    picture = (grey(images) * 255).round().byte().numpy()[1]
    for scale, patch in enumerate((16, 24)):
        y, x = grid(40, 16, 8)[2], grid(56, 16, 8)[5]
        point = [cv2.KeyPoint(float(x), float(y), patch / 6, 0.0)]
        alone = cv2.SIFT.create(sigma=1.6).compute(picture, point)[1][0]
        np.testing.assert_array_equal(maps[1, 128 * scale : 128 * (scale + 1), 2, 5].numpy(), alone)


def test_grey_is_the_luma_of_opencv():
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    theirs = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    ours = (grey(torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255) * 255).round()[0]
    assert np.abs(ours.numpy() - theirs).max() <= 1
    assert torch.equal(grey(torch.full((1, 1, 2, 2), 0.5)), torch.full((1, 2, 2), 0.5))
    with pytest.raises(UsageError, match="1 or 3 channels"):
        grey(torch.zeros(1, 4, 2, 2))


def test_normalized_descriptors():
    images = torch.rand(1, 1, 24, 24)
    images[..., 12:] = 0.5
    raw = DenseSift(8, 4, 1, "l2", 1.6)
    by_hand = raw.raw(images)[0, :, 1, 0]
    unit = (by_hand / by_hand.norm()).clamp(max=0.2)
    torch.testing.assert_close(raw(images)[0, :, 1, 0], unit / unit.norm())
    root = DenseSift(8, 4, 1, "root", 1.6)(images)
    torch.testing.assert_close(root[0, :, 1, 0], (by_hand / by_hand.sum()).sqrt())
    flat = DenseSift(4, 4, 1, "root", 0.5)(torch.zeros(1, 1, 24, 24))
    assert not flat.any()


def test_hog_is_scikit_images():
    images = torch.rand(2, 3, 33, 40)
    maps = dense_hog(images, 4, 9)
    theirs = hog(grey(images)[1, :32].numpy(), 9, (8, 8), (2, 2), "L2-Hys", feature_vector=False)
    np.testing.assert_allclose(maps[1, :, 2, 3].numpy(), theirs[2, 3].ravel(), rtol=1e-5)
    assert maps.shape == (2, 36, 3, 4)


def test_hog_has_as_many_cells_as_were_asked_for():
    images = torch.rand(1, 3, 143, 150)
    maps = dense_hog(images, 16, 9)
    assert maps.shape == (1, 36, 15, 17), "8 pixels a cell; 17 more fit, were there not 15 rows left over"
    torch.testing.assert_close(maps, dense_hog(images[:, :, 7:135, 3:147], 16, 9))


@pytest.mark.parametrize("side", [64, 71])
def test_what_a_block_and_a_patch_are_made_from(side):
    summary = summarize(create_model("hog-svm", 3, cells=8), side)
    model = create_model("hog-svm", 3, cells=8)
    images = torch.rand(1, 3, side, side)
    maps = model.hog(images)
    depends = []
    for row in range(side):
        other = images.clone()
        other[:, :, row] = 1 - other[:, :, row]
        depends.append(bool((model.hog(other) != maps)[0, :, 3, 2].any()))
    top, left, bottom, right = field_of(summary, "hog").box(3, 2, side, side)
    assert np.flatnonzero(depends).tolist() == list(range(top, bottom)) and right - left == 18
    sift = field_of(summarize(create_model("bovw", 3, patch=16, step=8, scales=3), 128), "words")
    assert sift.box(7, 7, 128, 128) == (48, 48, 80, 80) and sift.box(0, 0, 128, 128) == (0, 0, 24, 24)


def test_projection_is_that_of_each_descriptor():
    layer = Projection(6, 2)
    layer.mean.copy_(torch.randn(6))
    layer.basis.copy_(torch.linalg.qr(torch.randn(6, 6))[0][:2])
    maps = torch.randn(2, 12, 3, 4)
    out = layer(maps)
    assert out.shape == (2, 4, 3, 4)
    torch.testing.assert_close(out[1, 2:, 2, 1], layer.basis @ (maps[1, 6:, 2, 1] - layer.mean))
    alone = Reduction(6, 2)
    alone.load_state_dict(layer.state_dict())
    torch.testing.assert_close(alone(maps[:, 6:, 0, 0]), out[:, 2:, 0, 0])


def test_words():
    maps = torch.randn(2, 8, 3, 2)
    layers = {kind: Words(7, 4, kind) for kind in ("hard", "soft", "triangle")}
    for layer in layers.values():
        layer.centres.copy_(layers["hard"].centres)
        layer.beta.fill_(0.7)
    each = maps[1, :, 2, 0].view(2, 4)
    squares = (each[:, None] - layers["hard"].centres).square().sum(2)
    hard = torch.zeros(7)
    for row in squares:
        hard[row.argmin()] += 1
    torch.testing.assert_close(layers["hard"](maps)[1, :, 2, 0], hard)
    soft = torch.zeros(7)
    for row in squares:
        near = row.argsort()[:5]
        shares = (-0.7 * row[near]).exp()
        soft[near] += shares / shares.sum()
    torch.testing.assert_close(layers["soft"](maps)[1, :, 2, 0], soft)
    plain = squares.sqrt()
    triangle = (plain.mean(1, keepdim=True) - plain).clamp(min=0).sum(0)
    torch.testing.assert_close(layers["triangle"](maps)[1, :, 2, 0], triangle)


def pyramid_match(first, second, levels):
    """Lazebnik et al. 2006, equations 2 and 3, by loops: new matches of finer cells count more."""
    height, width = first.shape[1:]
    at_level = []
    for level in range(levels + 1):
        n, total = 2**level, 0.0
        for row in range(n):
            for column in range(n):
                rows = slice(row * height // n, (row + 1) * height // n)
                columns = slice(column * width // n, (column + 1) * width // n)
                for word in range(first.shape[0]):
                    one, other = (float(m[word, rows, columns].sum()) for m in (first, second))
                    total += min(one, other)
        at_level.append(total)
    kernel = at_level[levels]
    for level in range(levels):
        kernel += (at_level[level] - at_level[level + 1]) / 2 ** (levels - level)
    return kernel


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_the_intersection_of_two_pyramids_is_the_pyramid_match(levels):
    generator = torch.Generator().manual_seed(levels)
    maps = torch.nn.functional.one_hot(torch.randint(5, (2, 11, 9), generator=generator), 5)
    maps = maps.permute(0, 3, 1, 2).float()
    vectors = SpatialPyramid(levels)(maps)
    assert vectors.shape == (2, 5 * sum(4**level for level in range(levels + 1)))
    expected = pyramid_match(maps[0], maps[1], levels) / 99
    assert float(intersections(vectors[:1], vectors[1:])) == pytest.approx(expected, rel=1e-5)
    assert float(intersections(vectors[:1], vectors[:1])) == pytest.approx(1, rel=1e-5)


def test_the_weights_of_the_levels():
    assert level_weights(0) == [1]
    assert level_weights(1) == [0.5, 0.5]
    assert level_weights(2) == [0.25, 0.25, 0.5]


def test_intersections():
    x, y = torch.rand(3, 20), torch.rand(4, 20)
    by_hand = torch.tensor([[float(torch.minimum(a, b).sum()) for b in y] for a in x])
    torch.testing.assert_close(intersections(x, y), by_hand)
    layer = IntersectionKernel(4, 20)
    layer.vectors.copy_(y)
    torch.testing.assert_close(layer(x), by_hand)


def test_the_fisher_vector_is_scikit_images():
    """Its block of weights is left out, and its block of deviations has the other sign."""
    rows = np.random.default_rng(0).normal(size=(400, 3)) * [1, 2, 0.5]
    mixture = learn_gmm([rows], n_modes=4, gm_args={"covariance_type": "diag", "random_state": 0})
    layer = FisherVector(4, 3, 0)
    layer.shares.copy_(torch.from_numpy(mixture.weights_))
    layer.means.copy_(torch.from_numpy(mixture.means_))
    layer.variances.copy_(torch.from_numpy(mixture.covariances_))
    some = rows[:24].astype(np.float32)
    theirs = fisher_vector(some, mixture)
    ours = layer.encode(torch.from_numpy(some)[None])[0].numpy()
    np.testing.assert_allclose(ours[:12], theirs[4:16], atol=2e-5)
    np.testing.assert_allclose(ours[12:], -theirs[16:], atol=2e-5)
    maps = torch.from_numpy(some).view(1, 4, 6, 3).permute(0, 3, 1, 2)
    improved = torch.from_numpy(np.sign(ours) * np.abs(ours) ** 0.5)
    torch.testing.assert_close(layer(maps)[0], improved / improved.norm(), atol=1e-5, rtol=1e-4)


def test_vlad():
    layer = Vlad(3, 2, 0)
    maps = torch.randn(2, 4, 3, 5)
    out = layer(maps)[1]
    by_hand = torch.zeros(3, 2)
    for scale in range(2):
        for place in maps[1].view(2, 2, 15)[scale].T:
            nearest = int((place - layer.centres).norm(dim=1).argmin())
            by_hand[nearest] += place - layer.centres[nearest]
    rooted = (by_hand.sign() * by_hand.abs().sqrt()).flatten()
    torch.testing.assert_close(out, rooted / rooted.norm())


@pytest.mark.parametrize("kind", [FisherVector, Vlad])
def test_cells_are_encoded_each_for_itself(kind):
    layer, alone = kind(3, 2, 1), kind(3, 2, 0)
    alone.load_state_dict(layer.state_dict())
    maps = torch.randn(1, 2, 5, 4)
    parts = [alone(m) for m in (maps, *(maps[:, :, r, c] for r in (slice(0, 2), slice(2, 5))
                                       for c in (slice(0, 2), slice(2, 4))))]  # fmt: skip
    torch.testing.assert_close(layer(maps), torch.cat(parts, 1) / 5**0.5)
    assert torch.isfinite(layer(torch.randn(1, 2, 1, 1))).all()  # most cells are empty


def test_the_base_of_poolings_encodes_nothing():
    with pytest.raises(NotImplementedError):
        CellPooling(2, 0)(torch.zeros(1, 2, 2, 2))


def test_the_root_has_no_gradient_where_nothing_is():
    x = torch.tensor([4.0, 0.0, -9.0], requires_grad=True)
    signed_root(x).sum().backward()
    assert signed_root(x).tolist() == [2, 0, -3]
    assert x.grad.tolist() == [0.25, 0, pytest.approx(1 / 6)]


def test_scalings():
    x = torch.tensor([[3.0, 4.0]])
    assert Scaling("none", 2)(x) is x
    torch.testing.assert_close(Scaling("l2", 2)(x), x / 5)
    torch.testing.assert_close(Scaling("hellinger", 2)(x), x.sqrt())


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bovw", {"kernel": "rbf"}),
        ("bovw", {"kernel": "intersection", "reduce": 5}),
        ("bovw", {"encoding": "sharp"}),
        ("bovw", {"levels": 9}),
        ("bovw", {"words": 1}),
        ("bovw", {"patch": 2}),
        ("bovw", {"norm": "l1"}),
        ("bovw", {"scaling": "log"}),
        ("fisher", {"pca": 300}),
        ("fisher", {"sigma": 0.1}),
        ("vlad", {"words": 0}),
        ("hog-svm", {"cells": 1}),
    ],
)
def test_options_out_of_range_are_refused(name, options):
    with pytest.raises(UsageError):
        create_model(name, 3, **options)


CASES = [
    ("bovw", {}),
    ("bovw", {"kernel": "intersection", "support": 5, "pca": 20, "scales": 2}),
    ("bovw", {"encoding": "soft", "scaling": "standard", "reduce": 7}),
    ("fisher", {"words": 8, "levels": 1}),
    ("vlad", {"words": 8, "reduce": 4}),
    ("hog-svm", {"cells": 6}),
]


@pytest.mark.parametrize(("name", "options"), CASES)
def test_a_batch_is_its_pictures_and_a_model_file_holds_all(name, options, tmp_path):
    model = create_model(name, 4, **options).eval()
    images = torch.rand(3, 3, 64, 48)
    with torch.no_grad():
        scores = model(images)
        alone = torch.cat([model(image[None]) for image in images])
        torch.testing.assert_close(scores, alone, atol=1e-5, rtol=1e-4)
        model.classes = tuple("abcd")
        model.preprocessing = Preprocessing(size=64, resize=64, mean=(0.0,) * 3, std=(1.0,) * 3)
        save_model(tmp_path / "model.safetensors", model, model.state_dict(), {})
        again, _ = load_model(tmp_path / "model.safetensors")
        assert torch.equal(again(images), scores)
        assert torch.equal(Inference(model, torch.bfloat16)(images), scores)  # its trunk stays float32


@pytest.mark.parametrize("method", ["grad_cam", "hires_cam", "occlusion"])
def test_its_maps_can_be_explained(method):
    model = create_model("bovw", 4, patch=8, step=4).eval()
    images = torch.rand(2, 3, 64, 64)
    explanation = explain(model, images, method, 1)
    assert explanation.maps.shape == (2, 64, 64) and torch.isfinite(explanation.maps).all()
    assert method == "occlusion" or explanation.layer == "words"


def test_pixels_have_no_gradient():
    images = torch.rand(1, 3, 32, 32, requires_grad=True)
    with pytest.raises(UsageError, match="no gradient"):
        create_model("bovw", 3)(images).sum().backward()


def test_the_count_of_descriptors():
    for name in NETWORKS:
        model = create_model(name, 3)
        maps = model.get_submodule("hog" if name == "hog-svm" else "sift")(torch.rand(1, 3, 70, 70))
        scales = 1 if name == "hog-svm" else len(model.sift.patches)
        assert descriptor_count(model, 70) == scales * maps.shape[2] * maps.shape[3]
    assert descriptor_count(create_model("lenet5"), 32) == 0
