"""One scale for all pictures of a set: settled once, kept with the network, never a picture's own range."""

import io

import numpy as np
import pytest
from PIL import Image

from resight.core.errors import PictureError
from resight.core.levels import BY_TYPE, Levels
from resight.core.preprocessing import Preprocessing
from resight.data.dataset import Dataset, FilePictures, Split
from resight.data.decode import decode_array
from resight.data.levels import settled
from resight.data.open import open_dataset
from written import png, tiff

RAMP = np.linspace(0, 1, 64).reshape(8, 8, 1)


def written(folder, contents, suffix="tif"):
    paths = []
    folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(contents):
        paths.append(folder / f"{number:02d}.{suffix}")
        paths[-1].write_bytes(content)
    return Dataset(
        "set",
        ("a",),
        {
            name: Split(name, FilePictures(paths), np.array(rows), np.zeros(len(rows), np.int64), ("a",))
            for name, rows in {"train": range(len(paths) - 1), "test": [len(paths) - 1]}.items()
        },
    )


def real(values):
    return tiff(np.asarray(values, np.float32), 32, kind=3)


def word(values):
    return tiff(np.asarray(values), 16)


def greys(dataset, split="train"):
    part = dataset.splits[split]
    return [np.asarray(part.decode(i))[..., 0].astype(float) for i in range(len(part))]


def spoiled(values, one):
    values = np.array(values)
    values[3, 3, 0] = one
    return values


def test_the_same_value_is_the_same_grey_in_every_picture(tmp_path):
    half = np.full((8, 8, 1), 0.5)
    dataset = settled(written(tmp_path, [real(half), real(spoiled(half, 1.0)), real(RAMP), real(half)]))
    assert dataset.train.levels == Levels(real=(0.0, 1.0)) and dataset.notes == ()
    first, second, ramp = greys(dataset)
    assert (first == 128).all() and second[0, 0] == 128 and second[3, 3] == 255
    assert np.abs(ramp - 255 * RAMP[..., 0]).max() <= 0.5
    assert (greys(dataset, "test")[0] == 128).all()


