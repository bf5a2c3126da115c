"""Nothing that the product saves of a picture tells where, when, by whom or with what it was taken."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from as_json import explain_paths, locate, pack
from resight.data.decode import SEEN, WHOLE, decode
from resight.data.given import decode_given
from serving import BLUE, RED, encoded, save_finder, spotted

SECRET = b"SecretPlace"


def told(form, size=(120, 90), colour=RED):
    """A picture whose EXIF (with GPS), comment, XMP and profile all say where it was taken."""
    exif = Image.Exif()
    exif[0x010F] = SECRET.decode()
    exif[0x0112] = 3
    exif.get_ifd(0x8825)[29] = SECRET.decode()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes() + SECRET
    text = PngInfo()
    text.add_text("Comment", SECRET.decode())
    text.add_itxt("XML:com.adobe.xmp", SECRET.decode())
    options = {
        "JPEG": {"quality": 95, "comment": SECRET, "xmp": SECRET},
        "PNG": {"pnginfo": text},
        "WEBP": {"xmp": SECRET, "lossless": True},
        "TIFF": {},
    }[form]
    return encoded(spotted(colour, size=size), form, exif=exif, icc_profile=profile, **options)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("at_least", [None, 8])
def test_a_decoded_picture_is_pixels_alone(form, at_least):
    content = told(form)
    assert SECRET in content
    image = Image.open(io.BytesIO(content))
    for picture in (decode(content, at_least=at_least), decode_given(image)):
        assert not set(picture.info) - {WHOLE, SEEN}, picture.info
        for kind in ("JPEG", "PNG", "WEBP", "TIFF"):
            for shown in (picture, picture.resize((20, 20)), picture.convert("P")):
                if (kind, shown.mode) != ("JPEG", "P"):
                    assert SECRET not in encoded(shown, kind), kind
    assert image.info  # what was handed over is not changed


def test_nothing_that_is_written_tells_it(tmp_path):
    finder = save_finder(tmp_path / "finder.safetensors")
    for number in range(24):
        folder = tmp_path / "photos" / ("red", "blue")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        content = told("JPEG", (120 + number, 90), (RED, BLUE)[number % 2])
        (folder / f"{number}.jpg").write_bytes(content)
    photo = tmp_path / "photos" / "red" / "0.jpg"
    explain_paths(str(finder), [str(photo)], ["cam"], out="out/explained")
    locate(str(finder), [str(photo)], ["cam"], draw="out/drawn", form="coco", out="out/located.json")
    pack("photos", 2, 16, "out/packed")
    written = [path for path in Path("out").rglob("*") if path.is_file()]
    assert {path.suffix for path in written} >= {".png", ".npy", ".json", ".tar"}
    assert [path for path in written if SECRET in path.read_bytes()] == []
    members = 0
    for shard in Path("out/packed").glob("*.tar"):
        with tarfile.open(shard) as archive:
            for member in archive.getmembers():
                if member.name.endswith(".jpg"):
                    image = Image.open(io.BytesIO(archive.extractfile(member).read()))
                    members += np.asarray(image).shape[0] == 16
                    assert not image.getexif()
    assert members == 24
