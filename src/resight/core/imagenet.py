"""The 1,000 classes of ILSVRC 2012: WordNet numbers (its folder names) and names (as in weights)."""

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


def are_synsets_of(names: list[str], classes: tuple[str, ...]) -> bool:
    """Return whether names are WordNet numbers of ImageNet, and classes the names of all of its classes."""
    known = imagenet_synsets()
    return len(classes) == len(known) and set(names) <= set(known) and classes == imagenet_classes()
