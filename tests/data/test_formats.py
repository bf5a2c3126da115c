"""Which bytes are read as pictures: an allow-list by content, and every other format refused by its name."""

import io
import struct
import subprocess
import zlib

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from resight.core.errors import PictureError
from resight.data import formats
from resight.data.decode import decode, decode_array, decode_either, deep_values
from resight.data.frames import read_frame
from written import chunk, png, tiff

PIXELS = np.random.default_rng(3).integers(0, 256, (32, 64, 3), dtype=np.uint8)


def encode(kind, mode="RGB", **options):
    stream = io.BytesIO()
    Image.fromarray(PIXELS).convert(mode).save(stream, kind, **options)
    return stream.getvalue()


def refused(content, name="x.jpg"):
    """Return the one line of a refusal, the same by both doors; it never says damaged, nor to delete."""
    lines = []
    for read in (decode, decode_either):
        with pytest.raises(PictureError) as caught:
            read(content, name)
        lines.append(str(caught.value))
    assert lines[0] == lines[1] and "\n" not in lines[0]
    assert "damaged" not in lines[0] and "delete" not in lines[0] and "convert it to PNG" in lines[0]
    return lines[0]


def dicom():
    return bytes(128) + b"DICM" + bytes(300)


def fits():
    return (
        b"SIMPLE  =                    T".ljust(80)
        + b"BITPIX  =                    8".ljust(80)
        + bytes(2720)
    )


FOREIGN = {
    "EPS": lambda: encode("EPS"), "PDF": lambda: encode("PDF"), "DDS": lambda: encode("DDS"),
    "QOI": lambda: encode("QOI"), "PCX": lambda: encode("PCX"), "SGI": lambda: encode("SGI"),
    "ICNS": lambda: encode("ICNS"), "SPIDER": lambda: encode("SPIDER", "F"),
    "MSP": lambda: encode("MSP", "1"),
    "XBM": lambda: encode("XBM", "1"), "BLP": lambda: encode("BLP", "P"), "IM": lambda: encode("IM"),
    "PSD": lambda: b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 32, 64, 8, 3) + bytes(4000),
    "FITS": fits, "DICOM": dicom, "GRIB": lambda: b"GRIB\0\0\0\1" + bytes(400),
    "HDF5": lambda: b"\x89HDF\r\n\x1a\n" + bytes(400), "WMF": lambda: b"\xd7\xcd\xc6\x9a" + bytes(400),
    "HEIC": lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(400),
    "MP4": lambda: b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(400),
    "JPEG XL": lambda: b"\xff\x0a" + bytes(400), "JPEG-LS": lambda: b"\xff\xd8\xff\xf7" + bytes(400),
    "OpenEXR": lambda: b"v/1\1" + bytes(400), "camera raw": lambda: b"II*\0\x10\0\0\0CR\2\0" + bytes(400),
}  # fmt: skip


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_foreign_format_is_refused_by_its_name(kind):
    assert f"{kind} " in refused(FOREIGN[kind]()).removeprefix("x.jpg: is a")
    assert "which is not supported" in refused(FOREIGN[kind]())


def test_every_format_that_pillow_writes_is_read_or_refused_by_name():
    Image.init()
    seen = []
    for kind in sorted(Image.SAVE):
        for mode in ("RGB", "P", "F", "1"):
            try:
                content = encode(kind, mode)
            except (OSError, ValueError, KeyError, NotImplementedError, AttributeError):
                continue
            if kind in (*formats.READERS, "MPO"):
                assert decode(content).size in ((64, 32), (32, 16))
            else:
                refused(content)
            seen.append(kind)
            break
    assert len(seen) >= 20 and {"EPS", "SPIDER", "TGA", "DIB"} <= set(seen)


def test_eps_never_reaches_another_program(monkeypatch, tmp_path):
    def called(*_, **__):
        raise AssertionError("another program was started")

    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", called)
    monkeypatch.setattr(subprocess, "Popen", called)
    for content in (
        encode("EPS"),
        b"\xc5\xd0\xd3\xc6" + struct.pack("<II", 32, 900) + bytes(20) + encode("EPS"),
    ):
        refused(content)
        place = tmp_path / "x.jpg"
        place.write_bytes(content)
        assert read_frame(place, (64, 32)).size == (64, 32)
        for at_the_end in (b"BM" + content, b"\0\0\0" + content):
            with pytest.raises(PictureError):
                decode(at_the_end)


@pytest.mark.parametrize("text", [b"BMW and others\n", b"P3: a report\n", b"P1\n", b"GIF is a format\n"])
def test_a_text_that_begins_like_a_picture_is_refused(text):
    with pytest.raises(PictureError):
        decode(text * 20)


def bitfields():
    masks = struct.pack("<III", 0x3FF00000, 0x000FFC00, 0x000003FF)
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 32, 3, 256, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 14 + 40 + 12 + 256, 0, 0, 66) + header + masks + bytes(256)


KINDS_NOT_READ = {
    "BMP of ten bits a colour": bitfields,
    "TIFF of 24 bits": lambda: tiff(np.zeros((4, 4, 1), int), 24),
    "float RGB TIFF": lambda: tiff(np.zeros((4, 4, 3), np.float32), 32, photometric=2, kind=3),
    "DNG": lambda: tiff(np.zeros((4, 4, 3), int), 8, photometric=2, more=[(50706, 3, [1])]),
    "JPEG of 12 bits": lambda: encode("JPEG").replace(b"\xff\xc0\0\x11\x08", b"\xff\xc1\0\x11\x0c"),
}


@pytest.mark.parametrize("kind", KINDS_NOT_READ)
def test_a_kind_that_is_not_read_is_no_damage(kind):
    assert "of an unsupported kind" in refused(KINDS_NOT_READ[kind]())


@pytest.mark.parametrize("text", [b"tEXt", b"zTXt", b"iTXt"])
def test_a_png_with_a_long_text_is_read(text, tmp_path):
    long = bytes(3_000_000)
    body = {
        b"tEXt": b"Comment\0" + b"a" * 3_000_000,
        b"zTXt": b"Comment\0\0" + zlib.compress(long),
        b"iTXt": b"Comment\0\1\0\0\0" + zlib.compress(long),
    }[text]
    content = png(PIXELS, 8, 2, before=chunk(text, body) * 2)
    assert np.array_equal(decode_array(content), PIXELS)
    (tmp_path / "x.png").write_bytes(content)
    assert read_frame(tmp_path / "x.png", None).size == (64, 32)


def test_a_long_text_after_the_pixels_is_no_fault():
    content = png(PIXELS, 8, 2)
    late = chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(3_000_000)))
    assert np.array_equal(decode_array(content[:-12] + late + content[-12:]), PIXELS)
    deep = png(np.full((4, 4, 1), 4000), 16, 0)
    assert deep_values(deep[:-12] + late + deep[-12:], "x").values.max() == 4000


def test_many_long_texts_are_read():
    content = png(PIXELS, 8, 2, before=chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(1_000_000))) * 80)
    assert np.array_equal(decode_array(content), PIXELS)


def test_a_png_with_a_large_text_and_damage_is_still_damaged():
    content = bytearray(png(PIXELS, 8, 2, before=chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(3_000_000)))))
    content[-20] ^= 0xFF
    with pytest.raises(PictureError, match=r"damaged|truncated"):
        decode(bytes(content))
