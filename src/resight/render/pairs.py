"""The page of near copies: pairs of pictures side by side, in one self-contained file."""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined


@dataclass(frozen=True)
class Side:
    """One picture of a pair.

    Attributes:
        image: a small copy of its pixels, as a data URI.
        name: of the picture.
        split: the split that it is in.
        classes: its class or classes.
    """

    image: str
    name: str
    split: str
    classes: str


@dataclass(frozen=True)
class Pair:
    """Two pictures that are near copies.

    Attributes:
        sides: the two.
        distance: number of bits of the perceptual hash that differ.
    """

    sides: tuple[Side, Side]
    distance: int

    @property
    def across(self) -> bool:
        """Whether they are in different splits."""
        return self.sides[0].split != self.sides[1].split


def render_pairs(title: str, words: Sequence[str], pairs: Sequence[Pair]) -> str:
    """Return the page as HTML.

    Args:
        title: of the page.
        words: paragraphs before the pairs.
        pairs: in the order in which they are shown.
    """
    environment = Environment(
        loader=PackageLoader("resight", "render"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    page = environment.get_template("pairs.html.jinja").render(title=title, words=words, pairs=pairs)
    return page.encode("utf-8", "replace").decode()  # names of files need not be text
