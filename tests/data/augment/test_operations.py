"""Words of a recipe, and every operation: it changes pictures, keeps their range, sees one sample alone."""

import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from resight.core import seeds
from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.augment import crops
from resight.data.augment.draws import Draws
from resight.data.augment.operations import CROPS, OPERATIONS, Step, parse
from resight.data.augment.pipeline import Pipeline
from resight.data.marks import ClassMarks
from resight.data.prepare import Normalize

PLAIN = Preprocessing(size=32, resize=32, mean=(0.0,) * 3, std=(1.0,) * 3)
NORMALIZE = Normalize(PLAIN, torch.device("cpu"))
LATE = [n for n, o in OPERATIONS.items() if o.kind in ("move", "pixel", "policy", "hide")]
LECTURE = (
    "flip", "random-crop", "pad-crop", "crop-and-pad", "resized-crop", "scale-jitter", "stretch", "rotation",
    "affine", "perspective", "translate-x", "translate-y", "elastic", "colour-cast", "pca-colour",
    "brightness", "contrast", "saturation", "hue", "gamma", "sharpen", "emboss", "gaussian-blur",
    "gaussian-noise", "coarse-salt", "coarse-pepper", "coarse-dropout", "occlusion", "snow", "clouds",
    "invert", "edges", "mixup", "cutmix", "randaugment", "trivial", "autoaugment", "augmix", "erasing",
    "cutout",
)  # fmt: skip


def squares(count=8, side=32):
    smooth = F.interpolate(torch.rand(count, 3, 6, 6), (side, side), mode="bilinear")
    return (255 * smooth).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def draws(samples, epoch=1, seed=0):
    return Draws(seed, epoch, np.asarray(samples))


def finish(words, pixels, of):
    labels = ClassMarks.of(torch.zeros(len(pixels), dtype=torch.int64))
    pipeline = Pipeline(parse(words), 2)
    return pipeline.finish(pixels.clone(), labels, NORMALIZE, of, np.arange(len(pixels)))[0]


def test_every_operation_of_the_lecture_has_a_name():
    assert not set(LECTURE) - set(OPERATIONS)


@pytest.mark.parametrize("name", LATE)
def test_an_operation_changes_pictures_and_keeps_their_range(name):
    pixels = squares()
    share = "" if OPERATIONS[name].share >= 1 else "@1"
    plain, changed = finish((), pixels, draws(range(8))), finish((name + share,), pixels, draws(range(8)))
    assert changed.shape == plain.shape and changed.dtype == torch.float32
    differ = (changed - plain).abs().flatten(1).amax(1)
    assert (differ > 1e-3).sum() >= (4 if name == "posterize" else 6), differ
    low, high = (-0.2, 1.2) if name == "pca-colour" else (-1e-6, 1 + 1e-6)
    assert changed.min() >= low and changed.max() <= high
    again = finish((name + share,), pixels, draws(range(8), epoch=2))
    if name not in ("invert", "autocontrast", "equalize"):
        assert not torch.equal(again, changed)


@pytest.mark.parametrize("name", LATE)
def test_a_picture_does_not_depend_on_its_batch(name):
    pixels, samples = squares(), np.array([40, 3, 17, 9, 22, 1, 5, 100])
    words = (f"{name}@0.6", "rotation") if name != "rotation" else ("rotation@0.6", "elastic")
    whole = finish(words, pixels, draws(samples))
    for i in range(8):
        alone = finish(words, pixels[i : i + 1], draws(samples[i : i + 1]))
        assert torch.equal(alone[0], whole[i]), (name, i)
    turned = finish(words, pixels.flip(0), draws(samples[::-1]))
    assert torch.equal(turned.flip(0), whole)


@pytest.mark.parametrize("name", LATE)
def test_a_share_leaves_the_other_samples_alone(name):
    pixels = squares(64, 16)
    plain, changed = (finish(words, pixels, draws(range(64))) for words in ((), (f"{name}@0.25",)))
    same = (changed - plain).abs().flatten(1).amax(1) < 1e-6
    on = draws(range(64)).of(name).happens(0.25)
    assert same[torch.from_numpy(~on)].all() and (~same).any() and 5 < on.sum() < 30


def test_strengths_differ_between_samples_and_stay_below_the_value():
    pixels = torch.full((400, 4, 4, 3), 100, dtype=torch.uint8)
    factors = finish(("brightness:0.4",), pixels, draws(range(400)))[:, 0, 0, 0] * 255 / 100
    assert 0.6 <= factors.min() < 0.62 and 1.38 < factors.max() <= 1.4
    assert abs(float(factors.mean()) - 1) < 0.03 and len(factors.unique()) > 390


