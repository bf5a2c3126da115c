"""The table of networks."""

from typing import Any

import torch

from resight.core.errors import UnknownNameError
from resight.core.registry import nearest
from resight.models import cost, resnet, speed
from resight.models.zoo import create_model, list_models

HE2015 = "He, Zhang, Ren and Sun, Deep Residual Learning for Image Recognition, arXiv:1512.03385"
AIRBENCH = "after Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, arXiv:2404.00498"
PUBLISHED = {  # He et al. 2015: Table 6 (CIFAR-10 test error), Table 3 (ImageNet val, 10 crops)
    "resnet20": [("CIFAR-10 test error %", 8.75)],
    "resnet32": [("CIFAR-10 test error %", 7.51)],
    "resnet44": [("CIFAR-10 test error %", 7.17)],
    "resnet56": [("CIFAR-10 test error %", 6.97)],
    "resnet110": [("CIFAR-10 test error %, best of 5", 6.43)],
    "resnet1202": [("CIFAR-10 test error %", 7.93)],
    "resnet34": [("ImageNet val top-1 error %, 10 crops", 24.52)],
    "resnet50_v1": [("ImageNet val top-1 error %, 10 crops", 22.85)],
    "resnet101_v1": [("ImageNet val top-1 error %, 10 crops", 21.75)],
    "resnet152_v1": [("ImageNet val top-1 error %, 10 crops", 21.43)],
}


def list_networks(pattern: str = "*") -> list[dict[str, Any]]:
    """Return a row for each network that matches a shell pattern: the JSON of `resight models`.

    Raises:
        UnknownNameError: if none matches.
    """
    names = list_models(pattern)
    if not names:
        raise UnknownNameError(
            f"no network matches {pattern!r}; nearest: {', '.join(nearest(pattern, list_models()))}"
        )
    return [_row(name) for name in names]


def _row(name: str) -> dict[str, Any]:
    small = name in speed.SPECS or resnet.SPECS[name].stem == "cifar"
    size, classes = (32, 10) if small else (224, 1000)
    with torch.device("meta"):
        model = create_model(name, classes)
    return {
        "name": name,
        "family": "speednet"
        if name in speed.SPECS
        else name.rstrip("0123456789").split("_")[0].rstrip("0123456789"),
        "year": 2024 if name in speed.SPECS else 2015,
        "parameters": cost.parameters(model),
        "multiply_adds": cost.multiply_adds(model, size),
        "input_size": size,
        "paper": AIRBENCH if name in speed.SPECS else HE2015,
        "published": [{"metric": metric, "value": value} for metric, value in PUBLISHED.get(name, [])],
    }
