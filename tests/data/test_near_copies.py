"""Near copies: found by content after saving again, not invented where pictures are merely of one kind."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter

from resight.data import near_copies
from resight.data.near_copies import Print, near_pairs, print_of


def scene(seed, size=(200, 150)):
    """A picture with structure at all sizes, as photos have it."""
    noise = np.random.default_rng(seed)
    image = Image.new("RGB", size)
    for side in (3, 7, 20, 60):
        layer = Image.fromarray(noise.integers(0, 256, (side, side, 3), dtype=np.uint8))
        image = Image.blend(image, layer.resize(size, Image.Resampling.BICUBIC), 0.5)
    return image.filter(ImageFilter.SHARPEN)


def saved(image, quality=60, factor=1.0, kind="JPEG"):
    image = image.resize((round(image.width * factor), round(image.height * factor)))
    stream = io.BytesIO()
    image.save(stream, kind, quality=quality)
    return Image.open(io.BytesIO(stream.getvalue()))


def by_hand(image):
    """The hash by its definition, coefficient by coefficient."""
    grey = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BILINEAR), float)
    place = (2 * np.arange(32) + 1) * np.pi / 64
    waves = [
        (grey * np.cos(v * place)[:, None] * np.cos(u * place)[None]).sum()
        for v in range(8)
        for u in range(8)
    ][1:]
    return [wave > np.median(waves) for wave in waves]


def test_the_hash_is_which_low_frequencies_are_above_their_median():
    for seed in range(5):
        image = scene(seed)
        assert [bit == "1" for bit in f"{print_of(image).bits:063b}"] == by_hand(image)


@pytest.mark.parametrize(
    "change",
    [
        {"quality": 60}, {"quality": 90, "factor": 0.8}, {"quality": 60, "factor": 0.5}, {"factor": 1.5},
        {"kind": "WEBP"}, {"kind": "PNG"},
    ],
)  # fmt: skip
def test_a_picture_saved_again_is_found_and_no_other(change):
    images = [scene(seed) for seed in range(40)]
    prints = [print_of(image) for image in (*images, *(saved(image, **change) for image in images))]
    assert {(a, b) for a, b, _ in near_pairs(prints)} == {(i, i + 40) for i in range(40)}


def brute(prints):
    """Every pair compared, nothing looked up."""
    found = []
    for i, a in enumerate(prints):
        for j in range(i + 1, len(prints)):
            b = prints[j]
            distance = (a.bits ^ b.bits).bit_count()
            if distance <= 6 and np.corrcoef(a.grey, b.grey)[0, 1] >= near_copies.ALIKE:
                found.append((i, j, distance))
    return found


@pytest.mark.parametrize("chunk", [1, 37, 1 << 20])
def test_looking_up_by_bands_misses_no_pair(monkeypatch, chunk):
    """Hashes that differ in 0 to 9 bits anywhere: each pair up to 6 once, with its distance."""
    monkeypatch.setattr(near_copies, "CHUNK", chunk)
    dice, grey = np.random.default_rng(0), np.arange(1024, dtype=np.uint8)
    prints = []
    for number in range(12):
        base = int(dice.integers(2**63))
        for flips in range(10):
            bits = base
            for bit in dice.choice(63, flips, replace=False):
                bits ^= 1 << int(bit)
            prints.append(Print(bits, grey if number else dice.integers(0, 256, 1024).astype(np.uint8)))
    expected = brute(prints)
    found = near_pairs(prints)
    assert sorted(found) == expected and len(expected) > 140
    assert [d for _, _, d in found] == sorted(d for _, _, d in found)


def test_flat_pictures_are_not_compared():
    assert print_of(Image.new("RGB", (90, 90), "white")) is None
    faint = Image.fromarray((120 + np.random.default_rng(0).integers(0, 12, (90, 90))).astype(np.uint8))
    assert print_of(faint) is None
    assert near_pairs([]) == near_pairs([print_of(scene(0))]) == []


def test_digits_that_look_alike_are_not_called_copies():
    """Handwriting of one kind: among 1.6 million pairs of real digits one is nearly the same."""
    from sklearn.datasets import load_digits

    images = [Image.fromarray((digit * 255 / 16).astype(np.uint8)) for digit in load_digits().images]
    assert len(near_pairs([print_of(image) for image in images])) <= 1


def test_saved_photos_are_found_and_others_are_not(unzipped):
    files = sorted(unzipped("hymenoptera").rglob("*.jpg"))[::4]
    images = [Image.open(file).convert("RGB") for file in files]
    again = [saved(image, 60) for image in images] + [saved(image, 90, 0.8) for image in images]
    pairs = near_pairs([print_of(image) for image in (*images, *again)])
    n = len(images)
    assert n == 100 and {(a % n, b % n) for a, b, _ in pairs} == {(i, i) for i in range(n)}
    assert len(pairs) == 3 * n
