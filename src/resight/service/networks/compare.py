"""Networks compared: published accuracy against cost, size and speed.

Accuracies are published figures and never ours; parameters and multiply-adds are counted on our networks;
speed is measured on the machine available, with random weights.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from resight.core import published
from resight.core.device import describe, pick_device
from resight.core.errors import UsageError
from resight.core.figures import IfAny
from resight.core.files import replacing, require_place
from resight.core.networks import counted
from resight.core.published import Published
from resight.render.compare import Axis, Mark, draw

if TYPE_CHECKING:
    import torch

GROUPS = ("effnet-t2", "size-acc-tv", "size-acc-paper")
"""Records of one crop, by the first word of their ids; the first group that has a network counts."""
TORCHVISION = "size-acc-tv"
CURVE = "efficientnet_b"
SECONDS = 1.0
"""Time for measuring a network."""
LEAST_REPEATS = 3

ACCURACY = (
    "Accuracies are published: ImageNet validation, one crop. Filled: torchvision's weights; "
    "hollow: the paper or its release; ?: uncertain.\n"
    "resnext101_64x4d's weights come from torchvision's later, longer training."
)
COUNTED = (
    "Parameters and multiply-adds are counted on Resight's networks at their papers' input size, "
    "without heads used only in training."
)


@dataclass(frozen=True)
class Compared:
    """A network of the comparison.

    Attributes:
        name: of the network.
        family: the file that defines it.
        top1_accuracy: published, in percent, of one crop.
        source: of that figure.
        certainty: of that figure.
        parameters: counted.
        multiply_adds: counted, for one image.
        id: of the published record.
        images_per_second: measured on this machine, if it was.
    """

    name: str
    family: str
    top1_accuracy: float
    source: str
    certainty: str
    parameters: int
    multiply_adds: int
    id: str
    images_per_second: IfAny[float] = None


@dataclass(frozen=True)
class Comparison:
    """The figures (SVG and PNG files) and what they show."""

    figures: list[str]
    rows: list[Compared]


@dataclass(frozen=True)
class Plot:
    """A figure of the comparison: the end of its name, what it shows, and its axis."""

    what: str
    value: Callable[[Compared], float | None]
    axis: Axis


PLOTS = (
    Plot(
        "cost",
        lambda row: row.multiply_adds,
        Axis(
            "multiply-adds of one image",
            "ImageNet top-1 accuracy (published) against multiply-adds (counted)",
            f"{ACCURACY} Area: parameters.\n{COUNTED}",
            bubbles=True,
        ),
    ),
    Plot(
        "parameters",
        lambda row: row.parameters,
        Axis(
            "parameters",
            "ImageNet top-1 accuracy (published) against parameters (counted)",
            f"{ACCURACY} Line: EfficientNet-B0 to B7.\n{COUNTED}",
            curve=CURVE,
        ),
    ),
)


def compare(
    out: str = "compare.svg", *, measure: bool = False, progress: Callable[[str], None] = lambda _: None
) -> Comparison:
    """Draw accuracy against cost and size, and against measured speed if asked.

    Args:
        out: prefix of the figures' names; a suffix .svg or .png is dropped.
        measure: also measure images per second of each network on this machine.
        progress: called with a line before each network is measured.

    Raises:
        UsageError: if `out` is not a file name.
        ResightError: if the figures cannot be written, in one line.
    """
    stem = stem_of(out)
    rows = gather()
    figures = [path for plot in PLOTS for path in _write(stem, plot, rows)]
    if measure:
        device = pick_device()
        rows = [
            _measured(row, f"{n} of {len(rows)}", device, progress) for n, row in enumerate(rows, start=1)
        ]
        figures += _write(stem, _speed(describe(device)), rows)
    return Comparison([str(path) for path in figures], rows)


def _measured(row: Compared, place: str, device: "torch.device", progress: Callable[[str], None]) -> Compared:
    progress(f"measuring {row.name} ({place})")
    return replace(row, images_per_second=images_per_second(row.name, row.multiply_adds, device))


def _speed(machine: str) -> Plot:
    axis = Axis(
        "images per second",
        "ImageNet top-1 accuracy (published) against speed (measured)",
        f"{ACCURACY}\nSpeed measured on {machine}: "
        "float32, random weights, batches of 1 to 8, the papers' input size.",
        curve=CURVE,
    )
    return Plot("speed", lambda row: row.images_per_second, axis)


def gather() -> list[Compared]:
    """Return a row for each network of which a top-1 accuracy of one crop is published."""
    rows = []
    for name, network in counted().items():
        figure = _accuracy(name)
        if figure is None:
            continue
        counts = network.summary
        rows.append(
            Compared(
                name,
                network.family,
                figure.value,
                figure.source,
                figure.certainty,
                counts.parameters,
                counts.multiply_adds,
                figure.id,
            )
        )
    return rows


def images_per_second(name: str, multiply_adds: int, device: "torch.device") -> float:
    """Measure a network with random weights: the median over about a second, after a warm-up."""
    import torch

    from resight.models.zoo import NETWORKS
    from resight.service.networks.counting import build

    network = NETWORKS[name]
    batch = 8 if multiply_adds < 1e9 else 2 if multiply_adds < 5e9 else 1
    model = build(name).to(device).eval()
    images = torch.rand(batch, network.channels, network.input_size, network.input_size, device=device)
    taken: list[float] = []
    with torch.inference_mode():
        _seconds(model, images)
        while len(taken) < LEAST_REPEATS or sum(taken) < SECONDS:
            taken.append(_seconds(model, images))
    return batch / statistics.median(taken)


def _seconds(model: "torch.nn.Module", images: "torch.Tensor") -> float:
    start = time.perf_counter()
    model(images).sum().item()  # waits until an accelerator is done
    return time.perf_counter() - start


def _accuracy(name: str) -> Published | None:
    known = {}
    for figure in published.of(name):
        group = figure.id.split("/")[0]
        if group in GROUPS and figure.metric == "top-1 accuracy":
            known.setdefault(group, figure)  # the first: torchvision's later weights come after
    return next((known[group] for group in GROUPS if group in known), None)


def stem_of(out: str) -> Path:
    """Return the prefix of the figures' names, in a folder that can be written to.

    Raises:
        UsageError: if `out` is not a file name.
        ResightError: if the folder cannot be written to.
    """
    path = Path(out)
    if path.name in ("", ".."):
        raise UsageError(f"--out {out!r} is not a file name; give one, such as compare.svg")
    stem = path.with_suffix("") if path.suffix.lower() in (".svg", ".png") else path
    require_place(stem)
    return stem


def _write(stem: Path, plot: Plot, rows: list[Compared]) -> list[Path]:
    marks = [
        Mark(
            row.name + ("?" if row.certainty == "uncertain" else ""),
            row.family,
            value,
            row.top1_accuracy,
            row.parameters,
            hollow=not row.id.startswith(TORCHVISION),
        )
        for row in rows
        if (value := plot.value(row)) is not None
    ]
    return write_figures(stem, plot.what, draw(marks, plot.axis))


def write_figures(stem: Path, what: str, contents: dict[str, bytes]) -> list[Path]:
    """Write a figure in each of its formats, {"svg": content, "png": content}, and return the paths."""
    paths = []
    for kind, content in contents.items():
        path = stem.with_name(f"{stem.name}-{what}.{kind}")
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        paths.append(path)
    return paths
