"""Batches: the same for every number of workers, exact from any step on, right in order and colour."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from resight.core.errors import PictureError
from resight.core.preprocessing import Preprocessing
from resight.data.augment import crops
from resight.data.augment.draws import Draws
from resight.data.augment.operations import parse
from resight.data.augment.pipeline import Pipeline
from resight.data.augment.warp import move_points
from resight.data.batches import ResidentBatches, StreamedBatches
from resight.data.dataset import ArrayPictures, Split
from resight.data.marks import ClassMarks
from resight.data.open import open_dataset
from resight.data.order import Order
from resight.data.prepare import Normalize, decode_split, fit, resize_shorter
from resight.data.stream import Readers

CARD = Preprocessing(size=16, resize=16, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
CPU = torch.device("cpu")


def marks_of(labels):
    return ClassMarks.of(torch.from_numpy(labels))


def resident(operations, count=40, batch=8, seed=0, side=16):
    pixels = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)
    card = Preprocessing(size=side, resize=side, mean=CARD.mean, std=CARD.std)
    batches = ResidentBatches(
        torch.from_numpy(pixels), ClassMarks.of(torch.arange(count)), Normalize(card, CPU),
        Pipeline(parse(operations), count), Order(count, batch, seed),
    )  # fmt: skip
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
        for image, label in zip(batch.images, batch.marks.labels.tolist(), strict=True):
            torch.testing.assert_close(image, normalized(pixels[label]), atol=1e-5, rtol=1e-5)
            seen.append(label)
    assert sorted(seen) == list(range(40)) and seen != sorted(seen)


def test_pad_crop_and_flip_are_what_they_say():
    batches, pixels = resident(("pad-crop", "flip"))
    flips = 0
    for epoch in range(3):
        for batch in batches.epoch(epoch):
            for image, label in zip(batch.images, batch.marks.labels.tolist(), strict=True):
                draws = Draws(0, epoch, np.array([label]))
                mirrored = batches.pipeline.is_mirrored(draws)[0]
                top, left = (int(v[0]) for v in crops.offsets(draws, 4))
                padded = np.pad(pixels[label], ((2, 2), (2, 2), (0, 0)))
                cut = padded[top : top + 16, left : left + 16]
                expected = normalized(cut[:, ::-1] if mirrored else cut)
                torch.testing.assert_close(image, expected, atol=1e-5, rtol=1e-5)
                flips += int(mirrored)
    assert 40 < flips < 80


def test_every_offset_is_drawn():
    top, left = crops.offsets(Draws(0, 0, np.arange(5000)), 8)
    assert set(top.tolist()) == set(left.tolist()) == set(range(9))


@pytest.mark.parametrize("start", [1, 3, 4])
def test_an_epoch_goes_on_from_any_step(start):
    batches, _ = resident(("pad-crop", "flip"))
    whole, rest = list(batches.epoch(2))[start:], list(batches.epoch(2, start))
    assert len(whole) == len(rest) == 5 - start
    for a, b in zip(whole, rest, strict=True):
        assert torch.equal(a.images, b.images) and torch.equal(a.marks.labels, b.marks.labels)


def test_fewer_pictures_than_a_batch_make_one_batch():
    batches, _ = resident((), count=5)
    assert batches.order.steps == 1 and len(next(iter(batches.epoch(0))).marks) == 5


EVERYTHING = (
    "pad-crop", "flip", "rotation:20", "hue@0.5", "elastic@0.5", "gaussian-noise", "coarse-salt",
    "randaugment", "cutout:4", "mixup:0.4", "cutmix@0.5",
)  # fmt: skip


def streamed(split, words, workers=0, batch=8, seed=0, cached=None, *, strict=True, **order):
    pipeline = Pipeline(parse(words), len(split.classes))
    order = Order(len(split), batch, seed, **order)
    readers = Readers(workers, processes=True)
    return StreamedBatches(split, cached, CARD, Normalize(CARD, CPU), pipeline, order, readers, strict=strict)


@pytest.mark.parametrize("words", [("pad-crop", "flip"), EVERYTHING])
def test_streamed_equals_resident_and_any_number_of_workers(folder, words):
    split = open_dataset(folder).train
    _, squares, _ = decode_split(split, CARD)
    reference = ResidentBatches(
        torch.from_numpy(np.stack(squares)), marks_of(split.labels), Normalize(CARD, CPU),
        Pipeline(parse(words), len(split.classes)), Order(len(split), 7, 3),
    )  # fmt: skip
    for workers in (0, 1, 2):
        other = streamed(split, words, workers, batch=7, seed=3)
        assert other.order.steps == reference.order.steps > 2
        for a, b in zip(reference.epoch(1), other.epoch(1), strict=True):
            assert torch.equal(a.marks.labels, b.marks.labels) and torch.equal(a.marks.shown, b.marks.shown)
            assert np.array_equal(a.samples, b.samples)
            torch.testing.assert_close(a.images, b.images)


@pytest.mark.parametrize("crop", ["resized-crop", "resized-crop:0.08", "scale-jitter", "random-crop"])
def test_photo_crops_do_not_depend_on_workers_or_start(folder, crop):
    split = open_dataset(folder).train
    words = (crop, "flip", "pca-colour", "affine", "snow", "mixup")

    def run(workers, start=0):
        return [b.images for b in streamed(split, words, workers).epoch(4, start)]

    whole = run(0)
    assert len(whole) == 3 and whole[0].shape == (8, 3, 16, 16)
    for a, b in zip(whole, run(2), strict=True):
        assert torch.equal(a, b)
    for a, b in zip(whole[2:], run(1, 2), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["resident", "streamed"])
def test_processes_together_see_what_one_sees(folder, kind):
    split = open_dataset(folder).train

    def run(**order):
        if kind == "streamed":
            return streamed(split, EVERYTHING, **order)
        _, squares, _ = decode_split(split, CARD)
        return ResidentBatches(
            torch.from_numpy(np.stack(squares)), marks_of(split.labels), Normalize(CARD, CPU),
            Pipeline(parse(EVERYTHING), len(split.classes)), Order(len(split), 8, 0, **order),
        )  # fmt: skip

    parts = [list(run(rank=rank, processes=2).epoch(2)) for rank in range(2)]
    for step, whole in enumerate(run().epoch(2)):
        assert torch.equal(torch.cat([p[step].images for p in parts]), whole.images)
        assert torch.equal(torch.cat([p[step].marks.shown for p in parts]), whole.marks.shown)


def test_old_operations_give_the_bits_that_they_always_gave():
    """Digests of the batches before there were other operations."""
    card = Preprocessing(size=16, resize=16, mean=(0.0,) * 3, std=(1 / 255,) * 3)  # leaves pixels as they are
    count = 40 * 16 * 16 * 3
    pixels = (np.arange(count, dtype=np.int64) * 2654435761 % 2**32 >> 24).astype(np.uint8)
    squares = torch.from_numpy(pixels.reshape(40, 16, 16, 3))
    known = {
        (): "f22bb17c88ffdac9",
        ("flip",): "f27c0044553aefa6",
        ("pad-crop", "flip"): "50bab12e66666f48",
        ("wide-crop",): "e6aae1c07c0e6052",
        ("shift", "flip"): "abdd4038b01976ac",
    }
    for words, expected in known.items():
        batches = ResidentBatches(
            squares, ClassMarks.of(torch.arange(40)), Normalize(card, CPU), Pipeline(parse(words)),
            Order(40, 8, 5),
        )  # fmt: skip
        digest = hashlib.sha256()
        for batch in batches.epoch(3):
            digest.update(
                batch.images.permute(0, 2, 3, 1).contiguous().round().to(torch.uint8).numpy().tobytes()
            )
        assert digest.hexdigest()[:16] == expected, words


def test_several_labels_a_picture_pass_through():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)
    labels = (np.random.default_rng(1).random((12, 3)) < 0.5).astype(np.float32)
    split = Split("train", ArrayPictures(pixels, "x"), np.arange(12), labels, ("a", "b", "c"))
    for batch in streamed(split, ("flip",), batch=4).epoch(0):
        assert torch.equal(batch.marks.shown, torch.from_numpy(labels[batch.samples]))
    mixed = 0
    for batch in streamed(split, ("mixup:1",), batch=4).epoch(0):
        total = torch.from_numpy(labels[batch.samples]).sum(0)
        torch.testing.assert_close(batch.marks.shown.sum(0), total)
        mixed += int((batch.marks.shown != batch.marks.labels).any())
    assert mixed > 0


def test_a_batch_says_how_its_pictures_were_moved():
    size, point = (90, 60), (40.0, 33.0)
    x, y = (np.arange(n) + 0.5 for n in size)
    dot = 255 * np.exp(-((x - point[0]) ** 2 + (y[:, None] - point[1]) ** 2) / (2 * 4**2))
    pixels = np.repeat(dot.round().astype(np.uint8)[None, :, :, None], 12, 0).repeat(3, 3)
    split = Split("train", ArrayPictures(pixels, "x"), np.arange(12), np.arange(12) % 3, ("a", "b", "c"))
    card = Preprocessing(size=48, resize=48, mean=(0.0,) * 3, std=(1.0,) * 3)
    for crop in ("resized-crop:0.6", "pad-crop"):
        pipeline = Pipeline(parse((crop, "flip", "rotation:10")), 3)
        batches = StreamedBatches(
            split, None, card, Normalize(card, CPU), pipeline, Order(12, 12, 0), Readers(0), strict=True
        )
        batch = next(batches.epoch(1))
        points = torch.tensor([[point]] * 12, dtype=torch.float64)
        places = move_points(points, batches.warp(1, batch), torch.tensor(batch.sizes), 48)[0][:, 0]
        checked = 0
        for image, place in zip(batch.images[:, 0].double(), places, strict=True):
            if place.min() < 10 or place.max() > 38:
                continue
            along = torch.arange(48, dtype=torch.float64) + 0.5
            found = torch.stack([(image.sum(0) * along).sum(), (image.sum(1) * along).sum()]) / image.sum()
            assert (found - place).abs().max() < 0.7
            checked += 1
        assert checked >= 5


def test_a_broken_picture_is_left_out_of_its_batch_or_stops(folder):
    split = open_dataset(folder).train
    names = sorted(split.picture_name(i) for i in range(len(split)))
    victim = Path(next(name for name in names if "red" in name))

    def run(*, strict):
        return list(streamed(split, ("mixup:1",), batch=10, strict=strict).epoch(0))

    def pictures(batches):
        return {int(s): i for b in batches for s, i in zip(b.samples, b.images, strict=True)}

    whole = pictures(run(strict=True))
    victim.write_bytes(b"broken")
    batches = run(strict=False)
    left = pictures(batches)
    # Its partner stays alone; all others are mixed as before.
    assert sum(not torch.equal(left[sample], whole[sample]) for sample in left) == 1
    faults = [f for b in batches for f in b.faults]
    assert sum(len(b.marks.labels) for b in batches) == len(whole) - len(faults)
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


RARE = np.array([0] * 17 + [1] * 16 + [2] * 1)
"""Of 34 samples the last is drawn eleven or twelve times in an epoch of `balance=sampling`."""


def rare_split():
    pixels = np.random.default_rng(0).integers(0, 256, (34, 16, 16, 3), dtype=np.uint8)
    return Split("train", ArrayPictures(pixels, "x"), np.arange(34), RARE, ("a", "b", "c")), pixels


@pytest.mark.parametrize("words", [("pad-crop",), ("rotation:20",), ("gaussian-noise",), ("randaugment",)])
def test_a_sample_that_comes_again_in_an_epoch_is_drawn_afresh(words):
    """One key for all its occurrences made eleven copies of one augmented picture."""
    split, pixels = rare_split()
    order = {"batch": 17, "seed": 5, "labels": RARE}
    reference = ResidentBatches(
        torch.from_numpy(pixels), marks_of(RARE), Normalize(CARD, CPU),
        Pipeline(parse(words), 3), Order(34, 17, 5, labels=RARE),
    )  # fmt: skip
    seen = {"resident": [], "streamed": [], "read ahead": []}
    kinds = zip(
        seen.values(), (reference, streamed(split, words, **order), streamed(split, words, 2, **order)),
        strict=True,
    )  # fmt: skip
    for found, source in kinds:
        for batch in source.epoch(2):
            assert np.array_equal(RARE[batch.samples], batch.marks.labels.numpy())
            found += [i for i, sample in zip(batch.images, batch.samples, strict=True) if sample == 33]
    assert len(seen["resident"]) in (11, 12)
    distinct = {image.numpy().tobytes() for image in seen["resident"]}
    assert len(distinct) >= 7  # there are 25 offsets, and an operation of a policy may do nothing
    for other in ("streamed", "read ahead"):
        torch.testing.assert_close(torch.stack(seen[other]), torch.stack(seen["resident"]))


def test_a_samples_first_occurrence_is_drawn_as_it_always_was():
    split, _ = rare_split()
    words = ("pad-crop", "rotation:20", "gaussian-noise")
    once = {
        int(sample): image
        for batch in streamed(split, words, batch=17, seed=5).epoch(2)
        for sample, image in zip(batch.samples, batch.images, strict=True)
    }
    first = {}
    for batch in streamed(split, words, batch=17, seed=5, labels=RARE).epoch(2):
        for sample, image in zip(batch.samples.tolist(), batch.images, strict=True):
            first.setdefault(sample, image)
    assert len(first) > 15
    assert all(torch.equal(image, once[sample]) for sample, image in first.items())


def test_mixing_and_generated_pictures_are_fresh_for_each_occurrence():
    noises = []

    def generated(labels, noise):
        noises.append(noise)
        return torch.zeros(len(labels), 16, 16, 3, dtype=torch.uint8)

    _, pixels = rare_split()
    order = Order(34, 34, 5, labels=RARE)
    gan = Pipeline(parse(("gan:x;share=1",)), 3, generated, 4)
    batches = ResidentBatches(torch.from_numpy(pixels), marks_of(RARE), Normalize(CARD, CPU), gan, order)
    next(batches.epoch(0))
    assert len(torch.unique(noises[0], dim=0)) == 34

    same = torch.from_numpy(np.repeat(pixels[:1], 34, 0))
    mixed = ResidentBatches(
        same, marks_of(RARE), Normalize(CARD, CPU), Pipeline(parse(("mixup:1",)), 3), order
    )
    batch = next(mixed.epoch(0))
    first = np.flatnonzero(batch.samples[::2] == 33) * 2
    shares = batch.marks.shown[first, 2]
    assert len(first) > 3 and len(torch.unique(shares[shares < 1])) > 2


def test_a_cut_box_is_the_part_that_it_names():
    """Of a picture whose red is its column and whose green is its row."""
    from PIL import Image

    from resight.data.prepare import cut_box

    rows, columns = np.mgrid[0:10, 0:20]
    pixels = np.stack([columns, rows, 0 * rows], 2).astype(np.uint8)
    for picture in (Image.fromarray(pixels), torch.from_numpy(pixels).permute(2, 0, 1)):
        cut = cut_box(picture, (8.0, 2.0, 12.0, 6.0), 4)
        assert np.array_equal(cut, pixels[2:6, 8:12])