def test_operations_follow_one_another_as_they_are_written():
    pixels = torch.full((6, 16, 16, 3), 200, dtype=torch.uint8)
    first = finish(("rotation:45", "invert@1"), pixels, draws(range(6)))
    second = finish(("invert@1", "rotation:45"), pixels, draws(range(6)))
    assert first[:, :, 0, 0].amax() > 0.9  # black corners became white
    assert second[:, :, 0, 0].amin() == 0


def test_moves_in_a_row_are_resampled_once():
    fine = (torch.arange(32) % 2 * 255).to(torch.uint8).expand(1, 32, 32).unsqueeze(-1).expand(-1, -1, -1, 3)
    pixels = fine.contiguous()
    turned = finish(("translate-x:0.3", "translate-y:0.3"), pixels, draws([3]))
    once = finish(("translate-x:0.3",), pixels, draws([3]))
    inside = (..., slice(12, 20), slice(12, 20))
    torch.testing.assert_close(turned[inside], once[inside], atol=1e-4, rtol=0)


def test_draws_of_fields_are_uniform_and_normal_and_their_own():
    own = draws(range(4)).of("noise")
    field, normal = own.field("a", 100, 100), own.normal_field("a", 3, 99, 99)
    assert abs(float(field.mean()) - 0.5) < 0.005 and abs(float(field.var()) - 1 / 12) < 0.002
    assert field.min() >= 0 and field.max() < 1 and len(field[0].unique()) > 9900
    assert abs(float(normal.mean())) < 0.01 and abs(float(normal.std()) - 1) < 0.01
    assert abs(float((normal**4).mean()) - 3) < 0.15 and normal.isfinite().all()
    pairs = torch.corrcoef(torch.stack([field[0].flatten(), field[1].flatten(), normal[0].flatten()[:10000]]))
    assert (pairs - torch.eye(3)).abs().max() < 0.04
    assert not torch.equal(field, own.field("b", 100, 100))
    assert torch.equal(field[2:3], draws([2]).of("noise").field("a", 100, 100))


def test_fields_are_the_words_of_splitmix64():
    word = int(seeds.bits(5, 2, np.array([9]), "x/y")[0])
    mask, expected = 2**64 - 1, []
    for _ in range(3):
        word = (word + 0x9E3779B97F4A7C15) & mask
        z = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        expected.append(((z ^ (z >> 31)) >> 40) / 2**24)
    assert Draws(5, 2, np.array([9])).of("x").field("y", 3)[0].tolist() == expected


def test_crops_and_flips_draw_what_they_always_drew():
    of = Draws(7, 3, np.arange(6))
    assert Pipeline(parse(("flip",))).is_mirrored(of).tolist() == [True, False, True, False, True, False]
    top, left = crops.offsets(of, 8)
    assert top.tolist() == [1, 7, 0, 3, 4, 1] and left.tolist() == [0, 2, 5, 8, 6, 7]
    resized = [crops.resized_crop_box(of.at(np.array([i])), 0.25, 160, 120) for i in range(2)]
    assert np.allclose(resized[0], (15.799083, 0.544145, 158.095514, 117.91795), atol=1e-6)
    assert np.allclose(resized[1], (8.167547, 22.222197, 82.261509, 107.161977), atol=1e-6)
    wide = crops.resized_crop_box(of.at(np.array([0])), 0.25, 400, 50)
    assert np.allclose(wide, (166.666667, 0.0, 233.333333, 50.0), atol=1e-6)
    jitter = crops.scale_jitter_box(of.at(np.array([2])), 480, 500, 375, 224)
    assert np.allclose(jitter, (100.916316, 9.006492, 277.758421, 185.848597), atol=1e-6)


@pytest.mark.parametrize(("word", "least"), [("resized-crop", 0.25), ("resized-crop:0.08", 0.08)])
def test_resized_crops_stay_inside_and_cover_the_value_to_all(word, least):
    value, shares = parse((word,))[0].value, []
    for sample in range(600):
        left, top, right, bottom = crops.resized_crop_box(draws([sample]), value, 160, 120)
        assert 0 <= left < right <= 160 + 1e-9 and 0 <= top < bottom <= 120 + 1e-9
        assert 0.74 < (right - left) / (bottom - top) < 1.34
        shares.append((right - left) * (bottom - top) / (160 * 120))
    assert least - 1e-9 <= min(shares) < least + 0.02 and max(shares) > 0.9


def test_scale_jitter_covers_the_papers_range():
    sides = []
    for sample in range(400):
        left, top, right, bottom = crops.scale_jitter_box(draws([sample]), 480, 500, 375, 224)
        assert left >= 0 and right <= 500 + 1e-9 and top >= 0 and bottom <= 375 + 1e-9
        assert abs((right - left) - (bottom - top)) < 1e-9
        sides.append(224 * 375 / (right - left))
    assert 256 <= min(sides) < 262 and 474 < max(sides) <= 480


