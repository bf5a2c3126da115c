"""Networks compared: published accuracy against cost, size and speed.

Accuracies are published figures and never ours; parameters and multiply-adds are counted on our networks;
speed is measured on the machine available, with random weights.
"""

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resight.core import published
from resight.core.device import describe, pick_device
from resight.core.errors import UsageError
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


def compare(
    out: str = "compare.svg", *, measure: bool = False, progress: Callable[[str], None] | None = None
) -> dict[str, Any]:
    """Draw accuracy against cost and size, and against measured speed if asked.

    Args:
        out: prefix of the figures' names; a suffix .svg or .png is dropped.
        measure: also measure images per second of each network on this machine.
        progress: called with a line before each network is measured.

    Returns:
        The JSON of `resight compare`.

    Raises:
        UsageError: if `out` is not a file name.
        ResightError: if the figures cannot be written, in one line.
    """
    stem = stem_of(out)
    require_place(stem)
    rows = gather()
    figures = _write(
        stem,
        "cost",
        rows,
        "multiply_adds",
        Axis(
            "multiply-adds of one image",
            "ImageNet top-1 accuracy (published) against multiply-adds (counted)",
            f"{ACCURACY} Area: parameters.\n{COUNTED}",
            bubbles=True,
        ),
    )
    figures += _write(
        stem,
        "parameters",
        rows,
        "parameters",
        Axis(
            "parameters",
            "ImageNet top-1 accuracy (published) against parameters (counted)",
            f"{ACCURACY} Line: EfficientNet-B0 to B7.\n{COUNTED}",
            curve=CURVE,
        ),
    )
    if measure:
        device = pick_device()
        for number, row in enumerate(rows, start=1):
            if progress:
                progress(f"measuring {row['name']} ({number} of {len(rows)})")
            row["images_per_second"] = images_per_second(row["name"], row["multiply_adds"], device)
        figures += _write(
            stem,
            "speed",
            rows,
            "images_per_second",
            Axis(
                "images per second",
                "ImageNet top-1 accuracy (published) against speed (measured)",
                f"{ACCURACY}\nSpeed measured on {describe(device)}: "
                "float32, random weights, batches of 1 to 8, the papers' input size.",
                curve=CURVE,
            ),
        )
    return {"figures": [str(path) for path in figures], "rows": rows}


def gather() -> list[dict[str, Any]]:
    """Return a row for each network of which a top-1 accuracy of one crop is published."""
    rows = []
    for name, network in counted().items():
        figure = _accuracy(name)
        if figure is None:
            continue
        rows.append(
            {
                "name": name,
                "family": network.family,
                "top1_accuracy": figure.value,
                "source": figure.source,
                "certainty": figure.certainty,
                "parameters": network.summary["parameters"],
                "multiply_adds": network.summary["multiply_adds"],
                "id": figure.id,
            }
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
    """Return the prefix of the figures' names.

    Raises:
        UsageError: if `out` is not a file name.
    """
    path = Path(out)
    if path.name in ("", ".."):
        raise UsageError(f"--out {out!r} is not a file name; give one, such as compare.svg")
    return path.with_suffix("") if path.suffix.lower() in (".svg", ".png") else path


def _write(stem: Path, what: str, rows: list[dict[str, Any]], key: str, axis: Axis) -> list[Path]:
    marks = [
        Mark(
            row["name"] + ("?" if row["certainty"] == "uncertain" else ""),
            row["family"],
            row[key],
            row["top1_accuracy"],
            row["parameters"],
            hollow=not row["id"].startswith(TORCHVISION),
        )
        for row in rows
    ]
    paths = []
    for kind, content in draw(marks, axis).items():
        path = stem.with_name(f"{stem.name}-{what}.{kind}")
        with replacing(path) as temporary:
            temporary.write_bytes(content)
        paths.append(path)
    return paths
