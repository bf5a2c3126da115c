"""Speed beside plain torchvision in the same run: blocks interleaved, medians, ratios.

Every candidate lives in a process of its own and they take turns. The plain ones are what a user writes
from the tutorials: eager float32 in NCHW, a DataLoader with two workers over PIL transforms, the C
library's default allocator. Ours do what the commands do. Saliency maps beside other libraries are in
`bench_explain.py`, photos from folders and shards in `bench_load.py`.
"""

import statistics
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.bench import explain as bench_explain
from resight.bench import load as bench_load
from resight.bench.interleave import Block, Contest, answer, interleave, timed
from resight.bench.scale import bench_scale
from resight.core.device import keep_pages, pick_device, pick_precision
from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.core.registry import lookup
from resight.data.augment.operations import parse
from resight.data.augment.pipeline import Pipeline
from resight.data.batches import Batch, ResidentBatches
from resight.data.order import Order
from resight.data.prepare import Normalize
from resight.evaluate.scores import logits_of
from resight.models.classifier import Classifier
from resight.models.zoo import create_model
from resight.service.run.run import Run
from resight.training.checkpoints import Progress
from resight.training.loop import Actions, fit
from resight.training.objective import Objective
from resight.training.optimizer import make_optimizer
from resight.training.recipe import Recipe

CIFAR = Preprocessing(size=32, resize=32)
IMAGENET = Preprocessing(size=224, resize=256)
PICTURES = 10_000


def bench(name: str, seconds: float, rounds: int) -> list[dict[str, Any]]:
    """Measure one benchmark, or all that are quick.

    Args:
        name: a key of `CONTESTS`, or "scale"; empty for `QUICK`.
        seconds: least length of a block.
        rounds: blocks of each candidate; their order is turned round every second round.

    Returns:
        Rows of {"bench", "candidate", "unit", "median", "lowest", "highest", "ratio", "to", "note"}; the
        ratio is the median over the rounds of the candidate's rate to that of the candidate `to` in the
        same round. Figures are None where the hardware cannot run a candidate; the note says so. Rows of
        maps have more, see `bench_explain.compare`.

    Raises:
        UsageError: for an unknown name, or if the other libraries are not installed.
    """
    if name == "scale":
        return bench_scale(seconds)
    if name:
        lookup({**CONTESTS, "scale": None}, name, "benchmark")
        if absent := _absent(name):
            raise UsageError(
                f"bench {name} needs {', '.join(absent)}; install with: pip install 'resight[bench]'"
            )
    rows: list[dict[str, Any]] = []
    for key in [name] if name else [key for key in QUICK if not _absent(key)]:
        rows += _rows(key, CONTESTS[key], seconds, rounds)
    return rows + bench_load.measure(seconds, rounds) if name == "load" else rows


def _absent(key: str) -> list[str]:
    return [module for module in CONTESTS[key].needs if find_spec(module) is None]


def _rows(key: str, contest: Contest, seconds: float, rounds: int) -> list[dict[str, Any]]:
    device = pick_device()
    left_out = contest.needs_bf16 if pick_precision("auto", device) != torch.bfloat16 else ()
    code = f"import sys; from resight.bench.bench import worker; worker({key!r}, sys.argv[1])"
    names = [name for name in contest.candidates if name not in left_out]
    found = interleave(code, names, seconds, rounds, once=contest.once)
    more = contest.compare({name: one.facts for name, one in found.items()}) if contest.compare else {}
    reference, rows = found[contest.reference].rates, []
    for name in contest.candidates:
        row: dict[str, Any] = {"bench": key, "candidate": name, "unit": "images/s", "to": contest.reference}
        figures: dict[str, Any] = dict.fromkeys(("median", "lowest", "highest", "ratio"))
        note = contest.notes.get(name, "")
        if name in left_out:
            note = f"left out: this {device.type.upper()} does not multiply bf16"
        else:
            rates = found[name].rates
            ratio = statistics.median(a / b for a, b in zip(rates, reference, strict=True))
            figures = {
                "median": statistics.median(rates), "lowest": min(rates), "highest": max(rates),
                "ratio": ratio,
            }  # fmt: skip
        rows.append(row | figures | {"note": note} | more.get(name, {}))
    return rows


def worker(key: str, name: str) -> None:
    """Be a candidate's process."""
    if not name.startswith("plain"):
        keep_pages()
    answer(CONTESTS[key].candidates[name]())


def _noise(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8), generator.integers(
        0, 10, count
    )


# --- plain torchvision ---------------------------------------------------------------------------


def _plain_loader() -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of torchvision's own CIFAR10 class with the usual PIL transforms, for ever."""
    from torchvision import datasets, transforms

    dataset = datasets.CIFAR10.__new__(datasets.CIFAR10)  # its files are not needed, its code is
    pixels, labels = _noise(PICTURES, 32)
    dataset.data, dataset.targets = pixels, labels.tolist()
    dataset.target_transform = None
    dataset.transform = transforms.Compose(
        [
            transforms.RandomCrop(32, padding=4),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize(CIFAR.mean, CIFAR.std),
        ]
    )
    loader = torch.utils.data.DataLoader(
        dataset,
        batch_size=128,
        shuffle=True,
        num_workers=2,
        drop_last=True,
        persistent_workers=True,
    )
    while True:
        yield from loader


def _plain_load() -> Block:
    batches = _plain_loader()
    return timed(lambda: len(next(batches)[1]))


def _plain_step(model: nn.Module, batches: Iterator[tuple[Tensor, Tensor]]) -> Block:
    device = pick_device()
    model = model.to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step() -> int:
        images, labels = (part.to(device) for part in next(batches))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return len(labels)

    return timed(step)


