"""What a network learned, as parts of a page: pictures in data URIs, words, the interactive cloud."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image


@dataclass(frozen=True)
class Part:
    """A part of the page.

    Attributes:
        title: its heading.
        words: how to read it.
        points: sentences in a list.
        images: data URIs, each with the words that take its place.
        html: of our own making, put in as it is.
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


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("resight", "render"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip


def render_parts(parts: Sequence[Part]) -> str:
    """Return the parts as HTML that takes its colours from the page around it."""
    page = _environment().get_template("learned.html.jinja").render(parts=parts)
    return page.encode("utf-8", "replace").decode()  # names of files need not be text


def render_page(title: str, parts: Sequence[Part], notes: Sequence[str]) -> str:
    """Return a page of its own with the parts; it asks nothing of any other place.

    Args:
        title: above.
        parts: see `Part`.
        notes: what is missing, a line each.
    """
    page = _environment().get_template("look.html.jinja")
    made = page.render(title=title, learned=render_parts(parts), notes=notes)
    return made.encode("utf-8", "replace").decode()
