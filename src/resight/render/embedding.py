"""An embedding of pictures in the plane: as one picture, and as an interactive part of a page."""

import base64
import colorsys
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resight.render.compare import PALETTE
from resight.render.filters import wrapped
from resight.render.sheet import INK, MARGIN, PAPER, SOFT, fitted, font

WIDTH, HEIGHT, LEGEND = 1280, 960, 220
MOST_NAMES = 40
"""Classes in the legend of the picture."""
RADIX = 1000
"""Steps of a coordinate on the page."""


@dataclass(frozen=True)
class Cloud:
    """N pictures in the plane.

    Attributes:
        places: (N, 2) in [0, 1].
        thumbnails: (N, S, S, 3) uint8.
        labels: class numbers, (N,); -1 where unknown. One class for multi-label pictures.
        predicted: class numbers, (N,).
        truths: the names of each picture's classes, (N,).
        names: of the pictures' files.
        classes: names of the classes.
    """

    places: NDArray[np.float64]
    thumbnails: NDArray[np.uint8]
    labels: NDArray[np.int64]
    predicted: NDArray[np.int64]
    truths: Sequence[Sequence[str]]
    names: Sequence[str]
    classes: Sequence[str]

    def wrong(self) -> list[bool]:
        """Return which pictures were predicted wrongly."""
        return [
            bool(truth) and self.classes[said] not in truth
            for truth, said in zip(self.truths, self.predicted, strict=True)
        ]


def class_colours(count: int) -> list[str]:
    """Return a colour for each class; with more than twelve, neighbours in the list differ most."""
    if count <= len(PALETTE):
        return list(PALETTE[:count])
    wheel = [colorsys.hls_to_rgb(n * 0.618 % 1, 0.38 + 0.14 * (n % 3), 0.65) for n in range(count)]
    return ["#" + "".join(f"{round(255 * part):02x}" for part in colour) for colour in wheel]


def draw_cloud(cloud: Cloud, title: str, footer: Sequence[str]) -> Image.Image:
    """Draw a dot for each picture in its class's colour, thumbnails where there is room, and the legend."""
    side = int(np.clip(1000 / np.sqrt(max(len(cloud.names), 1)), 26, 56))
    colours = class_colours(len(cloud.classes))
    lines = [line for text in footer for line in wrapped(text, WIDTH - 2 * MARGIN)]
    top, foot = MARGIN + 32, 18 * len(lines) + 10
    sheet = Image.new("RGB", (WIDTH, HEIGHT + foot), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (MARGIN, MARGIN), fitted(title, font(15, bold=True), WIDTH - 2 * MARGIN), INK, font(15, bold=True)
    )
    wide, high = WIDTH - LEGEND - 2 * MARGIN - side, HEIGHT - top - MARGIN - side
    corners = np.stack([MARGIN + cloud.places[:, 0] * wide, top + (1 - cloud.places[:, 1]) * high], 1).round()
    frames = [colours[label] if label >= 0 else SOFT for label in cloud.labels]
    for (x, y), frame in zip(corners + side // 2, frames, strict=True):
        draw.ellipse((x - 4, y - 4, x + 4, y + 4), frame)
    for index in apart(corners, side + 4):
        x, y = (int(v) for v in corners[index])
        draw.rectangle((x - 2, y - 2, x + side + 1, y + side + 1), frames[index])
        sheet.paste(
            Image.fromarray(cloud.thumbnails[index]).resize((side, side), Image.Resampling.LANCZOS), (x, y)
        )
    left = WIDTH - LEGEND
    for number, name in enumerate(cloud.classes[:MOST_NAMES]):
        y = top + 21 * number
        draw.rectangle((left, y + 2, left + 12, y + 14), colours[number])
        draw.text((left + 20, y), fitted(str(name), font(13), LEGEND - 30), INK, font(13))
    if len(cloud.classes) > MOST_NAMES:
        rest = f"and {len(cloud.classes) - MOST_NAMES} more"
        draw.text((left + 20, top + 21 * MOST_NAMES), rest, SOFT, font(13))
    for number, line in enumerate(lines):
        draw.text((MARGIN, HEIGHT + 18 * number), line, SOFT, font(13))
    return sheet


def apart(places: NDArray[np.float64], distance: float) -> list[int]:
    """Return which squares can be drawn without overlap; earlier ones have priority."""
    chosen: list[int] = []
    for index in range(len(places)):
        if not chosen or (np.abs(places[chosen] - places[index]).max(1) >= distance).all():
            chosen.append(index)
    return chosen


def interactive(cloud: Cloud) -> str:
    """Return the cloud as a part of a page: script, style and pictures inside, no network requests.

    The pointer or a tap shows an enlarged picture with its class and the prediction; a name in the legend
    hides a class or shows it again.
    """
    cloud = _of_classes_met(cloud)
    side = cloud.thumbnails.shape[1]
    columns = max(1, int(np.ceil(np.sqrt(len(cloud.names)))))
    points = [
        [
            round(RADIX * x),
            round(RADIX * (1 - y)),
            int(label),
            int(said),
            int(wrong),
            _text(", ".join(truth)),
            _text(name),
        ]
        for (x, y), label, said, wrong, truth, name in zip(
            cloud.places.tolist(),
            cloud.labels,
            cloud.predicted,
            cloud.wrong(),
            cloud.truths,
            cloud.names,
            strict=True,
        )
    ]
    data = {
        "points": points,
        "classes": [_text(str(name)) for name in cloud.classes],
        "colours": class_colours(len(cloud.classes)),
        "side": side,
        "columns": columns,
        "radix": RADIX,
        "atlas": _atlas(cloud.thumbnails, columns),
    }
    environment = Environment(
        loader=PackageLoader("resight", "render"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    # Inside a script element only "<" could end it.
    document = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return environment.get_template("embedding.html.jinja").render(data=document)


def _of_classes_met(cloud: Cloud) -> Cloud:
    """Return a cloud of very many classes with only those that its pictures have or were predicted as."""
    if len(cloud.classes) <= MOST_NAMES:
        return cloud
    met = np.unique(np.concatenate([cloud.labels[cloud.labels >= 0], cloud.predicted]))
    labels = np.where(cloud.labels < 0, -1, np.searchsorted(met, cloud.labels))
    classes = [cloud.classes[number] for number in met]
    return replace(cloud, labels=labels, predicted=np.searchsorted(met, cloud.predicted), classes=classes)


def _atlas(thumbnails: NDArray[np.uint8], columns: int) -> str:
    """Return all thumbnails in one picture, as a data URI."""
    count, side = thumbnails.shape[:2]
    rows = -(-count // columns)
    filled = np.zeros((rows * columns, side, side, 3), np.uint8)
    filled[:count] = thumbnails
    whole = (
        filled.reshape(rows, columns, side, side, 3).swapaxes(1, 2).reshape(rows * side, columns * side, 3)
    )
    stream = io.BytesIO()
    Image.fromarray(whole).save(stream, "JPEG", quality=78, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode()}"


def _text(name: str) -> str:
    return name.encode("utf-8", "replace").decode()
