"""Mixup, CutMix and generated pictures: pairs, lambdas, targets."""

import numpy as np
import pytest
import torch

from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.augment import mixing
from resight.data.augment.draws import Draws
from resight.data.augment.operations import parse
from resight.data.augment.pipeline import Pipeline
from resight.data.batches import ResidentBatches
from resight.data.marks import ClassMarks
from resight.data.order import Order
from resight.data.prepare import Normalize

SIDE = 16
CARD = Preprocessing(size=SIDE, resize=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)
NORMALIZE = Normalize(CARD, torch.device("cpu"))


def levels(count):
    """Pictures of one brightness each: sample i has i."""
    return torch.arange(count, dtype=torch.uint8)[:, None, None, None].expand(-1, SIDE, SIDE, 3).contiguous()


def resident(words, count=40, batch=8, labels=None, classes=40, **order):
    marks = ClassMarks.of(torch.arange(count) if labels is None else labels)
    pipeline = Pipeline(parse(words), classes)
    return ResidentBatches(levels(count), marks, NORMALIZE, pipeline, Order(count, batch, 3, **order))


@pytest.mark.parametrize("word", ["mixup:0.4", "cutmix:1"])
def test_targets_are_what_is_seen(word):
    for batch in resident((word,)).epoch(1):
        assert batch.marks.shown.shape == (8, 40) and batch.marks.shown.dtype == torch.float32
        torch.testing.assert_close(batch.marks.shown.sum(1), torch.ones(8))
        mean = 255 * batch.images.mean((1, 2, 3))
        torch.testing.assert_close(batch.marks.shown @ torch.arange(40.0), mean, atol=1e-3, rtol=1e-4)
        for first in range(0, 8, 2):  # positions 2k and 2k + 1
            pair = batch.marks.labels[first : first + 2]
            others = np.setdiff1d(np.arange(40), pair.numpy())
            assert (batch.marks.shown[first : first + 2][:, others] == 0).all()
            a, b = batch.marks.shown[first : first + 2]
            assert float(a[pair[0]]) == pytest.approx(float(b[pair[1]]), abs=1e-6)


def test_cutmix_pastes_one_box_of_the_other_picture():
    boxes = 0
    for batch in resident(("cutmix",), batch=40).epoch(0):
        for image, own in zip(batch.images, batch.marks.labels, strict=True):
            foreign = (255 * image[0]).round() != own
            rows, columns = foreign.any(1), foreign.any(0)
            assert foreign.sum() == rows.sum() * columns.sum()  # a box, clipped
            boxes += bool(foreign.any())
    assert boxes > 20


@pytest.mark.parametrize("a", [0.2, 1.0, 2.0])
def test_lambda_is_of_its_beta_distribution(a):
    share = mixing.beta(Draws(0, 0, np.arange(20000)).of("mixup"), a)
    assert abs(share.mean() - 0.5) < 0.01
    assert share.var() == pytest.approx(1 / (4 * (2 * a + 1)), rel=0.03)


def test_of_two_that_mix_each_pair_has_one():
    batch = next(resident(("mixup:1", "cutmix:1"), batch=40).epoch(0))
    flat = batch.images.flatten(1)
    kinds = [len(row.unique()) for row in flat]
    assert kinds.count(1) > 4 and kinds.count(2) > 4 and max(kinds) == 2


def test_a_share_mixes_some_pairs():
    batch = next(resident(("mixup:1@0.5",), batch=40).epoch(0))
    alone = (batch.marks.shown.amax(1) == 1).sum()
    assert 8 <= alone <= 32


def test_nothing_mixed_leaves_the_labels():
    batch = next(resident(("flip",)).epoch(0))
    assert batch.marks.shown is batch.marks.labels


def test_pairs_do_not_depend_on_the_processes():
    words = ("mixup:0.5", "gaussian-noise", "elastic")
    whole = list(resident(words).epoch(2))
    parts = [list(resident(words, rank=rank, processes=2).epoch(2)) for rank in range(2)]
    for step, batch in enumerate(whole):
        images = torch.cat([part[step].images for part in parts])
        targets = torch.cat([part[step].marks.shown for part in parts])
        assert torch.equal(images, batch.images) and torch.equal(targets, batch.marks.shown)
    with pytest.raises(UsageError, match="pairs; take a multiple of 4"):
        resident(words, batch=6, processes=2)
    resident(("flip",), batch=6, processes=2)


def test_a_missing_partner_leaves_a_picture_alone():
    first, second = mixing.pairs_of(np.array([0, 1, 3, 4, 5, 6, 8]))
    assert first.tolist() == [0, 3] and second.tolist() == [1, 4]
    assert not len(mixing.pairs_of(np.array([5]))[0])


def test_several_labels_are_mixed_linearly():
    labels = torch.zeros(40, 3)
    labels[::2, 0], labels[1::3, 1], labels[:, 2] = 1, 1, 1
    for batch in resident(("mixup:1",), labels=labels, classes=3).epoch(0):
        assert (batch.marks.shown[:, 2] == 1).all() and batch.marks.labels.shape == (8, 3)
        assert ((batch.marks.shown >= 0) & (batch.marks.shown <= 1)).all()
        torch.testing.assert_close(
            batch.marks.shown[0] + batch.marks.shown[1], batch.marks.labels[0] + batch.marks.labels[1]
        )


def generated(labels, noise):
    """Draws squares of 100 + label, and the noise's sign in the first pixel."""
    pixels = (100 + labels)[:, None, None, None].expand(-1, SIDE, SIDE, 3).to(torch.uint8).clone()
    pixels[:, 0, 0, 0] = (noise.abs() * 50).sum(1).clamp(max=255).to(torch.uint8)
    return pixels


def test_generated_pictures_take_the_place_of_a_share():
    def run(batch, **order):
        pipeline = Pipeline(parse(("pad-crop", "gan:x;share=0.4")), 40, generated, noise=3)
        source = ResidentBatches(
            levels(40), ClassMarks.of(torch.arange(40)), NORMALIZE, pipeline, Order(40, batch, 3, **order)
        )
        images = {}
        for b in source.epoch(1):
            images |= {int(label): image for label, image in zip(b.marks.labels, b.images, strict=True)}
        return images

    images = run(8)
    drawn = {label for label, image in images.items() if round(255 * float(image[0, 8, 8])) == 100 + label}
    assert 8 <= len(drawn) <= 24
    assert all(round(255 * float(images[i][0, 8, 8])) == i for i in set(images) - drawn)
    assert len({round(255 * float(images[i][0, 0, 0])) for i in drawn}) > 5  # its own noise
    again = run(5)
    assert all(torch.equal(images[i], again[i]) for i in images)


def test_generated_pictures_need_a_generator_and_one_label():
    with pytest.raises(UsageError, match="needs a generator"):
        Pipeline(parse(("gan:x",)), 3)
    pipeline = Pipeline(parse(("gan:x",)), 3, generated, noise=3)
    source = ResidentBatches(levels(8), ClassMarks.of(torch.zeros(8, 3)), NORMALIZE, pipeline, Order(8, 8, 0))
    with pytest.raises(UsageError, match="this data set is multi-label"):
        next(source.epoch(0))