def test_a_random_crop_is_a_square_of_the_share_anywhere():
    boxes = np.array([crops.random_crop_box(draws([i]), 0.5, 100, 60) for i in range(300)])
    assert np.allclose(boxes[:, 2:] - boxes[:, :2], 30)
    assert (boxes >= 0).all() and boxes[:, 2].max() > 98 and boxes[:, 0].min() < 2 and boxes[:, 3].max() > 59


def test_cutout_is_a_square_of_zeros_that_may_leave_the_picture():
    pixels = torch.full((300, 32, 32, 3), 200, dtype=torch.uint8)
    hidden = finish(("cutout:8",), pixels, draws(range(300)))[:, 0] == 0
    areas = hidden.flatten(1).sum(1)
    assert areas.max() == 64 and 16 <= areas.min() < 40 and hidden.any(0).all()
    full = hidden[areas == 64][0]
    assert full.any(0).sum() == 8 and full.any(1).sum() == 8


def test_erasing_keeps_to_its_area_and_happens_to_half():
    pixels = torch.full((400, 32, 32, 3), 255, dtype=torch.uint8)
    changed = (finish(("erasing:0.33",), pixels, draws(range(400))) < 1).any(1).flatten(1).float().mean(1)
    there = changed[changed > 0]
    assert 160 < len(there) < 240 and there.max() < 0.36 and there.min() < 0.06


@pytest.mark.parametrize("name", CROPS)
def test_crops_make_squares_of_the_input(name):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8))
    pipeline = Pipeline(parse((name, "flip")))
    cut = [pipeline.square(picture, draws([i]), PLAIN) for i in range(6)]
    assert all(c.shape == (32, 32, 3) and c.dtype == np.uint8 for c in cut)
    assert len({c.tobytes() for c in cut}) == 6


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("flip", "rotation:30"), (Step("flip", 0.0, 0.5), Step("rotation", 30.0, 1.0))),
        (("snow@0.1",), (Step("snow", 0.5, 0.1),)),
        (("gaussian-noise:0.1@0.5",), (Step("gaussian-noise", 0.1, 0.5),)),
        (("resized-crop",), (Step("resized-crop", 0.25, 1.0),)),
        (("pad-crop",), (Step("pad-crop", 0.125, 1.0),)),
        (("gan:runs/a:b;share=0.4",), (Step("gan", 0.0, 0.4, "runs/a:b"),)),
        (("gan:x",), (Step("gan", 0.0, 0.3, "x"),)),
        ((), ()),
    ],
)
def test_words_are_read(words, expected):
    assert parse(words) == expected


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("spin",), "'spin' is not an operation; nearest: "),
        (("rotatoin:15",), "nearest: rotation"),
        (("rotation:400",), "above 0 and up to 180 (degrees in either direction), such as rotation:15"),
        (("rotation:0",), "above 0"),
        (("rotation:nan",), "above 0"),
        (("rotation:far",), "needs a value"),
        (("rotation:",), "needs a value"),
        (("invert:0.5",), "invert takes no value"),
        (("snow@2",), "share above 0 and up to 1"),
        (("snow@",), "share above 0"),
        (("pad-crop@0.5",), "a crop applies to every sample"),
        (("snow", "snow:1"), "has snow twice"),
        (("pad-crop", "shift"), "has two crops"),
        (("gan",), "needs the folder"),
        (("gan:x;share=0",), "share above 0"),
        (("gan:x;part=0.5",), "share above 0"),
        (("",), "is not an operation"),
    ],
)
def test_words_that_are_off_are_named(words, fault):
    with pytest.raises(UsageError, match=re.escape(fault)) as caught:
        parse(words)
    assert "\n" not in str(caught.value) and str(caught.value).startswith("augment=")


def test_defaults_are_in_their_ranges():
    for name, operation in OPERATIONS.items():
        if operation.default is not None:
            assert operation.low < operation.default <= operation.high, name
            assert parse((f"{name}:{operation.default}",))[0].value == operation.default
        assert 0 <= operation.share <= 1


@pytest.mark.gpu
@pytest.mark.parametrize("name", LATE)
def test_a_device_gives_the_same_pictures(name):
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    pixels, cuda = squares(), torch.device("cuda")
    here, there = (
        Pipeline(parse((name,))).finish(
            pixels.clone().to(device), ClassMarks.of(torch.zeros(8, dtype=torch.int64, device=device)),
            Normalize(PLAIN, device), Draws(0, 1, np.arange(8), device), np.arange(8),
        )[0].cpu()
        for device in (torch.device("cpu"), cuda)
    )  # fmt: skip
    # A threshold may fall the other way in a few pixels.
    assert ((here - there).abs() > 1e-4).float().mean() < 0.002
