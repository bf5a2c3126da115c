"""The pictures that drive units most, cut to their receptive field, with two projections to pixels."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from resight.core.console import counted
from resight.core.errors import UsageError
from resight.data.dataset import Split
from resight.models.classifier import Classifier
from resight.models.summary import Field, field_of, summarize
from resight.render.patches import Patch, Unit
from resight.saliency.capture import maps_at, module_at
from resight.saliency.projection import RULES, project
from resight.saliency.units import Strongest, strongest
from resight.service.look.data import read, some
from resight.service.run.run import Run

MOST_LAYERS = 5
EACH = 9
"""Pictures of a unit, as in the figures of Zeiler and Fergus."""
AT_ONCE = 32


@dataclass(frozen=True)
class UnitFigures:
    """A unit: its number, and its highest activations with the pictures that cause them."""

    unit: int
    activations: list[float]
    pictures: list[str]


@dataclass(frozen=True)
class LayerFigures:
    """The units of a layer, and what each sees, in pixels; None for the whole picture."""

    layer: str
    receptive_field: int | None
    units: list[UnitFigures]


@dataclass
class Found:
    """The units of some layers.

    Attributes:
        units: by layer.
        fields: what a unit of the layer sees.
        split: the pictures that were searched.
        searched: how many.
        without: why there are no projections; "" if there are.
        figures: of each layer.
        side: of the picture, in pixels.
    """

    units: dict[str, list[Unit]]
    fields: dict[str, Field]
    split: Split
    searched: int
    without: str = ""
    figures: list[LayerFigures] = field(default_factory=list)
    side: int = 0

    def sees(self, layer: str) -> str:
        """Return how much of the picture a unit of a layer sees, as text."""
        size = self.fields[layer].size
        if size == float("inf"):
            return "the whole picture"
        whole = (
            f", more than the picture's {self.side}" if size > self.side else f" of {self.side} x {self.side}"
        )
        return f"{size:.0f} x {size:.0f} pixels{whole}"


def stage_ends(model: Classifier, size: int) -> list[str]:
    """Return the last layer of each stage that gives a map, at most `MOST_LAYERS`, evenly spaced."""
    names = {module: name for name, module in model.named_modules() if name}
    ends = []
    for stage in model.stages.values():
        last: nn.Module = stage if stage in names else list(stage.children())[-1]
        image = torch.zeros(1, model.in_channels, size, size, device=next(model.parameters()).device)
        try:
            with torch.no_grad():
                maps_at(model, image, [names[last]])
        except UsageError:
            continue  # a single position, or no map
        ends.append(names[last])
    if len(ends) > MOST_LAYERS:
        ends = [ends[i] for i in np.linspace(0, len(ends) - 1, MOST_LAYERS).round().astype(int)]
    return ends


def find_units(
    run: Run, split: Split, layers: Sequence[str] | None, units: int, most: int, each: int = EACH
) -> Found:
    """Find the strongest units of layers and the pictures that drive them.

    Args:
        run: the network.
        split: whose pictures are searched.
        layers: names; by default the last of each stage.
        units: of a layer, those with the highest mean of their `each` highest activations.
        most: pictures that are searched, evenly spaced.
        each: pictures of a unit.

    Raises:
        UsageError: if there is no such layer, or it gives no map.
    """
    size = run.preprocessing.size
    names = list(layers) if layers else stage_ends(run.model, size)
    for name in names:
        module_at(run.model, name)
    summary = summarize(run.model, size, run.model.in_channels)
    fields = {name: field_of(summary, name) for name in names}
    seen: list[int] = []

    def images() -> Iterator[Tensor]:
        for batch in counted(read(run, split, some(split, most)), "looking at pictures, batches"):
            seen.extend(batch.indices)
            yield batch.images

    best = strongest(run.model, images(), names, each)
    found = Found({}, fields, split, len(seen), side=size)
    for name in names:
        chosen = best[name].units(units)
        patches = _patches(run, found, name, best[name], chosen, seen)
        sight = fields[name].size
        sees = "sees all" if sight >= size else f"sees {sight:.0f} x {sight:.0f}"
        found.units[name] = [Unit(name, unit, sees, patches[i]) for i, unit in enumerate(chosen)]
        found.figures.append(_figures(found, name, best[name], chosen, seen))
    return found


def _patches(
    run: Run, found: Found, layer: str, best: Strongest, chosen: list[int], seen: list[int]
) -> list[list[Patch]]:
    """Return the patches of each chosen unit, with their projections."""
    rows = [
        (unit, rank) for unit in chosen for rank in range(best.values.shape[1]) if best.values[unit, rank] > 0
    ]
    made: dict[int, list[Patch]] = {unit: [] for unit in chosen}
    for start in counted(range(0, len(rows), AT_ONCE), "drawing units", len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        indices = [seen[int(best.pictures[unit, rank])] for unit, rank in part]
        squares, images = _gathered(run, found.split, indices)
        numbers = torch.tensor([unit for unit, _ in part], device=images.device)
        places = torch.stack([best.places[unit, rank] for unit, rank in part])
        back = {}
        if not found.without:
            try:
                back = {
                    r: project(run.model, images, layer, numbers, places.to(images.device), r) for r in RULES
                }
            except UsageError as error:
                found.without = str(error)
        if all((square == square[..., :1]).all() for square in squares):  # what the picture can do is grey
            back = {r: b.sum(1, keepdim=True).expand(-1, 3, -1, -1) for r, b in back.items()}
        for row, (unit, rank) in enumerate(part):
            y, x = (int(v) for v in places[row])
            top, left, bottom, right = found.fields[layer].box(y, x, *squares[row].shape[:2])
            cut = np.s_[top:bottom, left:right]
            projections = {r: b[row].permute(1, 2, 0).cpu().numpy()[cut] for r, b in back.items()}
            label = ", ".join(found.split.class_names(indices[row])) or "?"
            made[unit].append(Patch(squares[row][cut], projections, float(best.values[unit, rank]), label))
    return [made[unit] for unit in chosen]


def _gathered(run: Run, split: Split, indices: list[int]) -> tuple[list[Any], Tensor]:
    """Return the squares and images of pictures in the requested order; repeats are allowed."""
    batches = list(read(run, split, sorted(set(indices))))
    where = {index: (b, i) for b, batch in enumerate(batches) for i, index in enumerate(batch.indices)}
    squares = [batches[where[i][0]].squares[where[i][1]] for i in indices]
    images = torch.stack([batches[where[i][0]].images[where[i][1]] for i in indices])
    return squares, images


def _figures(found: Found, layer: str, best: Strongest, chosen: list[int], seen: list[int]) -> LayerFigures:
    size = found.fields[layer].size
    rows = []
    for unit in chosen:
        pictures = [Path(found.split.picture_name(seen[int(i)])).name for i in best.pictures[unit]]
        rows.append(UnitFigures(unit, best.values[unit].tolist(), pictures))
    return LayerFigures(layer, int(size) if np.isfinite(size) else None, rows)


def explained(found: Found) -> list[str]:
    """Return how to read the pictures of units."""
    lines = [
        f"Rows are units: those of the layer with the highest activations over {found.searched:,} pictures "
        f"of the {found.split.name} split. Columns are the pictures that drive the unit most, strongest "
        "first, each cut to the part that the unit sees (its receptive field, cut at the picture's "
        "border), with its class and the activation."
    ]
    if found.without:
        return [*lines, f"No projections: {found.without}."]
    return [
        *lines,
        "Below each patch: what excites the unit, by the deconvolution network (Zeiler and Fergus "
        "2014) and by guided backpropagation (Springenberg et al. 2015); grey is zero, each tile is scaled "
        "to its own range, and for grey pictures the colours are summed. The deconvolution network knows "
        "the picture only by the switches of max pooling: without max pooling below the unit it shows "
        "the same for every picture. Guided backpropagation changes little when weights are made random "
        "(Adebayo et al. 2018): both show what excites a unit, not what a class depends on.",
    ]
