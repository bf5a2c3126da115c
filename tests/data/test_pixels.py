"""Every mode, depth, byte order, photometric and transparency, against what numpy says a reader shows."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image, ImageCms

from resight.core.errors import PictureError
from resight.core.levels import Levels
from resight.data.decode import decode_array, decode_either
from resight.data.prepare import pixels_of
from written import png, tiff

HEIGHT, WIDTH = 6, 22
RANDOM = np.random.default_rng(5)


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order():
    RANDOM.bit_generator.state = np.random.default_rng(5).bit_generator.state


LEVELS_OF = {
    ("u", 32): (0.0, 2.0**32 - 1),
    ("i", 8): (-128.0, 127.0),
    ("i", 16): (-32768.0, 32767.0),
    ("i", 32): (-(2.0**31), 2.0**31 - 1),
    ("f", 32): (-2.0, 3.0),
    ("f", 64): (-2.0, 3.0),
}


def spread(bits, channels=1):
    """Return samples over the whole range, the ends included."""
    samples = RANDOM.integers(0, 2**bits, (HEIGHT, WIDTH, channels), dtype=np.uint64)
    samples[0, 0], samples[0, 1] = 0, 2**bits - 1
    return samples


def eight(samples, bits):
    """Return samples as 8 bits, float64."""
    return np.asarray(samples, np.float64) / (2**bits - 1) * 255


def on_white(colours, alpha):
    """Return colours (H, W, C) over white; alpha (H, W) in 0..1."""
    return colours * alpha[..., None] + 255 * (1 - alpha[..., None])


def assert_shows(content, expected, tolerance=1.0, **options):
    expected = np.broadcast_to(expected, (*expected.shape[:2], 3))
    for seen in (decode_array(content, **options), pixels_of(decode_either(content, **options))):
        assert seen.shape == expected.shape and seen.dtype == np.uint8
        assert np.abs(seen.astype(np.float64) - expected).max() <= tolerance


ORDERS = list(itertools.product("<>", (0, 1), (False, True)))


@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16])
def test_grey_tiffs_of_unsigned_integers(bits):
    for order, photometric, deflate in ORDERS:
        samples = spread(bits)
        shown = eight(samples, bits) if photometric else 255 - eight(samples, bits)
        assert_shows(tiff(samples, bits, order=order, photometric=photometric, deflate=deflate), shown)


@pytest.mark.parametrize(("kind", "bits"), LEVELS_OF)
def test_grey_tiffs_of_other_numbers_by_their_levels(kind, bits):
    low, high = LEVELS_OF[kind, bits]
    levels = Levels(integer=(low, high), real=(low, high))
    number = {"u": 1, "i": 2, "f": 3}[kind]
    unit = RANDOM.random((HEIGHT, WIDTH, 1))
    unit[0, :2, 0] = 0, 1
    samples = (low + unit * (high - low)).astype(f"{kind}{bits // 8}")
    for order, photometric, deflate in ORDERS:
        if (kind, bits, photometric) == ("i", 8, 0):
            continue  # refused, see below
        content = tiff(samples, bits, order=order, photometric=photometric, kind=number, deflate=deflate)
        assert_shows(content, 255 * (unit if photometric else 1 - unit), levels=levels)


@pytest.mark.parametrize(("bits", "extra"), list(itertools.product((8, 16), ((), (0,), (1,), (2,)))))
def test_rgb_tiffs(bits, extra):
    for order, deflate in itertools.product("<>", (False, True)):
        samples = spread(bits, 3 + len(extra))
        shown = eight(samples[..., :3], bits)
        if extra == (2,):
            shown = on_white(shown, samples[..., 3] / (2**bits - 1))
        if extra == (1,):  # associated: colours are multiplied by alpha already, so none is above it
            samples[..., 3] = np.maximum(samples.max(-1), 2 ** (bits - 1))
            shown = shown + 255 - eight(samples[..., 3:], bits)
        content = tiff(samples, bits, order=order, photometric=2, extra=extra, deflate=deflate)
        assert_shows(content, shown, 3.0 if extra == (1,) else 2.0)


@pytest.mark.parametrize("extra", [(0,), (1,), (2,)])
def test_grey_tiffs_with_a_second_channel(extra):
    for order, deflate in itertools.product("<>", (False, True)):
        samples = spread(8, 2)
        shown = samples[..., :1].astype(float)
        if extra == (2,):
            shown = on_white(shown, samples[..., 1] / 255)
        if extra == (1,):
            samples[..., 1] = np.maximum(samples.max(-1), 128)
            shown = samples[..., :1].astype(float) + 255 - samples[..., 1:]
        assert_shows(tiff(samples, 8, order=order, extra=extra, deflate=deflate), shown, 2.0)


def test_tiffs_in_planes():
    for order, deflate in itertools.product("<>", (False, True)):
        samples = spread(8, 3)
        assert_shows(tiff(samples, 8, order=order, photometric=2, planes=True, deflate=deflate), samples)
        deep = tiff(spread(16, 3), 16, order=order, photometric=2, planes=True, deflate=deflate)
        with pytest.raises(PictureError, match=r"TIFF of an unsupported kind \(.*convert it to PNG"):
            decode_array(deep)


@pytest.mark.parametrize("order", "<>")
def test_palette_tiffs(order):
    for bits in (1, 2, 4, 8):
        samples, table = spread(bits), RANDOM.integers(0, 256, (2**bits, 3))
        colours = (320, 3, (table.T * 257).flatten().tolist())
        assert_shows(tiff(samples, bits, order=order, photometric=3, more=[colours]), table[samples[..., 0]])


def test_cmyk_and_ycbcr_tiffs():
    for order, deflate in itertools.product("<>", (False, True)):
        for bits in (8, 16):
            inks = spread(bits, 4)
            shown = (255 - eight(inks[..., :3], bits)) * (255 - eight(inks[..., 3:], bits)) / 255
            assert_shows(tiff(inks, bits, order=order, photometric=5, deflate=deflate), shown, 2.0)
    samples = RANDOM.integers(100, 150, (HEIGHT, WIDTH, 3))
    y, cb, cr = np.moveaxis(samples.astype(float), 2, 0)
    shown = np.stack(
        [y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128)],
        -1,
    )
    assert_shows(tiff(samples, 8, photometric=6, more=[(530, 3, [1, 1])]), shown, 2.0)


def test_lab_tiffs():
    """CIE Lab of D50 to sRGB by its definition: Lab, XYZ, Bradford to D65, linear RGB, gamma."""
    lab = np.stack(
        [RANDOM.uniform(45, 75, (HEIGHT, WIDTH)), *RANDOM.uniform(-12, 12, (2, HEIGHT, WIDTH))], -1
    )
    stored = np.stack([np.round(lab[..., 0] * 2.55), *np.moveaxis(np.round(lab[..., 1:]), 2, 0)], -1)
    light, a, b = stored[..., 0] / 2.55, stored[..., 1], stored[..., 2]
    f = np.stack([(light + 16) / 116 + a / 500, (light + 16) / 116, (light + 16) / 116 - b / 200], -1)
    xyz = np.where(f > 6 / 29, f**3, 3 * (6 / 29) ** 2 * (f - 4 / 29)) * [0.9642, 1.0, 0.8249]
    to_srgb = np.array(
        [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540],
         [0.0719453, -0.2289914, 1.4052427]]
    )  # fmt: skip
    linear = np.clip(xyz @ to_srgb.T, 0, 1)
    shown = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert_shows(tiff(stored.astype(np.int16) & 255, 8, photometric=8), shown, 3.0)


PNG_KINDS = [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16), (3, 1), (3, 2), (3, 4), (3, 8), (4, 8),
             (4, 16), (6, 8), (6, 16)]  # fmt: skip


@pytest.mark.parametrize(("colour", "bits"), PNG_KINDS)
@pytest.mark.parametrize("interlaced", [False, True])
def test_pngs(colour, bits, interlaced):
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    for _ in range(3):
        samples = spread(bits, channels)
        if colour == 3:
            table = RANDOM.integers(0, 256, (2**bits, 3), dtype=np.uint8)
            alpha = RANDOM.integers(0, 256, 2**bits, dtype=np.uint8)
            colours, share = table[samples[..., 0]].astype(float), alpha[samples[..., 0]] / 255
            assert_shows(png(samples, bits, 3, palette=table.tobytes(), interlaced=interlaced), colours)
            content = png(
                samples, bits, 3, palette=table.tobytes(), trns=alpha.tobytes(), interlaced=interlaced
            )
            assert_shows(content, on_white(colours, share), 1.5)
            continue
        shown = eight(samples[..., : channels - (colour in (4, 6))], bits)
        if colour in (4, 6):
            shown = on_white(shown, samples[..., -1] / (2**bits - 1))
        assert_shows(
            png(samples, bits, colour, interlaced=interlaced), shown, 3.0 if colour in (4, 6) else 1.0
        )


@pytest.mark.parametrize(("colour", "bits"), [(0, 1), (0, 2), (0, 4), (0, 8), (0, 16), (2, 8), (2, 16)])
def test_pngs_with_one_transparent_value(colour, bits):
    """The PNG specification, 11.3.2.1: a pixel of exactly that value is transparent, and no other."""
    for number in range(min(2**bits, 16)):
        samples = spread(bits, 3 if colour else 1)
        if bits == 16:  # the upper bytes alone would not tell these apart
            samples[1::2] = (samples[0, 2] & 0xFF00) | RANDOM.integers(
                0, 4, samples[1::2].shape, dtype=np.uint64
            )
        value = samples[0, 2] if bits > 4 else np.array([number])
        samples[2, :5] = value
        hidden = (samples == value).all(-1)
        shown = np.where(hidden[..., None], 255, eight(samples, bits))
        for interlaced in (False, True):
            content = png(samples, bits, colour, trns=value.astype(">u2").tobytes(), interlaced=interlaced)
            assert_shows(content, shown)


def cmyk_jpeg(planes):
    stream = io.BytesIO()
    Image.merge("CMYK", [Image.fromarray(p) for p in planes]).save(stream, "JPEG", quality=100, subsampling=0)
    return stream.getvalue()


def test_cmyk_and_ycck_jpegs():
    inks = np.stack([np.full((16, 16), v, np.uint8) for v in (200, 30, 90, 40)])
    inks[:, :, 8:] = 255 - inks[:, :, 8:]
    shown = ((255.0 - inks[:3]) * (255.0 - inks[3:]) / 255).transpose(1, 2, 0)
    assert_shows(cmyk_jpeg(inks), shown, 3.0)
    # YCCK holds the inks as if they were RGB, turned into YCbCr, and black inverted as Adobe does; Pillow
    # inverts what it writes.
    r, g, b = inks[:3].astype(float)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    ycc = [y, 128 + (b - y) / 1.772, 128 + (r - y) / 1.402]
    content = cmyk_jpeg(np.stack([*(255 - np.round(p) for p in ycc), inks[3].astype(float)]).astype(np.uint8))
    place = content.index(b"Adobe") + 11
    assert content[place] == 0
    assert_shows(content[:place] + b"\2" + content[place + 1 :], shown, 4.0)


UNDO = {
    1: None, 2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE", 6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270",
}  # fmt: skip


def blocks():
    """Return a picture of 32 x 48 in six colours, which JPEG keeps."""
    colours = RANDOM.integers(0, 256, (2, 3, 3), dtype=np.uint8)
    return colours.repeat(16, 0).repeat(16, 1)


@pytest.mark.parametrize("orientation", UNDO)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_orientations(kind, orientation):
    pixels = blocks()
    image = Image.fromarray(pixels)
    stored = image.transpose(getattr(Image.Transpose, UNDO[orientation])) if UNDO[orientation] else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    stream = io.BytesIO()
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    stored.save(stream, kind, exif=exif, **options)
    assert_shows(stream.getvalue(), pixels, 3.0 if kind == "JPEG" else 0.0)


@pytest.mark.parametrize("orientation", UNDO)
@pytest.mark.parametrize("order", "<>")
def test_orientations_of_deep_tiffs(order, orientation):
    grey = spread(16)
    turns = {1: (0, 0, 0), 2: (0, 1, 0), 3: (0, 1, 1), 4: (0, 0, 1), 5: (1, 0, 0), 6: (1, 1, 0), 7: (1, 1, 1),
             8: (1, 0, 1)}  # fmt: skip
    swap, across, down = turns[orientation]  # TIFF 6.0, tag 274: where the stored rows and columns lie
    shown = grey.swapaxes(0, 1) if swap else grey
    shown = shown[:, ::-1] if across else shown
    shown = shown[::-1] if down else shown
    for deflate in (False, True):
        content = tiff(grey, 16, order=order, more=[(274, 3, [orientation])], deflate=deflate)
        assert_shows(content, eight(shown, 16))


def test_colour_profiles_of_rgb_and_grey_are_ignored():
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    for mode in ("RGB", "L"):
        stream, image = io.BytesIO(), Image.fromarray(blocks()).convert(mode)
        image.save(stream, "PNG", icc_profile=profile)
        assert_shows(stream.getvalue(), np.asarray(image.convert("RGB")), 0.0)


def test_first_frames():
    first, others = Image.fromarray(blocks()), [Image.new("RGB", (48, 32)), Image.new("RGB", (48, 32), "red")]
    for kind in ("PNG", "WEBP", "TIFF", "MPO", "GIF", "AVIF"):
        stream = io.BytesIO()
        exact = {"quality": 100, "subsampling": 0}
        options = {"WEBP": {"lossless": True}, "MPO": exact, "AVIF": {**exact, "subsampling": "4:4:4"}}.get(
            kind, {}
        )
        first.save(stream, kind, save_all=True, append_images=others, **options)
        assert Image.open(io.BytesIO(stream.getvalue())).n_frames == 3
        assert_shows(
            stream.getvalue(), np.asarray(first), {"MPO": 3.0, "AVIF": 5.0, "GIF": 1.0}.get(kind, 0.0)
        )


def test_signed_bytes_that_invert_are_refused():
    with pytest.raises(PictureError, match="unsupported kind"):
        decode_array(tiff(spread(8), 8, photometric=0, kind=2))


def pgm(samples, top, plain):
    height, width = samples.shape[:2]
    head = f"P{2 if plain else 5} {width} {height} {top}\n".encode()
    if plain:
        return head + b" ".join(b"%d" % v for v in samples.flatten())
    return head + samples.astype(">u2" if top > 255 else "u1").tobytes()


@pytest.mark.parametrize("top", [1, 100, 255, 1000, 4095, 65535])
def test_pgms_by_their_own_maximum(top):
    samples = RANDOM.integers(0, top + 1, (HEIGHT, WIDTH, 1))
    for plain in (False, True):
        assert_shows(pgm(samples, top, plain), samples / top * 255.0)


def test_pfms():
    unit = RANDOM.random((HEIGHT, WIDTH, 1))
    for order, scale in (("<", "-1.0"), (">", "1.0")):
        rows = unit[::-1].astype(f"{order}f4").tobytes()  # from the bottom up
        assert_shows(f"Pf\n{WIDTH} {HEIGHT}\n{scale}\n".encode() + rows, unit * 255)
