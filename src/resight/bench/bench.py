"""Speed compared with plain torchvision in the same run: blocks interleaved, medians, ratios.

Every candidate has its own process, and they take turns. The plain ones are what a user writes after the
tutorials: eager float32 in NCHW, a DataLoader with two workers over PIL transforms, the C library's default
allocator. Ours do what the commands do. Saliency maps compared with other libraries are in `explain.py`,
photos from folders and shards in `load.py`, detectors in `tasks.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.bench import explain as bench_explain
from resight.bench import load as bench_load
from resight.bench import tasks as bench_tasks
from resight.bench.export import bench_export
from resight.bench.interleave import Block, Contest, answer, interleave, timed
from resight.bench.limit import convolutions_alone
from resight.bench.own import training
from resight.bench.rows import Memory, Rates, Row
from resight.bench.scale import bench_scale
from resight.bench.serve import bench_serve
from resight.core.device import autocast, keep_pages, pick_device, pick_precision
from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.core.registry import lookup
from resight.data.augment.operations import parse
from resight.data.augment.pipeline import Pipeline
from resight.data.batches import Batch, ResidentBatches
from resight.data.marks import ClassMarks
from resight.data.order import Order
from resight.data.prepare import Normalize
from resight.evaluate.scores import logits_of
from resight.models.zoo import create_model
from resight.service.run.run import Run
from resight.tasks.classify.task import OneClass
from resight.tasks.task import Aids
from resight.training.optimizer import make_optimizer
from resight.training.recipe import Recipe

CIFAR = Preprocessing(size=32, resize=32)
IMAGENET = Preprocessing(size=224, resize=256)
PICTURES = 10_000
WORKERS = 2
"""Workers of the plain loader, which reads two batches ahead in each."""


@dataclass(frozen=True)
class Work:
    """The task of every candidate of a benchmark.

    Attributes:
        network: its name, here and in torchvision if torchvision has it.
        batch: pictures per step.
        side: of the pictures.
    """

    network: str
    batch: int
    side: int


def bench(name: str, seconds: float, rounds: int) -> list[Row]:
    """Measure one benchmark, or all quick ones.

    Args:
        name: a key of `CONTESTS`, "scale", "export" or "serve"; empty for `QUICK`.
        seconds: minimum length of a block.
        rounds: blocks of each candidate; their order is reversed every second round.

    Returns:
        A row for each candidate; the note says why there are no figures, where the hardware cannot run one.

    Raises:
        UsageError: for an unknown name, or if the other libraries are not installed.
    """
    if name == "scale":
        return bench_scale(seconds)
    if name == "export":
        return bench_export(seconds, rounds)
    if name == "serve":
        return bench_serve(seconds, rounds)
    if name:
        others = dict.fromkeys(("scale", "photos", "export", "serve"))
        lookup({**CONTESTS, **others}, name, "benchmark")
        if absent := _absent(name):
            raise UsageError(
                f"bench {name} needs {', '.join(absent)}; install with: pip install 'resight[bench]'"
            )
    rows: list[Row] = []
    for key in [name] if name else [key for key in QUICK if not _absent(key)]:
        rows += _rows(key, CONTESTS[key], seconds, rounds)
    return rows + bench_load.measure(seconds, rounds) if name == "load" else rows


def _absent(key: str) -> list[str]:
    return [module for module in CONTESTS[key].needs if find_spec(module) is None]


def _rows(key: str, contest: Contest, seconds: float, rounds: int) -> list[Row]:
    device = pick_device()
    left_out = contest.needs_bf16 if pick_precision("auto", device) != torch.bfloat16 else ()
    code = f"import sys; from resight.bench.bench import worker; worker({key!r}, sys.argv[1])"
    names = [name for name in contest.candidates if name not in left_out]
    found = interleave(code, names, seconds, rounds, once=contest.once)
    maps = contest.compare({name: one.facts for name, one in found.items()}) if contest.compare else {}
    rows = []
    for name in contest.candidates:
        rates, note = Rates(), contest.notes.get(name, "")
        if name in left_out:
            note = f"left out: this {device.type.upper()} has no bf16 multiplication"
        else:
            rates = Rates.of(found[name].rates, found[contest.reference].rates)
        memory = Memory.of(found, name, contest.reference) if name in found else None
        rows.append(Row(key, name, "images/s", contest.reference, rates, None, note, maps.get(name), memory))
    return rows


def worker(key: str, name: str) -> None:
    """Run a candidate in this process."""
    if not name.startswith("plain"):
        keep_pages()
    answer(CONTESTS[key].candidates[name]())


def _noise(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return generator.integers(0, 256, (count, side, side, 3), dtype=np.uint8), generator.integers(
        0, 10, count
    )


# --- plain torchvision ---------------------------------------------------------------------------


def _plain_loader(batch: int = 128) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of torchvision's own CIFAR10 class with the usual PIL transforms, endlessly."""
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
        batch_size=batch,
        shuffle=True,
        num_workers=WORKERS,
        drop_last=True,
        persistent_workers=True,
    )
    while True:
        yield from loader


def _plain_load() -> Block:
    batches = _plain_loader()
    return timed(lambda: len(next(batches)[1]), 2 * WORKERS)


def _plain_step(work: Work, batches: Iterator[tuple[Tensor, Tensor]], ahead: int = 0) -> Block:
    device = pick_device()
    model = create_model(work.network, 10).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)

    def step() -> int:
        images, labels = (part.to(device) for part in next(batches))
        optimizer.zero_grad()
        loss = F.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()
        return len(labels)

    return timed(step, ahead)


def _repeat(work: Work) -> Iterator[tuple[Tensor, Tensor]]:
    images = torch.randn(work.batch, 3, work.side, work.side)
    labels = torch.randint(0, 10, (work.batch,))
    while True:
        yield images, labels


