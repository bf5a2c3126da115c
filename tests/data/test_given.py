"""Pictures that a program hands over are read as their files are."""

import numpy as np
import pytest
from PIL import Image

from resight.core.errors import PictureError, UsageError
from resight.data.decode import decode
from resight.data.given import decode_given, listed
from support import picture

EXIF = Image.Exif()
EXIF[0x0112] = 6


def same(given, path):
    """Whether a picture has the pixels that `decode` gives of the file."""
    return np.array_equal(np.asarray(decode_given(given)), np.asarray(decode(path)))


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA", "I;16"])
def test_a_picture_of_pillows_is_as_its_file(tmp_path, mode):
    path = tmp_path / "one.png"
    image = picture(size=(9, 7))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 250)
    else:
        image = image.convert(mode)
    if "A" in mode:
        image.putalpha(Image.linear_gradient("L").resize(image.size))
    image.save(path)
    with Image.open(path) as opened:
        assert same(opened, path)
    assert same(image, path)


@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_exif_turns_it_as_it_turns_its_file(tmp_path, kind):
    path = tmp_path / f"one.{kind}"
    picture(size=(9, 7)).save(path, exif=EXIF)
    with Image.open(path) as opened:
        assert decode_given(opened).size == (7, 9)
        assert same(opened, path)
        # The caller's own is left as it is; of a TIFF Pillow turns it when it loads.
        assert opened.size == ((7, 9) if kind == "tif" else (9, 7))


def test_a_palette_with_a_transparent_colour_and_cmyk_are_as_their_files(tmp_path):
    palette, cmyk = tmp_path / "one.gif", tmp_path / "one.jpg"
    picture().convert("P").save(palette, transparency=3)
    picture().convert("CMYK").save(cmyk)
    for path in (palette, cmyk):
        with Image.open(path) as opened:
            assert same(opened, path)


def test_an_array_is_rgb_or_grey(tmp_path):
    path = tmp_path / "one.png"
    picture().save(path)
    assert same(np.asarray(picture()), path) and same(str(path), path) and same(path, path)
    grey = tmp_path / "grey.png"
    picture().convert("L").save(grey)
    assert same(np.asarray(picture().convert("L")), grey)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (np.zeros((3, 8, 8), np.float32), r"images is an array of float32 \(3, 8, 8\); give a path"),
        ([np.zeros((8, 8, 3)), "a"], r"images\[0\] is an array of float64"),
        (["a", np.zeros((3, 8, 8), np.uint8)], r"images\[1\] is an array of uint8 \(3, 8, 8\)"),
        (np.zeros((8, 8, 4), np.uint8), r"uint8: \(H, W, 3\) RGB or \(H, W\) grey"),
        (np.zeros((0, 8), np.uint8), r"images is an array of uint8 \(0, 8\)"),
        ([b"bytes"], r"images\[0\] is of type bytes"),
        ([None], r"images\[0\] is of type NoneType"),
    ],
)
def test_what_is_no_picture_is_refused_by_name(given, words):
    with pytest.raises(UsageError, match=words):
        listed(given)


def test_one_and_several():
    one = picture()
    assert listed(one) == [one] and listed((one, "a")) == [one, "a"] and listed("a.png") == ["a.png"]


def test_a_broken_one_is_named(tmp_path):
    path = tmp_path / "one.png"
    picture(size=(60, 60)).save(path)
    path.write_bytes(path.read_bytes()[:900])
    with Image.open(path) as opened, pytest.raises(PictureError, match=r"^images\[3\]: "):
        decode_given(opened, "images[3]")
