"""Batches: the same for every number of workers, exact from any step on, right in order and colour."""

import numpy as np
import pytest
import torch

from resight.core.errors import PictureError
from resight.core.preprocessing import Preprocessing
from resight.data import augment
from resight.data.batches import ResidentBatches, StreamedBatches
from resight.data.open import open_dataset
from resight.data.prepare import Normalize, decode_split, fit, resize_shorter

CARD = Preprocessing(size=16, resize=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
CPU = torch.device("cpu")


def resident(operations, count=40, batch=8, seed=0, side=16):
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    card = Preprocessing(size=side, resize=side, mean=CARD.mean, std=CARD.std)
    batches = ResidentBatches(
        torch.from_numpy(pixels), torch.arange(count), Normalize(card, CPU), operations, batch, seed
    )
    return batches, pixels


def normalized(square):
    """The formula, slowly: RGB / 255, less the mean, over the deviation, channels first."""
    return torch.from_numpy(
        ((square / 255.0 - np.array(CARD.mean)) / np.array(CARD.std)).transpose(2, 0, 1)
    ).float()


def test_plain_batches_are_the_pictures_in_the_epochs_order():
    batches, pixels = resident(())
    seen = []
    for batch in batches.epoch(0):
        for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
            torch.testing.assert_close(image, normalized(pixels[label]), atol=1e-5, rtol=1e-5)
            seen.append(label)
    assert sorted(seen) == list(range(40)) and seen != sorted(seen)


def test_pad_crop_and_flip_are_what_they_say():
    batches, pixels = resident(("pad-crop", "flip"))
    flips = 0
    for epoch in range(3):
        for batch in batches.epoch(epoch):
            for image, label in zip(batch.images, batch.labels.tolist(), strict=True):
                where = np.array([label])
                mirrored = augment.is_mirrored(0, epoch, where)[0]
                top, left = (int(v[0]) for v in augment.offsets(0, epoch, where, 4))
                padded = np.pad(pixels[label], ((2, 2), (2, 2), (0, 0)))
                cut = padded[top : top + 16, left : left + 16]
                expected = normalized(cut[:, ::-1] if mirrored else cut)
                torch.testing.assert_close(image, expected, atol=1e-5, rtol=1e-5)
                flips += int(mirrored)
    assert 40 < flips < 80


def test_every_offset_is_drawn():
    top, left = augment.offsets(0, 0, np.arange(5000), 8)
    assert set(top.tolist()) == set(left.tolist()) == set(range(9))


@pytest.mark.parametrize("start", [1, 3, 4])
def test_an_epoch_goes_on_from_any_step(start):
    batches, _ = resident(("pad-crop", "flip"))
    whole, rest = list(batches.epoch(2))[start:], list(batches.epoch(2, start))
    assert len(whole) == len(rest) == 5 - start
    for a, b in zip(whole, rest, strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.labels, b.labels)


def test_fewer_pictures_than_a_batch_make_one_batch():
    batches, _ = resident((), count=5)
    assert batches.steps == 1 and len(next(iter(batches.epoch(0))).labels) == 5


def test_streamed_equals_resident_and_any_number_of_workers(folder):
    split = open_dataset(folder).train
    _, squares, _ = decode_split(split, CARD)
    normalize = Normalize(CARD, CPU)
    operations = ("pad-crop", "flip")
    reference = ResidentBatches(
        torch.from_numpy(np.stack(squares)),
        torch.from_numpy(split.labels),
        normalize,
        operations,
        7,
        3,
    )
    for workers in (0, 1, 2):
        streamed = StreamedBatches(split, None, CARD, normalize, operations, 7, 3, workers, strict=True)
        assert streamed.steps == reference.steps > 2
        for a, b in zip(reference.epoch(1), streamed.epoch(1), strict=True):
            assert torch.equal(a.labels, b.labels)
            torch.testing.assert_close(a.images, b.images)


@pytest.mark.parametrize("crop", ["resized-crop", "scale-jitter"])
def test_photo_crops_do_not_depend_on_workers_or_start(folder, crop):
    split = open_dataset(folder).train
    operations = (crop, "flip", "pca-colour")

    def run(workers, start=0):
        batches = StreamedBatches(
            split, None, CARD, Normalize(CARD, CPU), operations, 8, 0, workers, strict=True
        )
        return [b.images for b in batches.epoch(4, start)]

    whole = run(0)
    assert len(whole) == 3 and whole[0].shape == (8, 3, 16, 16)
    for a, b in zip(whole, run(2), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole[2:], run(1, 2), strict=True):
        assert torch.equal(a, b)


def test_a_broken_picture_is_left_out_of_its_batch_or_stops(folder):
    victim = sorted((folder / "red").iterdir())[5]
    split = open_dataset(folder).train
    victim_is_in = [i for i in range(len(split)) if split.picture_name(i) == str(victim)]
    assert victim_is_in
    victim.write_bytes(b"broken")

    def run(*, strict):
        batches = StreamedBatches(split, None, CARD, Normalize(CARD, CPU), (), 10, 0, 0, strict=strict)
        return list(batches.epoch(0))

    batches = run(strict=False)
    faults = [f for b in batches for f in b.faults]
    assert sum(len(b.labels) for b in batches) == 30 - len(faults)
    assert [f.name for f in faults] == [str(victim)]
    with pytest.raises(PictureError, match="text"):
        run(strict=True)


def test_decode_split_leaves_broken_pictures_out_by_name(folder):
    (folder / "blue" / "000.png").write_bytes(b"")
    (folder / "green" / "001.png").write_bytes(b"x")
    splits = open_dataset(folder).splits
    faults = []
    for split in splits.values():
        kept, pictures, found = decode_split(split, CARD)
        assert len(kept) == len(pictures) == len(split) - len(found)
        faults += [f.name for f in found]
    assert sorted(faults) == [str(folder / "blue" / "000.png"), str(folder / "green" / "001.png")]


def test_the_resize_is_torchvisions():
    from PIL import Image
    from torchvision.transforms import functional

    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 101, 3), dtype=np.uint8))
    assert np.array_equal(np.asarray(resize_shorter(image, 33)), np.asarray(functional.resize(image, 33)))
    card = Preprocessing(size=28, resize=33)
    expected = functional.center_crop(functional.resize(image, 33), [28])
    assert np.array_equal(fit(image, card), np.asarray(expected))