def _repeat(batch: int, side: int) -> Iterator[tuple[Tensor, Tensor]]:
    images, labels = torch.randn(batch, 3, side, side), torch.randint(0, 10, (batch,))
    while True:
        yield images, labels


def _plain_predict() -> Block:
    from torchvision.models import resnet50

    model, images = (
        resnet50().eval().to(pick_device()),
        torch.randn(32, 3, 224, 224, device=pick_device()),
    )

    def step() -> int:
        with torch.no_grad():
            return len(model(images).argmax(1).tolist())

    return timed(step)


# --- ours ----------------------------------------------------------------------------------------


class _UntilLate:
    """Batches until a deadline, as one long epoch."""

    order = Order(10**9, 1, 0)

    def __init__(self, source: Callable[[int], Iterator[Batch]]) -> None:
        self.source, self.deadline, self.turn, self.done = source, 0.0, 0, 0

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        del epoch, start
        while True:
            self.turn += 1
            for batch in self.source(self.turn):
                if time.perf_counter() > self.deadline:
                    return
                self.done += len(batch.labels)
                yield batch


def _our_loop(
    model: Classifier, source: Callable[[int], Iterator[Batch]], batch: int, precision: str
) -> Block:
    """Return a block that trains with the product's own loop."""
    recipe = Recipe(
        model=model.name, image_size=32, epochs=1, batch_size=batch, lr=0.01, schedule="constant",
        augment=(), normalize="channel", precision=precision,
    )  # fmt: skip
    device = pick_device()
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer, batches = make_optimizer(model, recipe), _UntilLate(source)
    objective = Objective(model, recipe, None, compiled=False)
    actions = Actions(lambda *_: lambda *_: None, lambda *_: None, lambda: None, lambda: False, print)

    def block(seconds: float) -> tuple[int, float]:
        progress, started = Progress(), time.perf_counter()
        batches.deadline, batches.done = started + seconds, 0
        fit(
            model, objective, batches, recipe, optimizer, None, progress, pick_precision(precision, device),
            actions,
        )  # fmt: skip
        return batches.done, time.perf_counter() - started

    return block


def _resident(batch: int = 128) -> ResidentBatches:
    pixels, labels = _noise(PICTURES, 32)
    device = pick_device()
    return ResidentBatches(
        torch.from_numpy(pixels).to(device), torch.from_numpy(labels).to(device), Normalize(CIFAR, device),
        Pipeline(parse(("pad-crop", "flip"))), Order(len(pixels), batch, 0),
    )  # fmt: skip


def _our_load() -> Block:
    batches = _resident()

    def endless() -> Iterator[Batch]:
        turn = 0
        while True:
            yield from batches.epoch(turn)
            turn += 1

    iterator = endless()
    return timed(lambda: len(next(iterator).labels))


def _our_step(model: Classifier, batch: int, side: int) -> Block:
    """Return a block of forward, backward and step alone, on one batch, at our best settings."""
    device = pick_device()
    precision = pick_precision("auto", device)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    recipe = Recipe(
        model=model.name, image_size=side, epochs=1, batch_size=batch, lr=0.01, schedule="constant",
        augment=(), normalize="channel",
    )  # fmt: skip
    optimizer = make_optimizer(model, recipe)
    first = next(_repeat(batch, side))
    images = first[0].to(device, memory_format=torch.channels_last)
    labels = first[1].to(device)

    def step() -> int:
        with torch.autocast(device.type, precision, enabled=precision != torch.float32):
            logits = model(images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return batch

    return timed(step)


def _same_batch(batch: int, side: int) -> Callable[[int], Iterator[Batch]]:
    device = pick_device()
    images, labels = next(_repeat(batch, side))
    one = Batch(images.to(device, memory_format=torch.channels_last), labels.to(device))

    def source(turn: int) -> Iterator[Batch]:
        del turn
        for _ in range(100):
            yield one

    return source


def _our_predict() -> Block:
    device = pick_device()
    model = create_model("resnet50").eval().to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.classes, model.preprocessing = tuple(map(str, range(1000))), IMAGENET
    member = Run("bench", None, model, {}, device).member(model.classes, fast=True)
    pixels, _ = _noise(32, 224)
    squares, normalize = torch.from_numpy(pixels), Normalize(IMAGENET, device)

    def step() -> int:
        return len(logits_of(member.network, squares, normalize, member.precision).argmax(1).tolist())

    return timed(step)


CONTESTS: dict[str, Contest] = {
    "load": Contest({"plain": _plain_load, "ours": _our_load}),
    "train": Contest(  # ResNet-20, batch 128
        {
            "plain": lambda: _plain_step(create_model("resnet20", 10), _plain_loader()),
            "plain step alone": lambda: _plain_step(create_model("resnet20", 10), _repeat(128, 32)),
            "ours in fp32": lambda: _our_loop(create_model("resnet20", 10), _resident().epoch, 128, "fp32"),
            "ours": lambda: _our_loop(create_model("resnet20", 10), _resident().epoch, 128, "auto"),
            "our step alone": lambda: _our_step(create_model("resnet20", 10), 128, 32),
        }
    ),
    "train50": Contest(  # ResNet-50 at 224, batch 16
        {
            "plain": lambda: _plain_step(create_model("resnet50", 10), _repeat(16, 224)),
            "ours": lambda: _our_loop(create_model("resnet50", 10), _same_batch(16, 224), 16, "auto"),
        }
    ),
    "predict": Contest({"plain": _plain_predict, "ours": _our_predict}),  # ResNet-50 at 224, batch 32
    **bench_explain.contests(),
}
QUICK = ("load", "train", "train50", "predict", "explain")
"""What runs when no name is given."""
