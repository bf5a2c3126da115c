"""Pictures that a GAN draws: open one, draw by class, score what it draws."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core import seeds
from resight.core.device import pick_device
from resight.core.errors import DataError, ModelFileError
from resight.data.prepare import Normalize
from resight.evaluate.scores import logits_of
from resight.metrics.frechet import frechet_distance
from resight.models.classifier import Classifier
from resight.models.gan import Generator, load_gan
from resight.service.run.run import Run
from resight.training.gan import draw_noise

GAN_FILE = "gan.safetensors"
CHUNK = 16
"""Pictures generated at once: a fixed number, so that no picture depends on the others in its batch."""
MOST = 10_000
"""Real pictures that a score looks at."""


@dataclass(frozen=True)
class GanScore:
    """Generated pictures as a network sees them.

    Attributes:
        features: the network.
        n: pictures of each kind.
        frechet: distance from real pictures to generated ones.
        frechet_floor: that to equally many other real ones.
        right: share of the generated pictures that it classifies as intended, in percent.
        right_real: share of the real ones that it classifies correctly.
    """

    features: str
    n: int
    frechet: float
    frechet_floor: float
    right: float
    right_real: float


@dataclass(frozen=True)
class OpenGan:
    """A GAN, ready to draw.

    Attributes:
        name: what the user called it.
        generator: in eval mode, on the device.
        classes: the names that labels count through.
        order: the generator's own number of each class, (classes,), on the device.
        side: of the requested pictures, in pixels.
        facts: the header of its file.
    """

    name: str
    generator: Generator
    classes: tuple[str, ...]
    order: Tensor
    side: int
    facts: dict[str, Any]

    @property
    def noise(self) -> int:
        """Z, the number of normal values that a picture is generated from."""
        return self.generator.noise

    @torch.no_grad()
    def generated(self, labels: Tensor, noise: Tensor) -> Tensor:
        """Draw pictures; each is a function of its own label and noise.

        Nothing is filtered: drawing again until a classifier agrees would make a picture depend on how often
        that happened. Whether the classes can be distinguished is a figure of `train-gan --features RUN`.

        Args:
            labels: class numbers into `classes`, (B,).
            noise: standard normal, (B, Z).

        Returns:
            (B, side, side, 3) uint8, RGB, on the generator's device.
        """
        device, parts = self.order.device, []
        labels, noise = self.order[labels.to(device)], noise.to(device)
        for start in range(0, len(labels), CHUNK):
            some, of = noise[start : start + CHUNK], labels[start : start + CHUNK]
            missing = CHUNK - len(of)
            drawn = self.generator(F.pad(some, (0, 0, 0, missing)), F.pad(of, (0, missing)))
            parts.append(resized(drawn[: len(of)] / 2 + 0.5, self.side))
        return torch.cat(parts) if parts else torch.empty(0, self.side, self.side, 3, dtype=torch.uint8)


def resized(images: Tensor, side: int) -> Tensor:
    """Turn images (B, C, S, S) in [0, 1] into squares (B, side, side, 3) uint8: bilinear, antialiased."""
    if images.shape[-1] != side:
        images = F.interpolate(images, (side, side), mode="bilinear", antialias=True)
    pixels = (images.clamp(0, 1) * 255).round().to(torch.uint8)
    return pixels.expand(-1, 3, -1, -1).permute(0, 2, 3, 1)


def open_gan(
    where: str, classes: tuple[str, ...] | None = None, side: int = 0, learned: str | None = None
) -> OpenGan:
    """Open a GAN.

    Args:
        where: the folder that `train_gan` left, or its gan.safetensors.
        classes: the names that labels refer to, matched by name; by default the GAN's own order.
        side: of the requested pictures, in pixels; 0 for the GAN's own.
        learned: fingerprint of the training pictures that its pictures will join. A GAN trained on
            others may have seen test pictures, or labels that must stay unknown.

    Raises:
        ModelFileError: if there is no GAN, or it cannot be used.
        DataError: if it lacks a class, or was trained on other pictures than `learned`.
    """
    path = Path(where) / GAN_FILE if Path(where).is_dir() else Path(where)
    if not path.is_file():
        raise ModelFileError(f"{where}: holds no GAN; train one with: resight train-gan DATA --out {where}")
    generator, own, facts = load_gan(path)
    if learned is not None and facts.get("data_fingerprint") != learned:
        raise DataError(
            f"{where}: was trained on pictures outside this training split, perhaps test pictures; train "
            f"one with: resight train-gan on the same data and val_share= (it had {facts.get('data')})"
        )
    return ready(where, generator.to(pick_device()), own, facts, classes or own, side)


def ready(
    name: str,
    generator: Generator,
    own: tuple[str, ...],
    facts: dict[str, Any],
    classes: tuple[str, ...],
    side: int = 0,
) -> OpenGan:
    """Return a generator with other labels than its own, matched by name.

    Raises:
        DataError: if it lacks a class.
    """
    if missing := [c for c in classes if c not in own]:
        raise DataError(f"{name}: was trained without the class {missing[0]!r}; train it on the same data")
    order = torch.tensor([own.index(c) for c in classes], device=generator.first.weight.device)
    return OpenGan(name, generator, classes, order, side or generator.side, facts)


class _Answers(nn.Module):
    """A network that gives its features next to its logits, (B, D + classes)."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        """Return the inputs of the last layer, then the logits."""
        maps = self.model.forward_features(images)
        return torch.cat([self.model.forward_head(maps, pre_logits=True), self.model.forward_head(maps)], 1)


def require_judge(run: Run, classes: tuple[str, ...]) -> None:
    """Refuse a network that cannot evaluate pictures of these classes.

    Raises:
        DataError: if it has other classes.
    """
    if differ := sorted(set(run.model.classes) ^ set(classes)):
        raise DataError(f"{run.name}: has other classes than the data ({', '.join(differ[:4])})")


def score(gan: OpenGan, run: Run, squares: Tensor, labels: Tensor, seed: int) -> GanScore | None:
    """Evaluate generated pictures by the features and answers of one of our networks.

    The real pictures are halved. The Frechet distance is that from the first half to drawn pictures of the
    second half's classes; its floor is that to the second half itself, which has as many pictures. All are
    processed the same way: at the GAN's side, resized to the network's. Features are the inputs of the
    network's last layer, so the figures compare GANs under one network only; they are not the published FID.

    Args:
        gan: the labels refer to its classes.
        run: the network.
        squares: real pictures, (N, S, S, C) uint8.
        labels: their classes, (N,).
        seed: of the halves and of the noise.

    Returns:
        The score; None with fewer than 4 pictures.
    """
    order = torch.from_numpy(seeds.permutation(seed, 0, len(squares))[:MOST])
    half = len(order) // 2
    if half < 2:
        return None
    card = run.preprocessing
    chosen = labels[order[half : 2 * half]]
    noise = draw_noise(seed, 0, half, gan.noise, "gan/score")
    wanted = replace(gan, side=card.size)
    first, second = (
        resized(squares[part].permute(0, 3, 1, 2).float() / 255, card.size)
        for part in (order[:half], order[half : 2 * half])
    )
    network, normalize = _Answers(run.model), Normalize(card, run.device)
    count = len(run.model.classes)
    answers = [
        logits_of(network, pixels, normalize, torch.float32)
        for pixels in (first, second, wanted.generated(chosen, noise).cpu())
    ]
    features = [part[:, :-count] for part in answers]
    own = torch.tensor([run.model.classes.index(c) for c in gan.classes])[chosen]
    right = [100 * float((part[:, -count:].argmax(1) == own).double().mean()) for part in answers[1:]]
    return GanScore(
        features=run.name,
        n=half,
        frechet=frechet_distance(features[0], features[2]),
        frechet_floor=frechet_distance(features[0], features[1]),
        right=right[1],
        right_real=right[0],
    )
