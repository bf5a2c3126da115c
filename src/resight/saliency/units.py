"""Which pictures activate each unit of a layer most, and where: one pass over any number of pictures."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resight.saliency.capture import maps_at


@dataclass(frozen=True)
class Strongest:
    """The pictures with a layer's highest activations, highest first.

    Attributes:
        values: of each of the layer's K units, (K, n) float32.
        pictures: which picture of the pass, (K, n).
        places: row and column in the map, (K, n, 2).
    """

    values: Tensor
    pictures: Tensor
    places: Tensor

    def units(self, count: int) -> list[int]:
        """Return the units that respond most, by the mean of their highest activations, without dead ones."""
        means = self.values.mean(1)
        order = means.argsort(descending=True, stable=True)[:count]
        return [int(unit) for unit in order if means[unit] > 0]


def strongest(
    model: nn.Module, batches: Iterable[Tensor], layers: Sequence[str], most: int = 9
) -> dict[str, Strongest]:
    """Find the pictures, and the places in them, with the highest activation of every unit.

    One pass serves all units of all layers. Only the highest place of each picture counts. Memory does not
    grow with the number of pictures: `most` values are kept for each unit.

    Args:
        model: the network; it is not changed.
        batches: images (B, C, H, W), on the network's device; pictures are numbered through all batches.
        layers: names.
        most: n, pictures of a unit; fewer if there are fewer.

    Raises:
        UsageError: if a layer does not exist or gives no map.
    """
    kept: dict[str, Strongest] = {}
    start = 0
    for images in batches:
        with torch.inference_mode():
            maps = maps_at(model, images, layers)
        for layer, found in maps.items():
            here = _highest(found, start)
            if layer in kept:
                before = kept[layer]
                here = Strongest(
                    torch.cat([before.values, here.values], 1),
                    torch.cat([before.pictures, here.pictures], 1),
                    torch.cat([before.places, here.places], 1),
                )
            best = here.values.topk(min(most, here.values.shape[1]), 1).indices
            places = here.places.gather(1, best[..., None].expand(-1, -1, 2))
            kept[layer] = Strongest(here.values.gather(1, best), here.pictures.gather(1, best), places)
        start += len(images)
    return kept


def _highest(maps: Tensor, start: int) -> Strongest:
    """Return the highest place of each picture's map for each unit, on the CPU."""
    count, units, _, width = maps.shape
    values, at = maps.flatten(2).float().max(2)
    numbers = torch.arange(start, start + count).expand(units, -1)
    places = torch.stack([at // width, at % width], 2)
    return Strongest(values.T.cpu().clone(), numbers, places.transpose(0, 1).cpu().clone())
