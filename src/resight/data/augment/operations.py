"""The table of operations, and the words of a recipe's `augment`: `name`, `name:value`, `name:value@share`.

The value is the strength in the operation's own unit; the share is that of the samples that it happens to. A
recipe has one crop at most; crop and mirroring come first, then moves and colours in the order in which they
are written, then normalization, then what hides parts of normalized images, then mixing. What comes into a
picture from outside is black.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from resight.core.errors import UsageError
from resight.core.registry import suggestion
from resight.data.augment import colour, covering, filters, mixing, moves, policies, weather

Make = Callable[..., Any]


@dataclass(frozen=True)
class Operation:
    """What a name means.

    Attributes:
        kind: "crop", "flip", "move", "pixel", "policy", "hide", "mix" or "generated".
        does: in words, with the value's unit.
        default: the value; None if it takes none.
        low: the value must be above it.
        high: the value must not be above it.
        share: of the samples that it happens to; 0 if that cannot be chosen.
        make: by kind. move: (draws, value) to a stage of a `Warp`. pixel and hide: (images, draws, value) to
            images. policy: (draws, value) to (space, choices). mix: see `mixing`.
    """

    kind: str
    does: str
    default: float | None
    low: float
    high: float
    share: float
    make: Make


@dataclass(frozen=True)
class Step:
    """One word of a recipe.

    Attributes:
        name: of the operation.
        value: its strength; 0 if it takes none.
        share: of the samples that it happens to.
        folder: of a generator; else empty.
    """

    name: str
    value: float
    share: float
    folder: str = ""

    @property
    def operation(self) -> Operation:
        """What the name means."""
        return OPERATIONS[self.name]


def _drawn(function: Make, centre: float = 0.0, *, signed: bool = True) -> Make:
    """Return (images, draws, value) to images, for a function of a strength that is drawn around `centre`."""

    def make(images: Any, draws: Any, value: float) -> Any:
        strength = draws.signed("strength", value) if signed else draws.amount("strength", value)
        return function(images, draws.column(centre + strength))

    return make


def _plain(function: Make) -> Make:
    return lambda images, draws, value: function(images)


def _crop(does: str, default: float, low: float, high: float) -> Operation:
    return Operation("crop", does, default, low, high, 0.0, _nothing)


def _move(does: str, default: float, high: float, make: Make) -> Operation:
    return Operation("move", does, default, 0.0, high, 1.0, make)


def _pixel(
    does: str, default: float | None, high: float, make: Make, share: float = 1.0, low: float = 0.0
) -> Operation:
    return Operation("pixel", does, default, low, high, share, make)


def _policy(does: str, default: float | None, make: Make) -> Operation:
    return Operation("policy", does, default, 0.0, 30.0, 1.0, make)


def _mix(does: str, default: float, make: Make) -> Operation:
    return Operation("mix", does, default, 0.0, 8.0, 1.0, make)


def _auto(policy: str) -> Make:
    return lambda draws, value: policies.autoaugment(draws, policy)


def _nothing() -> None:
    """Crops, mirroring and generated pictures are made elsewhere."""


OPERATIONS: dict[str, Operation] = {
    "flip": Operation("flip", "mirror left to right", None, 0.0, 0.0, 0.5, _nothing),
    "random-crop": _crop("random square; share of the shorter side", 0.875, 0.0, 1.0),
    "pad-crop": _crop("pad with black, random crop; padding as share of the side", 1 / 8, 0.0, 0.5),
    "wide-crop": _crop("pad-crop with a wider border", 1 / 4, 0.0, 0.5),
    "shift": _crop("pad-crop with a narrow border", 1 / 16, 0.0, 0.5),
    "resized-crop": _crop("area from the value to 1, aspect 3/4 to 4/3", 0.25, 0.0, 1.0),
    "scale-jitter": _crop("shorter side 256 to the value per 224, random crop", 480.0, 256.0, 1024.0),
    "rescale": _crop("whole picture by a factor up to 1 + value, cut or padded", 0.25, 0.0, 2.0),
    "crop-and-pad": _move("edges move in or out; share of the side", 0.15, 0.4, moves.crop_and_pad),
    "stretch": _move("width and height by factors up to 1 + value", 0.3, 2.0, moves.stretch),
    "zoom": _move("both sides by a factor up to 1 + value", 0.1, 2.0, moves.zoom),
    "rotation": _move("degrees in either direction", 15.0, 180.0, moves.rotation),
    "affine": _move("15 degrees, shear 0.1, zoom 0.1, shift 0.1, times the value", 1.0, 4.0, moves.affine),
    "perspective": _move("corners pulled in by up to half the value", 0.4, 0.9, moves.perspective),
    "translate-x": _move("share of the side", 0.1, 0.9, moves.translate_x),
    "translate-y": _move("share of the side", 0.1, 0.9, moves.translate_y),
    "shear-x": _move("shift in x per unit of y", 0.2, 1.0, moves.shear_x),
    "shear-y": _move("shift in y per unit of x", 0.2, 1.0, moves.shear_y),
    "elastic": _move("alpha of a smoothed field, for 28 pixels", 34.0, 60.0, moves.elastic),
    "colour-cast": _pixel("shift of some channels, for a range of 1", 0.1, 0.5, colour.colour_cast),
    "pca-colour": _pixel("standard deviation along RGB principal components", 0.1, 2.0, colour.pca_colour),
    "brightness": _pixel("factor 1 +- value", 0.4, 1.0, _drawn(colour.brightness, 1)),
    "contrast": _pixel("factor 1 +- value", 0.4, 1.0, _drawn(colour.contrast, 1)),
    "saturation": _pixel("factor 1 +- value", 0.4, 1.0, _drawn(colour.saturation, 1)),
    "hue": _pixel("turns in either direction", 0.1, 0.5, _drawn(colour.hue)),
    "colour-jitter": _pixel(
        "brightness, contrast, saturation in any order, 1 +- value", 0.4, 1.0, colour.colour_jitter
    ),
    "gamma": _pixel("exponent up to 1 + value, or its inverse", 0.5, 3.0, colour.gamma),
    "invert": _pixel("opposite values", None, 0.0, _plain(colour.invert), 0.5),
    "solarize": _pixel("invert from 1 - value up", 0.5, 1.0, _drawn(colour.solarize, signed=False), 0.5),
    "posterize": _pixel("bits of 8 to drop", 4.0, 7.0, _drawn(colour.posterize, signed=False)),
    "autocontrast": _pixel("stretch channels to the full range", None, 0.0, _plain(colour.autocontrast), 0.5),
    "equalize": _pixel("flatten each channel's histogram", None, 0.0, _plain(colour.equalize), 0.5),
    "edges": _pixel("blend with the edge strength", 0.7, 1.0, _drawn(filters.edges, signed=False)),
    "emboss": _pixel("relief, factor", 1.0, 4.0, _drawn(filters.emboss, signed=False)),
    "sharpen": _pixel("sharpness up to 1 + value", 2.0, 10.0, _drawn(filters.sharpness, 1, signed=False)),
    "gaussian-blur": _pixel("standard deviation in input pixels", 1.5, 16.0, filters.gaussian_blur),
    "gaussian-noise": _pixel("standard deviation, for a range of 1", 0.05, 0.5, weather.gaussian_noise),
    "coarse-salt": _pixel("share of 16 x 16 cells made light", 0.05, 1.0, covering.coarse_salt),
    "coarse-pepper": _pixel("share of 16 x 16 cells made dark", 0.05, 1.0, covering.coarse_pepper),
    "coarse-dropout": _pixel("share of 16 x 16 cells made black", 0.1, 1.0, covering.coarse_dropout),
    "occlusion": _pixel("box of one colour, share of the side", 0.4, 1.0, covering.occlusion),
    "erasing": _pixel("box of random values, share of the area", 0.33, 1.0, covering.erasing, 0.5, low=0.02),
    "snow": _pixel("share of cells with a flake", 0.5, 1.0, weather.snow),
    "clouds": _pixel("opacity", 0.8, 1.0, weather.clouds),
    "randaugment": _policy("2 of 14 operations; magnitude out of 30", 9.0, policies.randaugment),
    "trivial": _policy("1 of 14 operations; strength up to the value out of 30", 30.0, policies.trivial),
    "autoaugment": _policy("policy learned on ImageNet", None, _auto("imagenet")),
    "autoaugment-cifar": _policy("policy learned on CIFAR-10", None, _auto("cifar10")),
    "augmix": _pixel("3 copies altered by 13 operations; severity out of 10", 3.0, 10.0, policies.augmix),
    "cutout": Operation("hide", "mean-coloured square, pixels", 16.0, 0.0, 512.0, 1.0, covering.cutout),
    "mixup": _mix("blend of two, lambda ~ Beta(value, value)", 0.2, mixing.mixup),
    "cutmix": _mix("box from another, lambda ~ Beta(value, value)", 1.0, mixing.cutmix),
    "gan": Operation("generated", "gan:FOLDER;share=0.3: generated pictures", None, 0.0, 0.0, 0.3, _nothing),
}  # fmt: skip
CROPS = tuple(name for name, operation in OPERATIONS.items() if operation.kind == "crop")
"""Operations that choose which part of the picture is seen: a recipe has one of them at most."""
PADDED = ("pad-crop", "wide-crop", "shift")
"""Crops from the padded square; the others are cut from whole pictures."""


def parse(words: Iterable[str]) -> tuple[Step, ...]:
    """Read the words of a recipe's `augment`.

    Raises:
        UsageError: naming the word, and the nearest names or the range; or two crops, or the same name twice.
    """
    steps = tuple(_step(word) for word in words)
    names = [step.name for step in steps]
    if doubled := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"augment={','.join(names)} has {doubled} twice; name it once, with one strength")
    if sum(name in CROPS for name in names) > 1:
        raise UsageError(f"augment={','.join(names)} has two crops; take one of {', '.join(CROPS)}")
    return steps


def _step(word: str) -> Step:
    if word.partition(":")[0] == "gan":
        return _generator(word, word.partition(":")[2])
    strength, at, share = word.partition("@")
    name, colon, value = strength.partition(":")
    if name not in OPERATIONS:
        raise UsageError(
            f"augment={name!r} is not an operation; {suggestion(name, OPERATIONS)}. All: resight augment"
        )
    operation = OPERATIONS[name]
    number = operation.default or 0.0
    return Step(
        name,
        _value(word, name, value, operation) if colon else number,
        _share(word, name, share, operation.share) if at else operation.share or 1.0,
    )


def _value(word: str, name: str, text: str, operation: Operation) -> float:
    if operation.default is None:
        raise UsageError(f"augment={word!r}: {name} takes no value; leave :{text} out")
    value = _number(text)
    if value is None or not operation.low < value <= operation.high:
        raise UsageError(
            f"augment={word!r}: needs a value above {operation.low:g} and up to {operation.high:g} "
            f"({operation.does}), such as {name}:{operation.default:g}"
        )
    return value


def _share(word: str, name: str, text: str, usual: float) -> float:
    if not usual:
        raise UsageError(f"augment={word!r}: a crop applies to every sample; leave @{text} out")
    share = _number(text)
    if share is None or not 0 < share <= 1:
        raise UsageError(f"augment={word!r}: needs a share above 0 and up to 1 after @, such as {name}@0.5")
    return share


def _generator(word: str, rest: str) -> Step:
    folder, *more = rest.split(";")
    share: float | None = OPERATIONS["gan"].share
    for part in more:
        key, _, text = part.partition("=")
        share = _number(text) if key.strip() == "share" else None
    if not folder or share is None or not 0 < share <= 1:
        raise UsageError(
            f"augment={word!r}: needs the folder of a trained generator and a share above 0 and up to 1, "
            "such as gan:runs/gan;share=0.3"
        )
    return Step("gan", 0.0, share, folder)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
