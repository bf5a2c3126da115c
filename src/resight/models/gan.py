"""A conditional GAN: a generator of pictures of a class, its critic, and the generator's file.

Sources: the layers, their widths and the initial weights are from Radford, Metz and Chintala, "Unsupervised
Representation Learning with Deep Convolutional Generative Adversarial Networks", 2015, section 3 (DCGAN); the
critic's second head is from Odena, Olah and Shlens, "Conditional Image Synthesis with Auxiliary Classifier
GANs", 2016, section 3 (ACGAN), and may be used as in Miyato and Koyama, "cGANs with Projection
Discriminator", 2018, section 3.

The size follows the data: both networks double from maps of 4 x 4 up to the picture, in two steps for 16
pixels and five for 128; each doubling halves the channels.
"""

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from resight.core import documents
from resight.core.documents import Whole
from resight.core.errors import ModelFileError
from resight.models.loading import load_whole
from resight.models.modelfile import load_tensors, save_tensors

FORMAT, KIND = 1, "gan"
HEADER = {
    "generator": {
        "classes": Whole(1, 65_536),
        "side": Whole(1, 4096),
        "noise?": Whole(1, 65_536),
        "width?": Whole(1, 4096),
        "channels?": Whole(1, 3),
    },
    "classes": [str],
    "data?": (str, None),
    "data_fingerprint?": (str, None),
}
SIDES = (16, 32, 64, 128)
"""Sides of the pictures that can be drawn."""
FIRST = 4
"""Side of the smallest map."""
EMBEDDING = 50
"""Length of a class embedding."""
SLOPE = 0.2
"""Of the critic's leaky rectifiers."""
DEVIATION = 0.02
"""Deviation of the initial weights, and of the initial scales of batch normalization around 1."""
CLASS_DEVIATION = 0.2
"""Deviation of the initial class embeddings."""


def side_for(side: int) -> int:
    """Return the training size for pictures of `side` pixels: the next of `SIDES`, or the largest."""
    return next((known for known in SIDES if known >= side), SIDES[-1])


class Generator(nn.Module):
    """Turn noise and classes into pictures.

    A linear layer gives maps of 4 x 4; transposed convolutions (4 x 4, stride 2) double them, with batch
    normalization and rectifiers between; the last one gives the picture through tanh.

    Deviation from ACGAN: a class is an embedding of 50 learned numbers, concatenated with the noise, instead
    of a one-hot vector. It starts small compared with the noise: if both have the same scale, the generator
    soon draws only one picture per class.

    Args:
        classes: number of classes.
        side: of the pictures, one of `SIDES`.
        noise: Z, length of the normal noise vector of a picture.
        width: channels before the last layer; DCGAN's own is 128.
        channels: of the pictures: 3, or 1 for grey ones.
    """

    def __init__(
        self, classes: int, side: int, noise: int = 100, width: int = 128, channels: int = 3
    ) -> None:
        super().__init__()
        self.options = {
            "classes": classes, "side": side, "noise": noise, "width": width, "channels": channels,
        }  # fmt: skip
        self.classes, self.side, self.noise = classes, side, noise
        self.embedding = nn.Embedding(classes, EMBEDDING)
        wide = width * side // (2 * FIRST)
        self.first = nn.Linear(noise + EMBEDDING, wide * FIRST * FIRST, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(wide), nn.ReLU(inplace=True)]
        while wide > width:
            layers += [
                nn.ConvTranspose2d(wide, wide // 2, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(wide // 2),
                nn.ReLU(inplace=True),
            ]
            wide //= 2
        self.layers = nn.Sequential(*layers)
        self.last = nn.ConvTranspose2d(wide, channels, 4, stride=2, padding=1)
        initialize(self)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Generate pictures.

        Args:
            noise: (B, Z), standard normal.
            labels: (B,), class numbers.

        Returns:
            (B, C, S, S) in [-1, 1].
        """
        x = self.first(torch.cat([noise, self.embedding(labels)], 1))
        return torch.tanh(self.last(self.layers(x.view(len(x), -1, FIRST, FIRST))))


class Critic(nn.Module):
    """Tell real pictures from generated ones, and classify them (the papers' discriminator).

    Convolutions (4 x 4, stride 2) with leaky rectifiers halve the picture down to 4 x 4, with batch
    normalization on all but the first; two convolutions of 4 x 4 read that map.

    Args:
        classes: number of classes.
        side: of the pictures, one of `SIDES`.
        width: channels of the first layer; DCGAN's own is 64.
        channels: of the pictures.
    """

    def __init__(self, classes: int, side: int, width: int = 64, channels: int = 3) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(channels, width, 4, stride=2, padding=1), nn.LeakyReLU(SLOPE)]
        side //= 2
        while side > FIRST:
            layers += [
                nn.Conv2d(width, 2 * width, 4, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(2 * width),
                nn.LeakyReLU(SLOPE),
            ]
            width, side = 2 * width, side // 2
        self.layers = nn.Sequential(*layers)
        self.source = nn.Conv2d(width, 1, FIRST)
        self.naming = nn.Conv2d(width, classes, FIRST)
        initialize(self)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Judge pictures (B, C, S, S) in [-1, 1].

        Returns:
            The logits of being real, (B,), and of the classes, (B, classes): of belonging to a class (ACGAN),
            or what being of that class adds to the logit of being real (projection).
        """
        features = self.layers(images)
        return self.source(features).flatten(), self.naming(features).flatten(1)


def initialize(model: nn.Module) -> None:
    """Draw the initial weights: N(0, 0.02), and N(1, 0.02) for the scales of batch normalization."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, DEVIATION)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, 0.0, CLASS_DEVIATION)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, DEVIATION)
            nn.init.zeros_(module.bias)


def save_gan(
    path: Path,
    generator: Generator,
    state: dict[str, Tensor],
    classes: tuple[str, ...],
    facts: dict[str, Any],
) -> None:
    """Write a generator's file, atomically.

    Args:
        path: of the file.
        generator: gives the options.
        state: the weights, by the generator's names.
        classes: their names, in the order of the labels.
        facts: further entries of the header.
    """
    document = {
        "format": FORMAT,
        "kind": KIND,
        "generator": generator.options,
        "classes": list(classes),
        "range": [-1, 1],
        **facts,
    }
    save_tensors(path, state, document)


def load_gan(path: Path) -> tuple[Generator, tuple[str, ...], dict[str, Any]]:
    """Read a generator's file.

    Returns:
        The generator in eval mode, the names of its classes, and the header.

    Raises:
        ModelFileError: if the file cannot be used.
    """
    tensors, document = load_tensors(path)
    if document.get("format") != FORMAT or document.get("kind") != KIND:
        raise ModelFileError(
            f"{path}: is not a GAN of this Resight version; train one with: resight train-gan DATA"
        )
    documents.require(document, HEADER, f"{path}: its header is damaged", ModelFileError)
    options, classes = document["generator"], tuple(document["classes"])
    if options["side"] not in SIDES:
        raise ModelFileError(f"{path}: is damaged (pictures of {options['side']} pixels); train it again")
    if len(classes) != options["classes"]:
        raise ModelFileError(f"{path}: is damaged ({len(classes)} class names); train it again")
    if len(set(classes)) < len(classes):
        raise ModelFileError(f"{path}: is damaged (a class is listed twice); train it again")
    generator = load_whole(partial(Generator, **options), tensors, str(path))
    return generator.eval(), classes, document
