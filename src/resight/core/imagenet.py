"""The 1,000 classes of ILSVRC 2012: WordNet numbers (its folder names) and names (as in weights)."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files


@cache
def imagenet_synsets() -> tuple[str, ...]:
    """Return the WordNet numbers of the classes, such as n01440764, sorted: the order of the classes.

    Source: Russakovsky et al. 2015, "ImageNet Large Scale Visual Recognition Challenge".
    """
    return tuple(files("resight.core").joinpath("imagenet_synsets.txt").read_text(encoding="ascii").split())


def imagenet_classes() -> tuple[str, ...]:
    """Return the names of the classes in the order that torchvision and timm share; imports torchvision."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.DEFAULT.meta["categories"])


def as_in_weights(names: Sequence[str]) -> tuple[str, ...] | None:
    """Return the names that official weights have, for the same 1,000 classes in another spelling.

    Lists on the web write "great_white_shark" or all synonyms ("tench, Tinca tinca"). A name alone does not
    decide: "crane" is the bird in some lists and the machine in others. The order decides: it is the same in
    all of them, so 95 % of the names must be alike, place by place.

    Args:
        names: of classes, by number.

    Returns:
        The names by number; None for other classes, or where the names are these already.
    """
    if len(names) != len(imagenet_synsets()) or _plain(names[0]) != "tench":
        return None
    known = imagenet_classes()
    alike = sum(_plain(name) == _plain(own) for name, own in zip(names, known, strict=True))
    return known if alike >= 0.95 * len(known) and tuple(names) != known else None


def _plain(name: str) -> str:
    return name.partition(",")[0].replace("_", " ").strip().casefold()


def are_synsets_of(names: list[str], classes: tuple[str, ...]) -> bool:
    """Return whether names are WordNet numbers of ImageNet, and classes the names of all of its classes."""
    known = imagenet_synsets()
    return len(classes) == len(known) and set(names) <= set(known) and classes == imagenet_classes()
