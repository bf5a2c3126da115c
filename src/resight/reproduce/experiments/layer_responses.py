"""How much each layer changes its input (He et al. 2015, section 4.2, figure 7).

The responses are the outputs of every 3 x 3 convolution after its batch normalization, before the
nonlinearity or the addition of the shortcut. Residual functions are closer to zero than plain layers, and
smaller in deeper networks.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import nn

from resight.models.hooks import hooked
from resight.reproduce.experiment import Experiment, Figures, Plot, Row, Scale, Training
from resight.reproduce.laboratory import Laboratory
from resight.service.run.run import Run

CONDITIONS = ("plain-20", "plain-56", "resnet-20", "resnet-56", "resnet-110")
PICTURES = 500


def responses(lab: Laboratory, run: Run) -> list[float]:
    """Return the standard deviation of the outputs of each layer's batch normalization, first to last."""
    images = lab.images(run, "cifar10", "test", PICTURES)
    found: list[float] = []
    layers = [m for m in run.model.modules() if isinstance(m, nn.BatchNorm2d)]  # shortcuts A have none
    noted = [
        lambda m=m: m.register_forward_hook(lambda _, __, out: found.append(float(out.std()))) for m in layers
    ]
    with hooked(noted), torch.inference_mode():
        run.model(images)
    return found


def rows(lab: Laboratory) -> Iterator[Row]:
    for condition in CONDITIONS:
        mean = lab.measure(condition, lambda run: float(np.mean(responses(lab, run))))
        yield Row(condition, "mean-response", mean, unit="")
        yield Row(condition, "test-error", lab.error(condition))


def below_plain(found: Figures) -> bool:
    pairs = (("resnet-20", "plain-20"), ("resnet-56", "plain-56"))
    return all(found[f"{one}/mean-response"] < found[f"{other}/mean-response"] for one, other in pairs)


def less_when_deeper(found: Figures) -> bool:
    return found["resnet-56/mean-response"] < found["resnet-20/mean-response"]


def holds(found: Figures) -> bool:
    return below_plain(found) and less_when_deeper(found)


def plots(lab: Laboratory) -> Iterator[Plot]:
    lines = []
    for condition in CONDITIONS:
        for run in lab.runs(condition)[:1]:
            found = responses(lab, run)
            lines.append((condition, list(range(1, len(found) + 1)), found))
    yield Plot("Standard deviation of layer responses", "layer", "standard deviation", lines)


EXPERIMENT = Experiment(
    paper="He et al. 2015, section 4.2, figure 7",
    claim="residual layers respond less than plain ones, and less in deeper networks",
    trainings=tuple(Training(condition=c, words=(f"model={c.replace('-', '')}",)) for c in CONDITIONS),
    parts=(
        ("residual layers respond less than plain ones", below_plain),
        ("they respond less in deeper networks", less_when_deeper),
    ),
    rows=rows, holds=holds, plots=plots, smoke=Scale(name="smoke", epochs=2, pictures=640, tested=500),
)  # fmt: skip