CASES = {
    # what the training pictures hold: the levels
    "floats of 0 to 1": (real, [RAMP, RAMP / 2], (0.0, 1.0)),
    "one float of 1.01 among them": (real, [RAMP, spoiled(RAMP, 1.01)], (0.0, float(np.float32(1.01)))),
    "floats of 0 to 255": (real, [RAMP * 255, RAMP * 200], (0.0, 255.0)),
    "one float of 256 among them": (real, [RAMP * 255, spoiled(RAMP * 200, 256)], (0.0, 256.0)),
    "floats of 0 to 200": (real, [RAMP * 200, RAMP * 20], (0.0, 255.0)),
    "floats of 0 to 12": (real, [RAMP * 12, RAMP * 3], (0.0, 12.0)),
    "floats below zero": (real, [RAMP * 2 - 1, RAMP], (-1.0, 1.0)),
    "all floats the same": (real, [RAMP * 0 + 7, RAMP * 0 + 7], (0.0, 7.0)),
    "all floats zero": (real, [RAMP * 0, RAMP * 0], (0.0, 1.0)),
    "16 bits": (word, [np.round(RAMP * 65535), np.round(RAMP * 4000)], None),
    "just over a sixteenth of 16 bits": (word, [np.round(RAMP * 4096), np.round(RAMP * 100)], None),
    "12 bits in 16": (word, [np.round(RAMP * 4095), np.round(RAMP * 300)], (0.0, 4095.0)),
    "10 bits in 16": (word, [np.round(RAMP * 900), np.round(RAMP * 300)], (0.0, 1023.0)),
    "8 bits in 16": (word, [np.round(RAMP * 255), np.round(RAMP * 30)], (0.0, 255.0)),
    "black of 16 bits": (word, [np.zeros((8, 8, 1)), np.zeros((8, 8, 1))], None),
    "32-bit integers of 14 bits": (None, [np.round(RAMP * 16383), np.round(RAMP * 30)], (0.0, 16383.0)),
    "32-bit integers of 20 bits": (
        None,
        [np.round(RAMP * 2**20) + 5, np.round(RAMP * 3) + 5],
        (5.0, 2.0**20 + 5),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_levels_are_settled_from_type_and_range(case, tmp_path):
    write, pictures, pair = CASES[case]
    write = write or (lambda values: tiff(np.asarray(values, np.int32), 32, kind=2))
    kind = {real: "real", word: "word"}.get(write, "integer")
    dataset = settled(written(tmp_path, [write(p) for p in pictures] * 20 + [write(pictures[0])]))
    assert dataset.train.levels == Levels(**{kind: pair})
    assert dataset.splits["test"].levels == dataset.train.levels
    low, high = pair or (0, 65535)
    for seen, values in zip(greys(dataset)[:2], pictures, strict=True):
        expected = np.clip((np.float32(values[..., 0]) - low) / (high - low), 0, 1) * 255
        assert np.abs(seen - expected).max() <= 1


def test_what_was_settled_is_said(tmp_path):
    twelve = [word(np.round(RAMP * 4000))] * 3
    assert settled(written(tmp_path / "a", twelve)).notes == (
        "16-bit pictures have values from 0 to 4,000: 0 is black and 4,095 is white",
    )
    outlier = [real(RAMP), real(RAMP), real(RAMP), real(spoiled(RAMP, 90)), real(RAMP)]
    (note,) = settled(written(tmp_path / "b", outlier)).notes
    assert note.startswith(
        "floating-point pictures have values from 0 to 90: 0 is black and 255 is white; half of them use"
    )
    (note,) = settled(written(tmp_path / "c", [real(RAMP * 0.01)] * 3)).notes
    assert "less than 1/16" in note


def test_the_test_pictures_have_no_say(tmp_path):
    dataset = settled(written(tmp_path, [real(RAMP), real(RAMP), real(RAMP * 2)]))
    assert dataset.train.levels == Levels(real=(0.0, 1.0))
    assert (greys(dataset, "test")[0] == np.clip(np.round(RAMP[..., 0] * 2 * 255), 0, 255)).mean() > 0.9


def test_a_set_of_8_bits_is_left_as_it_is(tmp_path):
    eight = [png(np.round(RAMP * 255).astype(int), 8, 0)] * 4
    dataset = written(tmp_path, eight, "png")
    assert settled(dataset) is dataset
    assert (greys(dataset)[0] == np.round(RAMP[..., 0] * 255)).all()


def test_colours_of_12_bits_in_16_fill_the_scale(tmp_path):
    samples = np.concatenate(
        [np.round(RAMP * 4095), np.round(RAMP[::-1] * 4095), RAMP * 0 + 1000], -1
    ).astype(int)
    for order in "<>":
        for deflate in (False, True):
            contents = [tiff(samples, 16, order=order, photometric=2, deflate=deflate)] * 3
            dataset = settled(written(tmp_path, contents))
            assert dataset.train.levels == Levels(word=(0.0, 4095.0))
            seen = np.asarray(dataset.train.decode(0)).astype(float)
            assert np.abs(seen - samples / 4095 * 255).max() <= 0.5
    alpha = np.concatenate([samples, RAMP * 65535], -1).astype(int)
    seen = decode_array(png(alpha, 16, 6), levels=dataset.train.levels)
    assert np.abs(seen - (samples / 4095 * RAMP + 1 - RAMP) * 255).max() <= 2
    eight = png(samples // 16, 8, 2)
    assert np.array_equal(decode_array(eight, levels=dataset.train.levels), samples // 16)


def test_a_picture_of_another_scale_is_refused():
    for levels, values in (
        (Levels(real=(0.0, 1.0)), RAMP * 255),
        (Levels(real=(0.0, 255.0)), RAMP),
        (Levels(real=(-1.0, 1.0)), RAMP * 100 - 50),
    ):
        with pytest.raises(
            PictureError, match=r"is black and .* is white in the other pictures; rescale it to these"
        ):
            decode_array(real(values), levels=levels)
    with pytest.raises(PictureError, match="has values from 0 to 65535, but 0 is black and 4095 is white"):
        decode_array(word(np.round(RAMP * 65535)), levels=Levels(word=(0.0, 4095.0)))
    seen = decode_array(real(RAMP * 1.5), levels=Levels(real=(0.0, 1.0)))[..., :1]  # beyond white is white
    assert np.abs(seen - np.clip(RAMP * 1.5, 0, 1) * 255).max() <= 0.5


def test_without_a_set_the_type_decides():
    assert np.abs(decode_array(real(RAMP))[..., :1] - RAMP * 255).max() <= 0.5
    assert np.abs(decode_array(real(RAMP / 2))[..., :1] - RAMP / 2 * 255).max() <= 0.5
    assert np.abs(decode_array(word(np.round(RAMP * 4095)))[..., :1] - RAMP * 4095 / 257).max() <= 0.51
    for content in (real(spoiled(RAMP, 1.01)), real(spoiled(RAMP, -0.01)), tiff(np.int32(RAMP), 32, kind=2)):
        with pytest.raises(PictureError, match="its black and white levels are unknown"):
            decode_array(content)


def test_levels_travel_with_the_preprocessing():
    card = Preprocessing(size=8, resize=8, levels=Levels(word=(0.0, 4095.0), real=(-1.5, 2.0)))
    assert Preprocessing.from_dict(card.to_dict()) == card and hash(card)
    old = {key: value for key, value in card.to_dict().items() if key != "levels"}
    assert Preprocessing.from_dict(old).levels == BY_TYPE
    for pair in ([1, 0], [0, float("nan")], [0, float("inf")], [-1.7e308, 1.7e308], [1], "ab", 3, [None, 1]):
        with pytest.raises((ValueError, TypeError)):
            Preprocessing.from_dict({**old, "levels": {"real": pair}})


def test_pictures_that_cannot_be_read_have_no_say(tmp_path):
    nan = real(spoiled(RAMP, np.nan))
    dataset = settled(written(tmp_path, [real(RAMP * 255), b"", nan, b"II*\0", real(RAMP * 100), real(RAMP)]))
    assert dataset.train.levels == Levels(real=(0.0, 255.0))


def test_a_folder_with_few_deep_pictures_is_opened(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        for number in range(6):
            values = np.random.default_rng([ord(name), number]).random((8, 8, 1)) * 255
            (tmp_path / name / f"{number}.tif").write_bytes(real(values))
    dataset = settled(open_dataset(tmp_path))
    assert {split.levels for split in dataset.splits.values()} == {Levels(real=(0.0, 255.0))}
    stream = io.BytesIO()
    Image.fromarray(np.asarray(dataset.train.decode(0))).save(stream, "PNG")
    assert np.asarray(dataset.train.decode(0)).max() > 200
