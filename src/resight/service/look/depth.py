"""What depth does to a run: gradients by layer, dead units, gates; in numbers, a picture and words."""

from dataclasses import dataclass

import torch

from resight.core.errors import UsageError
from resight.core.figures import Inline
from resight.data.dataset import Split
from resight.evaluate.depth import (
    Gate,
    LayerGradient,
    Units,
    answers_by_depth,
    gradients_by_depth,
    ratio,
)
from resight.models.families.classic import Pipeline
from resight.service.look.data import known, read, some
from resight.service.run.run import Run
from resight.tasks.classify.task import of_network

PICTURES = 512
SMALL = 1e-3
"""First layer's relative gradient over the last one's: below, it vanishes; above 1 / SMALL, it grows."""


@dataclass(frozen=True)
class Relative:
    """The gradient of a layer, and what it is relative to its weights."""

    gradient: Inline[LayerGradient]
    relative: float


@dataclass(frozen=True)
class DepthFigures:
    """What depth does, in numbers and in words: see `Depth`."""

    split: str
    pictures: int
    gradients: list[Relative]
    units: list[Units]
    gates: list[Gate]
    words: list[str]


@dataclass(frozen=True)
class Depth:
    """What was found.

    Attributes:
        pictures: how many were shown.
        split: their split's name.
        gradients: of the layers with weights, in the order in which they run.
        units: of the ReLUs.
        gates: of highway layers.
    """

    pictures: int
    split: str
    gradients: list[LayerGradient]
    units: list[Units]
    gates: list[Gate]

    def figures(self) -> DepthFigures:
        """Return what `resight look` says of it."""
        return DepthFigures(
            self.split,
            self.pictures,
            [Relative(row, row.relative) for row in self.gradients],
            self.units,
            self.gates,
            self.words(),
        )

    def words(self) -> list[str]:
        """Return what it means, a sentence each."""
        said = []
        over = ratio(self.gradients)
        if over is not None:
            first, last = self.gradients[0].layer, self.gradients[-1].layer
            kind = "vanishes" if over < SMALL else "grows" if over > 1 / SMALL else "reaches the first layer"
            said.append(
                f"The gradient {kind} on its way back: relative to its weights, {first} has {over:.2g} times "
                f"that of {last}."
            )
        elif self.gradients:
            said.append("The last layer has no gradient: the pictures are learned, or the loss is flat.")
        if self.units:
            dead, units = sum(row.dead for row in self.units), sum(row.units for row in self.units)
            worst = max(self.units, key=lambda row: row.dead / max(row.units, 1))
            share = 100 * dead / max(units, 1)
            line = f"{dead:,} of {units:,} units ({share:.1f} %) answer to none of the pictures"
            said.append(
                f"{line}; most in {worst.layer}: {worst.dead} of {worst.units}." if dead else f"{line}."
            )
        if self.gates:
            mean = sum(row.share for row in self.gates) / len(self.gates)
            said.append(
                f"Highway layers transform {100 * mean:.0f} % of their input on average and carry the rest."
            )
        return said


def find_depth(run: Run, split: Split) -> Depth:
    """Return gradients, dead units and gates of a run over up to `PICTURES` pictures of a split.

    Raises:
        UsageError: for a classic pipeline, which has no layers that learn by gradients.
        DataError: if the split has other classes.
    """
    if isinstance(run.model, Pipeline):
        raise UsageError("a classic pipeline does not learn by gradients")
    split = known(run, split)
    batches = list(read(run, split, some(split, PICTURES)))
    labels = torch.from_numpy(split.labels)
    criterion = of_network(run.model).criterion()
    pairs = [(b.images, labels[b.indices].to(run.device)) for b in batches]
    units, gates = answers_by_depth(run.model, (b.images for b in batches))
    gradients = gradients_by_depth(run.model, pairs, criterion)
    return Depth(sum(len(b.indices) for b in batches), split.name, gradients, units, gates)