def _plain_predict(work: Work) -> Block:
    """Return a block that predicts as in the tutorials: normalized on the device, eager, float32."""
    import torchvision

    device = pick_device()
    model = getattr(torchvision.models, work.network)().eval().to(device)
    squares = torch.from_numpy(_noise(work.batch, work.side)[0])
    mean, std = (torch.tensor(v, device=device).view(3, 1, 1) for v in (IMAGENET.mean, IMAGENET.std))

    def step() -> int:
        images = squares.to(device).permute(0, 3, 1, 2).float() / 255
        with torch.no_grad():
            return len(model((images - mean) / std).argmax(1).tolist())

    return timed(step)


# --- ours ----------------------------------------------------------------------------------------


def _our_loop(work: Work, source: Callable[[int], Iterator[Batch]], precision: str = "auto") -> Block:
    """Return a block that trains a classifier with the product's own loop."""
    model = create_model(work.network, 10)
    return training(
        model, OneClass().objective(model, Aids()), OneClass.counts, source, _recipe(work, precision)
    )


def _recipe(work: Work, precision: str = "auto") -> Recipe:
    return Recipe(
        model=work.network, image_size=work.side, epochs=1, batch_size=work.batch, lr=0.01,
        schedule="constant", augment=(), normalize="channel", precision=precision,
    )  # fmt: skip


def _resident(batch: int = 128) -> ResidentBatches:
    pixels, labels = _noise(PICTURES, 32)
    device = pick_device()
    return ResidentBatches(
        torch.from_numpy(pixels).to(device), ClassMarks.of(torch.from_numpy(labels)).to(device),
        Normalize(CIFAR, device),
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
    return timed(lambda: len(next(iterator).marks))


def _our_step(work: Work) -> Block:
    """Return a block of only forward, backward and step, on one batch, at our best settings."""
    device, recipe = pick_device(), _recipe(work)
    precision = pick_precision("auto", device)
    model = create_model(work.network, 10).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = make_optimizer(model, recipe)
    one = next(_same_batch(work)(0))
    assert isinstance(one.marks, ClassMarks)
    labels = one.marks.labels

    def step() -> int:
        with autocast(device, precision):
            logits = model(one.images)
        loss = F.cross_entropy(logits.float(), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return len(labels)

    return timed(step)


def _same_batch(work: Work) -> Callable[[int], Iterator[Batch]]:
    device = pick_device()
    images, labels = next(_repeat(work))
    one = Batch(images.to(device, memory_format=torch.channels_last), ClassMarks.of(labels.to(device)))

    def source(turn: int) -> Iterator[Batch]:
        del turn
        for _ in range(100):
            yield one

    return source


def _our_predict(work: Work) -> Block:
    """Return a block that predicts like `resight predict`, starting from the decoded square.

    The network is fresh, but confident: one logit stands out, as in a trained network, where fewer than 1 %
    of the pictures are close enough to be computed again in float32.
    """
    device = pick_device()
    model = create_model(work.network).eval()
    with torch.no_grad():
        last = model.get_classifier()
        assert isinstance(last, nn.Linear)
        last.bias[0] = 100.0
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.classes, model.preprocessing = tuple(map(str, range(1000))), IMAGENET
    member = Run("bench", None, model, {}, device).member(model.classes, fast=True)
    squares, normalize = torch.from_numpy(_noise(work.batch, work.side)[0]), Normalize(IMAGENET, device)

    def step() -> int:
        return len(logits_of(member.network, squares, normalize, member.precision).argmax(1).tolist())

    return timed(step)


def contests(
    small: Work = Work("resnet20", 128, 32),
    large: Work = Work("resnet50", 16, 224),
    asked: Work = Work("resnet50", 32, 224),
) -> dict[str, Contest]:
    """Return the benchmarks.

    Args:
        small: trained on pictures of CIFAR-10's size (`train`).
        large: trained on one batch of photos' size (`train50`).
        asked: predicts on pictures (`predict`).
    """
    return {
        "load": Contest({"plain": _plain_load, "ours": _our_load}),
        "train": Contest(
            {
                "plain": lambda: _plain_step(small, _plain_loader(small.batch), 2 * WORKERS),
                "plain step alone": lambda: _plain_step(small, _repeat(small)),
                "ours in fp32": lambda: _our_loop(small, _resident(small.batch).epoch, "fp32"),
                "ours": lambda: _our_loop(small, _resident(small.batch).epoch),
                "our step alone": lambda: _our_step(small),
            }
        ),
        "train50": Contest(
            {
                "plain": lambda: _plain_step(large, _repeat(large)),
                "ours": lambda: _our_loop(large, _same_batch(large)),
            }
        ),
        "predict": Contest({"plain": lambda: _plain_predict(asked), "ours": lambda: _our_predict(asked)}),
        "limit": _limit(small, lambda: _our_loop(small, _resident(small.batch).epoch)),
        "limit50": _limit(large, lambda: _our_loop(large, _same_batch(large))),
    }


def _limit(work: Work, loop: Callable[[], Block]) -> Contest:
    """Return the benchmark of how much of the machine's limit a training reaches: the ratios."""
    alone = "convolutions alone"
    candidates = {
        alone: lambda: convolutions_alone(work.network, work.batch, work.side),
        "our step alone": lambda: _our_step(work),
        "ours": loop,
    }
    return Contest(candidates, reference=alone)


CONTESTS: dict[str, Contest] = {**contests(), **bench_explain.contests(), **bench_tasks.contests()}
QUICK = ("load", "train", "train50", "predict", "explain")
"""The benchmarks that run when no name is given."""
