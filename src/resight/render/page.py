"""The frame of every page: title, parts in order, style for light and dark; it makes no network requests."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image


@dataclass(frozen=True)
class Part:
    """A part of a page.

    Attributes:
        title: its heading; "" for none.
        words: how to read it.
        points: sentences in a list.
        images: data URIs, each with its alternative text.
        html: trusted HTML of our own, inserted as it is.
    """

    title: str
    words: str = ""
    points: Sequence[str] = ()
    images: Sequence[tuple[str, str]] = ()
    html: str = ""


def data_uri(image: Image.Image, *, photo: bool = False) -> str:
    """Return an image as a data URI: JPEG for photographs, else PNG with at most 256 colours."""
    stream = io.BytesIO()
    if photo:
        image.save(stream, "JPEG", quality=85, optimize=True)
    else:
        image.quantize(256).save(stream, "PNG", optimize=True)
    return f"data:image/{'jpeg' if photo else 'png'};base64,{base64.b64encode(stream.getvalue()).decode()}"


def share(value: float) -> str:
    """Return a probability in whole percent; values near 0 or 1 are not rounded to 0 or 1."""
    if 0 < value < 0.01:
        return "< 1 %"
    if 0.99 < value < 1:
        return "> 99 %"
    return f"{100 * value:.0f} %"


def percent(value: float | None) -> str:
    """Return a share in [0, 1] in percent, "-" for none."""
    return "-" if value is None else f"{100 * value:.1f} %"


def error(value: float | None) -> str:
    """Return a figure in percent with two digits, "-" for none."""
    return "-" if value is None else f"{value:.2f} %"


def render(template: str, **content: Any) -> str:
    """Return a template of this package as HTML with escaped values; file names need not be valid text."""
    environment = Environment(
        loader=PackageLoader("resight", "render"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["percent"] = percent
    environment.filters["share"] = share
    environment.filters["error"] = error
    made = environment.get_template(f"{template}.html.jinja").render(**content)
    return made.encode("utf-8", "replace").decode()


def render_page(title: str, parts: Sequence[Part], notes: Sequence[str] = ()) -> str:
    """Return a page as HTML.

    Args:
        title: of the page.
        parts: in their order.
        notes: one line each, below the title.
    """
    return render("page", title=title, parts=parts, notes=notes)