def test_pca_colour_is_one_shift_a_picture_of_the_published_size():
    images = torch.zeros(4000, 3, 2, 2)
    augment.pca_colour(images, 0, 0, np.arange(4000), (1.0, 1.0, 1.0))
    assert (images == images[:, :, :1, :1]).all()
    covariance = np.cov(images[:, :, 0, 0].numpy().T)
    expected = augment.PCA_VECTORS @ np.diag((0.1 * augment.PCA_VALUES) ** 2) @ augment.PCA_VECTORS.T
    assert np.allclose(covariance, expected, rtol=0.15, atol=2e-6)


def test_scale_jitter_covers_the_papers_range():
    sides = []
    for sample in range(400):
        left, top, right, bottom = augment.scale_jitter_box(0, 0, sample, 500, 375, 224)
        assert left >= 0 and right <= 500 + 1e-9 and top >= 0 and bottom <= 375 + 1e-9
        assert abs((right - left) - (bottom - top)) < 1e-9
        sides.append(224 * 375 / (right - left))
    assert 256 <= min(sides) < 262 and 474 < max(sides) <= 480


def test_resized_crops_stay_inside_and_cover_a_quarter_to_all():
    shares = []
    for sample in range(400):
        left, top, right, bottom = augment.resized_crop_box(0, 0, sample, 160, 120)
        assert 0 <= left < right <= 160 + 1e-9 and 0 <= top < bottom <= 120 + 1e-9
        assert 0.74 < (right - left) / (bottom - top) < 1.34
        shares.append((right - left) * (bottom - top) / (160 * 120))
    assert min(shares) >= 0.2499 and max(shares) > 0.9


def test_the_per_pixel_mean_is_subtracted_where_it_belongs():
    mean = np.random.default_rng(0).random((3, 4, 4)).astype(np.float32)
    card = Preprocessing(size=4, resize=4, std=(1.0, 1.0, 1.0), pixel_mean=tuple(mean.flatten().tolist()))
    pixels = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8)
    expected = pixels.permute(0, 3, 1, 2) / 255.0 - torch.from_numpy(mean)
    torch.testing.assert_close(Normalize(card, CPU)(pixels), expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("size", [(3000, 1), (1, 3000), (5, 4000)])
def test_a_thin_strip_does_not_fill_the_memory(size):
    from PIL import Image

    image = Image.new("RGB", size, (10, 20, 30))
    assert max(resize_shorter(image, 32).size) <= 16 * 32
    assert fit(image, CARD).shape == (16, 16, 3)
